//! What can be measured against each other. One file each; this one lists them.

mod compio;
mod engine;
mod engine_park;
mod engine_unix;
mod engine_unsliced;
mod epoll;
mod epoll_publish;
mod fallback;
mod handlers;
mod monoio;
mod publish;
mod qwormhole;
mod raw_pingpong;
mod raw_stream;
mod std_blocking;
mod tokio_framed;
mod tokio_framed_naive;
mod tokio_rustls;
mod tokio_uring;
mod zeromq;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::job::{Backend, Enters, Job};
use crate::tally::Tally;

/// A transport that can play both ends of a scenario. Servers speak length-prefixed frames (four bytes of
/// big-endian length), so that every client reaches every server.
pub(crate) trait System: Sync {
    /// As on the command line.
    fn name(&self) -> &'static str;

    /// What it is, in one line.
    fn about(&self) -> &'static str;

    /// What it runs on here, found out by trying.
    ///
    /// # Errors
    ///
    /// Why it cannot run here.
    fn diagnose(&self) -> Result<Backend, String>;

    /// Where a server of a local run listens: any free port or name.
    fn local_address(&self) -> String {
        String::from("tcp://127.0.0.1:0")
    }

    /// Starts a server.
    fn serve(&self, job: &Job, role: ServerRole, tally: &Arc<Tally>) -> Result<Box<dyn Part>>;

    /// Starts a client.
    fn drive(&self, role: ClientRole, job: &Job, tally: &Arc<Tally>) -> Result<Box<dyn Part>>;

    /// Whether it speaks TLS.
    fn tls(&self) -> TlsUse {
        TlsUse::Never("it speaks no TLS")
    }

    /// Whether its server can play this role.
    ///
    /// # Errors
    ///
    /// Why it cannot.
    fn serves(&self, _role: ServerRole) -> Result<(), &'static str> {
        Ok(())
    }

    /// Whether the neutral load generator can drive its server.
    ///
    /// # Errors
    ///
    /// Why it cannot.
    fn serves_neutral(&self) -> Result<(), &'static str> {
        Ok(())
    }

    /// Whether its echo server works for [`Load::think`](crate::job::Load) on each message, with
    /// [`think`](crate::think::think).
    ///
    /// # Errors
    ///
    /// Why it does not.
    fn thinks(&self) -> Result<(), &'static str> {
        Err("its server has no handler time (--think)")
    }

    /// Whether its client can play this role.
    ///
    /// # Errors
    ///
    /// Why it cannot.
    fn drives(&self, _role: ClientRole) -> Result<(), &'static str> {
        Ok(())
    }
}

/// How a system stands to TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsUse {
    /// Not at all, and why.
    Never(&'static str),
    /// When asked to.
    Asked,
    /// Whatever is asked.
    Always,
}

impl TlsUse {
    /// Whether it can be asked to.
    ///
    /// # Errors
    ///
    /// Why it cannot.
    pub(crate) fn check(self) -> Result<(), &'static str> {
        match self {
            Self::Never(reason) => Err(reason),
            Self::Asked | Self::Always => Ok(()),
        }
    }
}

/// What a server does with messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerRole {
    /// Sends each back.
    Echo,
    /// Checks and counts them.
    Sink,
    /// Once all subscribers are connected, sends message after message to every connection; slow subscribers
    /// slow it; nothing is lost.
    Publish,
}

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientRole {
    /// Keeps one request in flight on one connection.
    PingPong,
    /// Sends as fast as it goes, by the fastest way that the public API has.
    Stream,
    /// Sends message by message, awaiting each.
    SendOne,
    /// Sends from a thread that is not the connection's.
    SendFromThread,
}

/// A running side of a scenario.
pub(crate) trait Part {
    /// Where a server can be reached; where a client went.
    fn address(&self) -> String;

    /// What the system runs on, where it tells.
    fn backend(&self) -> Option<Backend> {
        None
    }

    /// System calls that the system has counted itself.
    fn enters(&self) -> Option<Enters> {
        None
    }

    /// Ends the part. Clients send nothing more and wait up to `patience` for what is under way.
    fn stop(self: Box<Self>, patience: Duration) -> Result<()>;
}

/// Every system, in the order of `list`.
pub(crate) const ALL: [&dyn System; 16] = [
    &engine::ENGINE,
    &engine_park::ENGINE_PARK,
    &engine_unix::ENGINE_UNIX,
    &engine_unsliced::ENGINE_UNSLICED,
    &fallback::FALLBACK,
    &tokio_framed::TokioFramed,
    &tokio_framed_naive::TokioFramedNaive,
    &monoio::MONOIO,
    &compio::COMPIO,
    &tokio_uring::TOKIO_URING,
    &epoll::Epoll,
    &std_blocking::StdBlocking,
    &zeromq::ZeroMq,
    &tokio_rustls::TokioRustls,
    &raw_stream::RawStream,
    &raw_pingpong::RawPingPong,
];

/// The system that stands in when `engine` cannot run.
pub(crate) const STAND_IN: &dyn System = &fallback::FALLBACK;

/// The system of that name.
///
/// # Errors
///
/// Lists those that exist.
pub(crate) fn find(name: &str) -> Result<&'static dyn System> {
    ALL.into_iter().find(|system| system.name() == name).with_context(|| {
        let names = ALL.map(|system| system.name()).join(", ");
        format!("unknown system `{name}`; there are: {names}")
    })
}

/// For systems whose users would build publishing from what `epoll` and `tokio-framed` show already.
pub(crate) fn no_publishing(role: ServerRole) -> Result<(), &'static str> {
    match role {
        ServerRole::Publish => Err("it has no way of its own to publish; epoll and tokio-framed show two"),
        ServerRole::Echo | ServerRole::Sink => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_mistakes_list_them() {
        for system in ALL {
            assert_eq!(find(system.name()).unwrap().name(), system.name());
        }
        let error = find("epol").err().unwrap().to_string();
        assert!(error.contains("epol") && error.contains("fallback"), "{error}");
    }
}
