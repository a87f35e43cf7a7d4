//! What the messages contain, so that the receiver can check every byte of them.

use bytes::Bytes;

/// An endless sequence of messages of one size that both ends know. Message `n` is a window of a fixed table
/// of random bytes that moves on with `n`: neighbours differ in every position, and the receiver compares each
/// message whole, so a lost, repeated, swapped or altered message shows at once.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    table: Bytes,
    size: usize,
}

impl Pattern {
    /// The sequence of messages of `size` bytes.
    pub(crate) fn new(size: usize) -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut table = Vec::with_capacity(PERIOD * STEP + size);
        while table.len() < PERIOD * STEP + size {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            table.extend_from_slice(&state.to_le_bytes());
        }
        Self { table: Bytes::from(table), size }
    }

    /// The sequence from its beginning; `seed` shifts it, so that connections differ.
    pub(crate) fn sequence(&self, seed: usize) -> Sequence {
        Sequence { pattern: self.clone(), at: seed % PERIOD }
    }
}

/// A place in a [`Pattern`]: one for each direction of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Sequence {
    pattern: Pattern,
    at: usize,
}

impl Sequence {
    /// Payload bytes of each message.
    pub(crate) const fn size(&self) -> usize {
        self.pattern.size
    }

    /// The message at this place.
    #[inline]
    pub(crate) fn current(&self) -> &[u8] {
        let start = self.at * STEP;
        &self.pattern.table[start..start + self.pattern.size]
    }

    /// The message at this place, shared instead of copied.
    pub(crate) fn current_shared(&self) -> Bytes {
        let start = self.at * STEP;
        self.pattern.table.slice(start..start + self.pattern.size)
    }

    /// Goes on to the next message.
    #[inline]
    pub(crate) fn advance(&mut self) {
        self.at = if self.at + 1 == PERIOD { 0 } else { self.at + 1 };
    }

    /// Whether `message` is the one expected here, byte for byte; goes on to the next in any case.
    #[inline]
    pub(crate) fn accept(&mut self, message: &[u8]) -> bool {
        let same = message == self.current();
        self.advance();
        same
    }
}

/// Different messages before the sequence repeats: prime, and small enough that the table of small messages
/// stays in the first-level cache.
const PERIOD: usize = 509;
/// Bytes by which the window moves.
const STEP: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_receiver_accepts_what_the_sender_makes() {
        for size in [0, 1, 64, 5000] {
            let pattern = Pattern::new(size);
            let (mut sender, mut receiver) = (pattern.sequence(3), pattern.sequence(3));
            for _ in 0..2000 {
                assert_eq!(sender.current(), sender.current_shared());
                assert_eq!(sender.current().len(), size);
                assert!(receiver.accept(sender.current()));
                sender.advance();
            }
        }
    }

    #[test]
    fn lost_repeated_and_altered_messages_are_found() {
        let pattern = Pattern::new(64);
        let (mut sender, mut receiver) = (pattern.sequence(0), pattern.sequence(0));
        let first = sender.current().to_vec();
        assert!(receiver.accept(&first));
        assert!(!receiver.accept(&first), "repeated");
        sender.advance();
        sender.advance();
        let mut altered = sender.current().to_vec();
        altered[63] ^= 1;
        assert!(!receiver.accept(&altered), "altered in the last byte");
        assert!(!receiver.accept(sender.current()), "late by one");
    }
}
