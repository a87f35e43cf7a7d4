//! What happened, in order.

use std::collections::VecDeque;
use std::fmt;

use qwormhole_proto::Time;

use crate::event::PeerId;

/// One thing that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When, in virtual time.
    pub at: Time,
    /// To which end of which connection.
    pub peer: PeerId,
    /// What.
    pub what: What,
}

/// The kinds of events a log tells apart. Numbers are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// The session opened.
    Opened,
    /// Admission refused the connection.
    Refused,
    /// The driver handed received bytes to the session.
    Read(usize),
    /// The peer's end of stream was handed to the session.
    EndOfStream,
    /// A reset was handed to the session.
    ResetSeen,
    /// The kernel took this much of a submission.
    Sent(usize),
    /// A submission failed.
    SendFailed,
    /// A segment arrived at this end.
    Arrived(usize),
    /// The kernel of this end sent a reset.
    ResetSent,
    /// The shard looked at what other threads posted.
    Remote,
    /// A deadline passed.
    Timeout,
    /// The session asked for the end of its write side.
    ShutdownWrite,
    /// The session is finished.
    Closed,
}

/// The most recent events of a simulation and a digest of all of them.
#[derive(Debug)]
pub struct Log {
    recent: VecDeque<Entry>,
    digest: u64,
    entries: u64,
}

impl Log {
    pub(crate) const fn new() -> Self {
        Self { recent: VecDeque::new(), digest: FNV_OFFSET, entries: 0 }
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        let (kind, amount) = entry.what.code();
        for number in [entry.at.as_nanos(), u64::from(entry.peer.0), kind, amount] {
            self.mix(&number.to_le_bytes());
        }
        self.entries += 1;
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(entry);
    }

    /// Adds bytes to the digest.
    pub(crate) fn mix(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.digest = (self.digest ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
        }
    }

    /// A number that two runs share only if the same happened in both, to the byte (FNV-1a, 64 bits).
    pub const fn digest(&self) -> u64 {
        self.digest
    }

    /// How much happened since the start.
    pub const fn entries(&self) -> u64 {
        self.entries
    }

    /// The last 1,000 events, oldest first.
    pub fn recent(&self) -> impl Iterator<Item = &Entry> {
        self.recent.iter()
    }
}

impl What {
    const fn code(self) -> (u64, u64) {
        match self {
            Self::Opened => (1, 0),
            Self::Refused => (2, 0),
            Self::Read(n) => (3, n as u64),
            Self::EndOfStream => (4, 0),
            Self::ResetSeen => (5, 0),
            Self::Sent(n) => (6, n as u64),
            Self::SendFailed => (7, 0),
            Self::Arrived(n) => (8, n as u64),
            Self::ResetSent => (9, 0),
            Self::Remote => (10, 0),
            Self::Timeout => (11, 0),
            Self::ShutdownWrite => (12, 0),
            Self::Closed => (13, 0),
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>14?}  peer {:<3} {:?}", self.at, self.peer.0, self.what)
    }
}

const RECENT_MAX: usize = 1000;
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;
