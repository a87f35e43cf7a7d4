//! Framed messages between processes: on Linux one io_uring per core, tokio everywhere else and wherever
//! io_uring is refused, behind one API. Whole messages go in and come out, within bounds on everything.
//!
//! ```
//! use qwormhole::{Client, Context, Handler, Message, PeerInfo, Server};
//!
//! /// Runs on the shard that owns the connection; a message borrows the receive buffer.
//! struct Echo;
//! impl Handler for Echo {
//!     fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
//!         // An error means that the connection is ending: nobody is left to answer.
//!         let _ = conn.reply(message);
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Server::builder().bind("tcp://127.0.0.1:0")?.start(|_peer: &PeerInfo| Echo)?;
//!
//! // Async code, on any runtime or none.
//! let answer = pollster::block_on(async {
//!     let mut conn = Client::builder().connect(&server.local_addrs()[0]).await?;
//!     conn.send("hello").await?;
//!     conn.recv().await.transpose().map_err(std::io::Error::from)
//! })?;
//! assert_eq!(answer.as_deref(), Some(&b"hello"[..]));
//! server.shutdown(std::time::Duration::from_secs(5));
//! # Ok(())
//! # }
//! ```
//!
//! # Two tiers
//!
//! | | tier 1: [`Handler`] | tier 2: [`Connection`] |
//! |---|---|---|
//! | runs | on the shard that owns the connection, must not block | in your task, on any runtime |
//! | a message | borrows the receive buffer | is a [`Bytes`], waits in a bounded inbox |
//! | serve | [`ServerBuilder::start`] | [`ServerBuilder::listen`], [`Listener::accept`] |
//! | connect | [`Client::open`] | [`Client::connect`] |
//!
//! [`Sender`] reaches a connection of either tier from any thread. A [`Link`] does what either tier does and
//! connects again whenever its connection is lost. A [`Runtime`] holds options that several servers and clients
//! share, and what the [`Environment`] says.
//!
//! # What the words mean
//!
//! - A `send` that returns `Ok` has been **accepted**, in order; it is not delivered yet. A refused message comes
//!   back to the caller.
//! - `flush` waits until everything accepted was handed to the kernel.
//! - A connection is open when TLS and the handshake, where they are asked for, are done: `on_open` and
//!   [`Client::connect`] mean that, and a rejected peer never has a handler.
//! - `close` flushes, tells the peer, and waits for its end within the deadlines of [`Limits`].
//! - Send one message at a time; batching is done behind the API.
//!
//! # Backends
//!
//! [`Backend::Auto`] tries io_uring and falls back to tokio; [`Server::backend`] tells which runs and why. The
//! environment variable `QWORMHOLE_BACKEND` (`auto`, `io_uring`, `tokio`) decides where the code says `Auto`. An
//! engine runs on threads of its own, inside or outside of other runtimes. It does not survive a `fork`: the child
//! gets [`Forked`].
//!
//! # Features
//!
//! - `io-uring` (default): the io_uring engine, on Linux.
//! - `tokio` (default): the portable driver.
//! - `json`, `cbor` (default): [`codec`]s of these formats for types of serde.
//! - `metrics`: telemetry of servers through the `metrics` facade.

#![forbid(unsafe_code)]

#[cfg(not(any(feature = "tokio", all(target_os = "linux", feature = "io-uring"))))]
compile_error!("qwormhole needs a backend: enable the feature `tokio`, or on Linux `io-uring`");

mod address;
mod backend;
mod builder;
mod builder_options;
mod client;
mod client_engine;
pub mod codec;
mod connection;
mod environment;
mod error;
mod host;
mod housekeeper;
mod housekeeping;
mod inbox;
mod interface;
mod link;
mod listen;
mod listener;
#[cfg(feature = "metrics")]
mod metrics;
mod off_thread;
mod options;
mod outlet;
mod resolve;
mod runtime;
mod security;
mod server;
mod socket;
mod system_files;
mod telemetry;
#[cfg(unix)]
mod unix_file;

pub use address::{Address, AddressError};
pub use backend::{Backend, BackendKind, BackendReport, UnknownBackend};
pub use builder::ServerBuilder;
pub use bytes::{Bytes, BytesMut};
pub use client::{Client, ClientBuilder};
pub use codec::{Codec, CodecError, TypedConnection};
pub use connection::{Connection, ReceiveHalf, SendHalf};
pub use environment::{Environment, PemSource, RequiredTag, TlsEnvironment, TlsIdentity};
pub use error::{ConnectError, Forked, RecvError, StartError};
pub use inbox::InboxLimits;
pub use link::{Link, LinkBuilder, LinkError, LinkEvent, LinkEvents, LinkSender};
pub use listener::Listener;
#[cfg(all(target_os = "linux", feature = "io-uring"))]
pub use qwormhole_engine::probe;
pub use qwormhole_proto::handshake;
pub use qwormhole_proto::{
    Backoff, BroadcastPolicy, CloseReason, ConfigError, ConnId, ConnectionStats, Context,
    DangerousTlsOptions, FrameTooLarge, Framing, Handler, Heartbeat, HeartbeatPayload, Jitter, Limits,
    Message, OverflowPolicy, Payload, PeerAddr, PeerCredentials, PeerInfo, Pem, Priority, RateLimit,
    SendError, SendErrorKind, Sender, Service, ShardStats, ShutdownReport, Slicing, Time, TlsAlert,
    TlsExporter, TlsFacts, TlsFault, TlsOptionError, TlsOptions, TlsVersion, TrustSnapshot, UnknownSlicing,
    WaitMode, Waiter,
};
pub use runtime::{Runtime, RuntimeBuilder};
pub use server::Server;
pub use socket::SocketOptions;
pub use telemetry::Telemetry;
