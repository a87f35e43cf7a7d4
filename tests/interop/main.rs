//! Peers written from docs/wire-format.md alone, in Python with nothing but its standard library: a client that
//! talks to our servers, a server that our clients talk to.

#![forbid(unsafe_code)]

#[path = "../support/mod.rs"]
mod support;

mod python;
mod their_client;
mod their_server;
