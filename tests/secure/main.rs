//! TLS and handshakes over real sockets, on every backend.

#[path = "../support/mod.rs"]
mod support;

mod environment;
mod handshake;
mod node;
mod openssl;
mod program;
mod relay;
mod hostile;
mod policy;
mod tls;
mod watched;
