//! TLS as a byte filter: ciphertext from the transport goes in, plaintext comes out, and the other way round.
//! No sockets and no files; the session calls it between the transport and the decoder or encoder.
//!
//! [`TlsOptions`] says what is wanted, [`ClientTls`] and [`ServerTls`] are the checked, shared result, and a
//! [`TlsFilter`] is one connection. [`TlsFault`] says what went wrong with the peer, [`TlsFacts`] what was agreed.
//!
//! Underneath are rustls' *buffered* connections: of its two interfaces only this one exports keying material and
//! tells the server's side the name that the client asked for. It costs one copy of each record between the
//! transport's buffers and rustls' own. Nothing of rustls shows in a signature here, so that another interface, or
//! another library, is a change inside `filter.rs` and the two configurations.
//!
//! Two exceptions from the rule that the core gets everything as an argument: **randomness** comes from the crypto
//! provider, which asks the operating system, because a handshake with predictable keys is none; and the **wall
//! clock** is the operating system's unless [`TlsOptions::clock`] gives another one. So handshakes of two runs
//! differ in their bytes, never in their rules.
//!
//! There is no renegotiation (rustls has none) and no early data (it can be replayed).

mod alert;
mod anchors;
mod client;
mod client_check;
mod clock;
mod exporter;
mod facts;
mod fault;
mod files;
mod filter;
mod fingerprint;
mod identity;
mod option_error;
mod options;
mod pem;
mod presented;
mod provider;
mod server;
mod server_check;
mod suite;
mod version;

pub use alert::TlsAlert;
pub use client::ClientTls;
pub use clock::TlsClock;
pub use exporter::TlsExporter;
pub use facts::TlsFacts;
pub use fault::TlsFault;
pub use files::{NoFiles, TlsFiles};
pub use filter::TlsFilter;
pub use option_error::TlsOptionError;
pub use options::{DangerousTlsOptions, TlsOptions};
pub use pem::Pem;
pub use server::ServerTls;
pub use version::TlsVersion;
