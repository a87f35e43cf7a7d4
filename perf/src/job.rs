//! What the parent and its two processes say to each other: one JSON value per line, commands on the child's
//! standard input, reports on its standard output.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cpus::Cpus;
use crate::pace::Pace;
use crate::slicing::Slicing;

/// The first line that a child reads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) side: Side,
    pub(crate) system: String,
    pub(crate) scenario: String,
    pub(crate) load: Load,
    /// Servers: where to listen. Clients: where to connect to.
    pub(crate) address: String,
    /// CPUs to stay on; `None` leaves it to the system.
    pub(crate) cpus: Option<Cpus>,
    /// What clients show and servers ask for before anything else; `None` on both sides of a local run.
    pub(crate) token: Option<String>,
    /// What both sides prove themselves with when they speak TLS.
    pub(crate) tls: Option<Tls>,
}

/// A certificate of this round's own, in PEM.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Tls {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

#[cfg(test)]
impl Job {
    /// A job of 64-byte messages on one connection.
    pub(crate) fn of_test(side: Side) -> Self {
        Self {
            side,
            system: String::from("fallback"),
            scenario: String::from("stream"),
            load: Load { size: 64, connections: 1, depth: 1, ..Load::default() },
            address: String::from("tcp://127.0.0.1:0"),
            cpus: None,
            token: None,
            tls: None,
        }
    }
}

/// Which of the two processes a child is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Side {
    Server,
    Client,
}

impl Side {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
        }
    }
}

/// What is asked of the system under test.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Load {
    /// Payload bytes of every message.
    pub(crate) size: usize,
    pub(crate) connections: usize,
    /// Requests in flight on each connection.
    pub(crate) depth: usize,
    pub(crate) from_thread: bool,
    /// Over TLS 1.3.
    pub(crate) tls: bool,
    /// Messages per second over all connections; 0 is a closed loop.
    pub(crate) rate: u64,
    /// How long the server's handler works on each message.
    pub(crate) think: Duration,
    /// 5 % of the messages are large ones, on connections of their own.
    pub(crate) mixed: bool,
    /// Connections that misuse the server; 0 leaves their number to the scenario.
    pub(crate) attackers: usize,
    pub(crate) slicing: Option<Slicing>,
    pub(crate) duration: Duration,
    pub(crate) warmup: Duration,
    pub(crate) cooldown: Duration,
}

/// What the parent asks of a child.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Command {
    /// The measured window begins: round trips count from now on. Answered with a snapshot.
    Begin,
    /// The measured window ends; the load goes on. Answered with a snapshot.
    End,
    /// Answered with a snapshot that has the percentile for the progress display.
    Show,
    /// Answered with a snapshot.
    Look,
    /// Clients send in another manner. Answered with a snapshot.
    Pace(Pace),
    /// A client stops sending and collects what is under way; a server waits for that many messages, if
    /// told. Answered with an outcome, after which the child exits.
    Stop { expected: Option<u64> },
}

/// What a child tells its parent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// A server listens; a client is connected and sends.
    Ready(Ready),
    Snapshot(Snapshot),
    Outcome(Outcome),
    /// The child cannot go on; one line that says why.
    Failed(String),
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Ready {
    /// Where a server listens.
    pub(crate) address: Option<String>,
    pub(crate) backend: Option<Backend>,
}

/// What a system runs on, where it tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Backend {
    /// `io_uring`, `tokio`, `epoll` or `blocking`.
    pub(crate) kind: String,
    /// Tier and features in words; may be empty.
    pub(crate) detail: String,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let comma = if self.detail.is_empty() { "" } else { ", " };
        write!(f, "{}{comma}{}", self.kind, self.detail)
    }
}

/// Counters of one process at one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    /// The machine's monotonic clock.
    pub(crate) at_ns: u64,
    /// CPU time of all threads of the process.
    pub(crate) cpu_ns: u64,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Messages that an open loop should have sent by now.
    pub(crate) due: u64,
    /// System calls the process has counted itself; `None` where it counts none.
    pub(crate) enters: Option<Enters>,
    /// The 99th percentile of the window's round trips so far; only for the progress display, and `None` where
    /// there are none.
    pub(crate) rtt_p99_ns: Option<u64>,
}

/// `io_uring_enter` calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Enters {
    /// Those that submitted or waited for work.
    pub(crate) work: u64,
    /// Those made only to look for completions while spinning.
    pub(crate) spin: u64,
}

/// How a child's part ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) corrupt: u64,
    /// Round trips of the measured window: nanoseconds, and how often.
    pub(crate) round_trips: Vec<(u64, u64)>,
    /// Metrics that only this process can tell.
    pub(crate) figures: BTreeMap<String, f64>,
}
