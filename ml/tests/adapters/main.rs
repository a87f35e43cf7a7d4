//! Adapters against real HTTP servers and real child processes.

#![forbid(unsafe_code)]

mod environment;
mod rpc;
#[cfg(unix)]
mod spawn;
