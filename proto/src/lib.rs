//! Protocol core of qwormhole. **No sockets, no threads, no clock**: bytes, time and kernel results come in as
//! arguments (`handle_*`), bytes to send and deadlines go out (`poll_*`). Every rule of the protocol lives
//! here once; `engine`, `fallback` and `sim` are three drivers of the same code.
//!
//! The driver's contract, in the order of one turn:
//!
//! 1. Set [`ShardLocal::now`] once.
//! 2. Hand every piece of received data to [`Session::handle_bytes`], every end to [`Session::handle_eof`] or
//!    [`Session::handle_transport_error`].
//! 3. For every session touched since: submit what [`Session::poll_transmit`] yields (at most one
//!    [`Transmit`] of a connection is in flight) and give it back through [`Session::handle_transmitted`].
//! 4. Read exactly while [`Session::wants_read`] says so.
//! 5. Do what [`Session::poll_action`] asks for, until it asks for nothing.
//! 6. Call [`Session::handle_timeout`] when [`Session::poll_timeout`] has passed.

#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing)]

mod blocking;
mod broadcast;
mod chunk;
mod close;
mod command;
mod config;
mod connection;
mod context;
mod crypto;
mod decoder;
mod driver;
mod encoder;
mod endpoint;
mod error;
mod finishing;
mod handler;
pub mod handshake;
mod heartbeat;
mod held;
mod hook;
mod id;
mod limits;
mod local;
mod message;
mod opening;
mod outbox;
mod owner;
mod pacer;
mod payload;
mod peer;
mod priority;
mod queue;
mod race;
mod reconnect;
mod reject;
mod remote;
mod secure;
mod session;
mod slicer;
mod stats;
mod time;
mod timer;
mod tls;
mod token_bucket;
mod transmit;
mod trust;
mod unfinished;
mod waiter;
mod waiting;

pub use broadcast::{Broadcast, BroadcastPolicy, Fanout};
pub use chunk::ChunkPool;
pub use close::{Action, CloseReason};
pub use command::{Command, CommandQueue, Lookup};
pub use config::{Config, Framing, HandshakeRole, OverflowPolicy, TlsRole};
pub use connection::Connection;
pub use context::Context;
pub use decoder::{Decoder, Frame};
pub use driver::{ConnectError, Dial, DriverOptions, OpenSocket, ShutdownReport};
pub use encoder::{FRAME_HEADER_LEN, frame_header};
pub use endpoint::{AcceptBackoff, Admission, Endpoint, Refusal};
pub use error::{ConfigError, FrameTooLarge, SendError, SendErrorKind};
pub use handler::{Handler, Service};
pub use heartbeat::{Heartbeat, HeartbeatPayload};
pub use hook::Hook;
pub use id::ConnId;
pub use limits::Limits;
pub use local::ShardLocal;
pub use message::{Message, RecvBuffer};
pub use outbox::Outbox;
pub use owner::{DialFailed, Owner};
pub use payload::Payload;
pub use peer::{PeerAddr, PeerCredentials, PeerInfo};
pub use priority::Priority;
pub use race::{ConnectRace, RaceStep, interleave};
pub use reconnect::{Backoff, Jitter};
pub use reject::RejectHook;
pub use remote::{Port, Remote, Sender};
pub use session::Session;
pub use slicer::{Slicer, SlicerStats, Slicing, UnknownSlicing};
pub use stats::{ConnectionStats, ShardStats};
pub use time::Time;
pub use timer::TimerWheel;
pub use tls::{
    ClientTls, DangerousTlsOptions, NoFiles, Pem, ServerTls, TlsAlert, TlsClock, TlsExporter, TlsFacts,
    TlsFault, TlsFiles, TlsFilter, TlsOptionError, TlsOptions, TlsVersion,
};
pub use token_bucket::{RateLimit, TokenBucket};
pub use transmit::{Segment, Transmit};
pub use trust::{TrustHook, TrustSnapshot};
pub use waiter::Waiter;
pub use waiting::{WaitMode, Waiting};

#[cfg(test)]
mod flow_tests;
