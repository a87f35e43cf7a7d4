//! Portable driver of qwormhole: `qwormhole_proto` on tokio, for every platform that tokio supports and
//! wherever io_uring is refused.
//!
//! One thread per shard runs a current-thread runtime of its own, so an [`Engine`] works inside and outside
//! of other runtimes. Each connection is one task that owns its session and its socket; what the tasks of a
//! shard share is borrowed only between two awaits. No rule of the protocol lives here: this crate moves
//! bytes, time and wake-ups.

#![forbid(unsafe_code)]

mod accept;
mod broadcasts;
mod clock;
mod dial;
mod drive;
mod engine;
mod error;
mod inbox;
mod mailbox;
mod recv;
mod seat;
mod shard;
mod slots;
mod stream;

pub use engine::Engine;
pub use error::StartError;
pub use socket2::{SockAddr, Socket};
