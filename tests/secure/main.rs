//! TLS and handshakes over real sockets, on every backend.

#[path = "../support/mod.rs"]
mod support;

mod environment;
mod exporting;
mod handshake;
mod hostile;
mod node;
mod openssl;
mod policy;
mod program;
mod relay;
mod tls;
mod watched;
