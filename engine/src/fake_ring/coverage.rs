//! Which outcomes of which operations a run has seen.

use std::fmt;

/// What came of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    AcceptMore,
    AcceptEnded,
    AcceptOverflow,
    AcceptAborted,
    AcceptExhausted,
    AcceptCancelled,
    AcceptLateMore,
    AcceptLateEnded,
    RecvMore,
    RecvEnded,
    RecvOverflow,
    RecvAfterCancel,
    RecvAfterClose,
    RecvEnd,
    RecvEndAfterClose,
    RecvNoBuffer,
    RecvNoBufferHidingData,
    RecvNoBufferHidingEnd,
    RecvCancelled,
    RecvCancelledAfterClose,
    RecvReset,
    RecvInterrupted,
    SendAll,
    SendInPieces,
    SendShort,
    SendInterrupted,
    SendReset,
    SendBrokenPipe,
    SendAfterClose,
    SendShortAfterClose,
    SendCancelledAfterClose,
    ConnectOk,
    ConnectRefused,
    ConnectTimedOut,
    ConnectCancelled,
    ConnectOkAfterCancel,
    ConnectRefusedAfterCancel,
    EnterCompletions,
    EnterTimeout,
    EnterEarly,
    EnterWoken,
    BufferLeased,
    BufferLeaseRefused,
    CancelStale,
}

impl Outcome {
    /// Every outcome with its operation and its name.
    pub(crate) const ALL: [(Self, &str, &str); 44] = [
        (Self::AcceptMore, "accept", "socket, goes on"),
        (Self::AcceptEnded, "accept", "socket, ended early"),
        (Self::AcceptOverflow, "accept", "socket, ended by overflow"),
        (Self::AcceptAborted, "accept", "connection aborted"),
        (Self::AcceptExhausted, "accept", "out of descriptors or memory"),
        (Self::AcceptCancelled, "accept", "cancelled"),
        (Self::AcceptLateMore, "accept", "cancelled with a late socket, end follows"),
        (Self::AcceptLateEnded, "accept", "cancelled with a late socket at the end"),
        (Self::RecvMore, "recv", "data, goes on"),
        (Self::RecvEnded, "recv", "data, ended early"),
        (Self::RecvOverflow, "recv", "data, ended by overflow"),
        (Self::RecvAfterCancel, "recv", "data after cancel"),
        (Self::RecvAfterClose, "recv", "data after close"),
        (Self::RecvEnd, "recv", "end of stream"),
        (Self::RecvEndAfterClose, "recv", "end of stream after close"),
        (Self::RecvNoBuffer, "recv", "no buffer on an idle socket"),
        (Self::RecvNoBufferHidingData, "recv", "no buffer for data"),
        (Self::RecvNoBufferHidingEnd, "recv", "no buffer hiding the end of stream"),
        (Self::RecvCancelled, "recv", "cancelled"),
        (Self::RecvCancelledAfterClose, "recv", "cancelled after close"),
        (Self::RecvReset, "recv", "reset"),
        (Self::RecvInterrupted, "recv", "interrupted"),
        (Self::SendAll, "send", "all"),
        (Self::SendInPieces, "send", "all, in pieces"),
        (Self::SendShort, "send", "short"),
        (Self::SendInterrupted, "send", "interrupted"),
        (Self::SendReset, "send", "reset"),
        (Self::SendBrokenPipe, "send", "broken pipe"),
        (Self::SendAfterClose, "send", "all after close"),
        (Self::SendShortAfterClose, "send", "short after close"),
        (Self::SendCancelledAfterClose, "send", "cancelled after close"),
        (Self::ConnectOk, "connect", "connected"),
        (Self::ConnectRefused, "connect", "refused"),
        (Self::ConnectTimedOut, "connect", "timed out"),
        (Self::ConnectCancelled, "connect", "cancelled"),
        (Self::ConnectOkAfterCancel, "connect", "connected after cancel"),
        (Self::ConnectRefusedAfterCancel, "connect", "refused after cancel"),
        (Self::EnterCompletions, "enter", "completions"),
        (Self::EnterTimeout, "enter", "time passed"),
        (Self::EnterEarly, "enter", "returned early without completions"),
        (Self::EnterWoken, "enter", "woken by another thread"),
        (Self::BufferLeased, "buffer", "leased"),
        (Self::BufferLeaseRefused, "buffer", "lease refused"),
        (Self::CancelStale, "cancel", "of an operation that had ended"),
    ];
}

/// How often each outcome was seen.
#[derive(Clone, Debug)]
pub struct Coverage([u64; Outcome::ALL.len()]);

impl Coverage {
    pub(crate) fn add(&mut self, outcome: Outcome) {
        self.0[outcome as usize] += 1;
    }

    /// Adds what another run has seen.
    pub fn merge(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine += theirs);
    }

    /// Outcomes never seen, by operation and name.
    pub fn missing(&self) -> Vec<String> {
        let rows = Outcome::ALL.iter().filter(|row| self.0[row.0 as usize] == 0);
        rows.map(|(_, operation, name)| format!("{operation}: {name}")).collect()
    }
}

impl Default for Coverage {
    fn default() -> Self {
        Self([0; Outcome::ALL.len()])
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (outcome, operation, name) in Outcome::ALL {
            writeln!(f, "{operation:<8} {name:<42} {:>12}", self.0[outcome as usize])?;
        }
        Ok(())
    }
}
