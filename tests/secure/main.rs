//! TLS and handshakes over real sockets, on every backend.

#[path = "../support/mod.rs"]
mod support;

mod handshake;
mod hostile;
mod policy;
mod tls;
