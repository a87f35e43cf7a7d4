//! Messages that wait for a connection.

use std::collections::VecDeque;

use bytes::Bytes;
use qwormhole_proto::{Payload, Priority, SendErrorKind, Sender};

/// What was accepted while nothing was connected, in order and within a bound.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    queue: VecDeque<(Priority, Bytes)>,
    cost: usize,
    /// How many messages ever came and went.
    accepted: u64,
    gone: u64,
}

/// Why a queue stopped moving to a connection.
#[derive(Debug)]
pub(crate) enum Drained {
    /// Nothing is left.
    All,
    /// The connection has no room for a message of this many bytes.
    Full(usize),
    /// The connection is ending; what it did not accept is still queued.
    Ending,
}

impl Pending {
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether a message of `len` bytes fits; one message always fits into an empty queue.
    pub(crate) fn has_room(&self, len: usize, bytes_max: usize) -> bool {
        self.queue.is_empty() || self.cost.saturating_add(len).saturating_add(OVERHEAD) <= bytes_max
    }

    /// Appends a message; the caller has asked for room.
    pub(crate) fn push<P: Payload>(&mut self, priority: Priority, payload: P) {
        let message = payload.into_shared().unwrap_or_else(|kept| Bytes::copy_from_slice(kept.as_bytes()));
        self.cost += message.len() + OVERHEAD;
        self.accepted += 1;
        self.queue.push_back((priority, message));
    }

    /// Moves messages to the connection until it accepts no more; returns how many it took.
    pub(crate) fn drain_into(&mut self, sender: &Sender) -> (u64, Drained) {
        let mut taken = 0;
        while let Some((priority, message)) = self.queue.pop_front() {
            let len = message.len();
            let Err(refused) = sender.try_send_with(priority, message) else {
                self.cost -= len + OVERHEAD;
                self.gone += 1;
                taken += 1;
                continue;
            };
            let why = if refused.is_retryable() { Drained::Full(len) } else { Drained::Ending };
            // Its length was checked when it came, so nothing but an end refuses it for good.
            debug_assert!(!matches!(refused.kind, SendErrorKind::TooLarge { .. }));
            self.queue.push_front((priority, refused.payload));
            return (taken, why);
        }
        self.queue = VecDeque::new();
        (taken, Drained::All)
    }

    /// Everything that is left.
    pub(crate) fn take(&mut self) -> Vec<Bytes> {
        self.cost = 0;
        self.gone = self.accepted;
        std::mem::take(&mut self.queue).into_iter().map(|(_, message)| message).collect()
    }

    /// Stands behind everything accepted so far.
    pub(crate) const fn mark(&self) -> u64 {
        self.accepted
    }

    /// Whether everything before `mark` has left the queue.
    pub(crate) const fn has_passed(&self, mark: u64) -> bool {
        self.gone >= mark
    }
}

/// What a queued message costs besides its bytes.
const OVERHEAD: usize = size_of::<(Priority, Bytes)>();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_counts_bookkeeping_and_one_message_always_fits() {
        let mut pending = Pending::default();
        assert!(pending.has_room(1 << 30, 1));
        pending.push(Priority::DEFAULT, [0; 10].as_slice());
        assert!(!pending.has_room(0, 10 + OVERHEAD));
        assert!(pending.has_room(0, 10 + 2 * OVERHEAD));
        assert!(!pending.has_room(1, 10 + 2 * OVERHEAD));
        assert!(!pending.has_room(usize::MAX, usize::MAX - 1));
    }

    #[test]
    fn what_is_taken_back_has_passed() {
        let mut pending = Pending::default();
        pending.push(Priority::DEFAULT, "a");
        let mark = pending.mark();
        pending.push(Priority(3), "b");
        assert!(!pending.has_passed(mark));
        assert_eq!(pending.take(), ["a", "b"]);
        assert!(pending.has_passed(mark) && pending.is_empty() && pending.has_room(5, 5 + OVERHEAD));
    }
}
