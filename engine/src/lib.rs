//! io_uring driver of qwormhole: one thread and one ring per shard, Linux only. It moves bytes; every rule of
//! the protocol lives in `qwormhole-proto`.
//!
//! The way of a byte: [`sys`] fills a buffer of the pool → `Shard::turn` reaps the completion →
//! `recv.rs` hands the buffer to the connection's `Session` → the handler runs → its replies wait in the
//! outbox → at the end of the turn `shard.rs` submits **one** send per connection → `send.rs` takes its
//! completion.

#![cfg(target_os = "linux")]
#![deny(unsafe_code)]

mod accept;
mod connect;
mod control;
mod engine;
mod errno;
mod error;
#[cfg(any(test, feature = "fake-ring"))]
mod fake_ring;
mod mailbox;
#[cfg(test)]
mod pacing_tests;
pub mod probe;
mod recv;
pub mod ring;
#[cfg(any(test, feature = "fake-ring"))]
pub mod schedule;
mod send;
mod shard;
#[cfg(test)]
mod shard_tests;
mod slots;
#[cfg(any(test, feature = "fake-ring"))]
pub mod steady;
#[allow(unsafe_code, reason = "the kernel interface; every other module is safe code")]
pub mod sys;
mod token;
mod wait;

pub use engine::Engine;
pub use error::StartError;
pub use socket2::{SockAddr, Socket};
