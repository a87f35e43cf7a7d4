//! The driver over real sockets, with blocking peers on other threads.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg_attr(not(target_os = "linux"), allow(unused, reason = "some behaviour can be provoked on Linux only"))]

mod support;

mod admission;
mod close;
mod dialing;
mod echo;
mod flow;
mod pacing;
mod sender;
mod shutdown;
