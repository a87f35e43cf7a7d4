//! TLS as users meet it: two filters in memory with generated certificates, and OpenSSL where it is installed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod certificates;
mod handshake;
mod identity;
mod lifecycle;
mod openssl;
mod options;
mod pair;
mod stream;
