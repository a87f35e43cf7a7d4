//! Frames that arrive on one connection.

use anyhow::{Result, ensure};

use crate::pattern::Sequence;

/// Takes received bytes apart and checks every byte of every message. Holds the beginning of at most one.
pub(super) struct Incoming {
    expected: Sequence,
    partial: Vec<u8>,
}

impl Incoming {
    pub(super) const fn new(expected: Sequence) -> Self {
        Self { expected, partial: Vec::new() }
    }

    /// Takes received bytes; for each message that they complete, `each` is told whether it is the one expected.
    pub(super) fn take(&mut self, bytes: &[u8], mut each: impl FnMut(bool) -> Result<()>) -> Result<()> {
        if self.partial.is_empty() {
            let used = self.messages_in(bytes, &mut each)?;
            self.partial.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        let mut joined = std::mem::take(&mut self.partial);
        joined.extend_from_slice(bytes);
        let used = self.messages_in(&joined, &mut each)?;
        joined.drain(..used);
        self.partial = joined;
        Ok(())
    }

    /// Checks every complete message at the front of `bytes`; their length with headers.
    fn messages_in(&mut self, bytes: &[u8], each: &mut impl FnMut(bool) -> Result<()>) -> Result<usize> {
        let size = self.expected.size();
        let mut rest = bytes;
        while let Some((header, after)) = rest.split_first_chunk::<4>() {
            let len = u32::from_be_bytes(*header) as usize;
            ensure!(
                len == size,
                "the peer answers {size} bytes with a frame of {len} bytes; is it an echo server for frames?"
            );
            let Some((message, after)) = after.split_at_checked(size) else { break };
            each(self.expected.accept(message))?;
            rest = after;
        }
        Ok(bytes.len() - rest.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::Pattern;

    #[test]
    fn messages_are_found_however_the_bytes_are_cut() {
        let pattern = Pattern::new(5);
        let mut sender = pattern.sequence(0);
        let mut wire = Vec::new();
        for _ in 0..7 {
            wire.extend_from_slice(&[0, 0, 0, 5]);
            wire.extend_from_slice(sender.current());
            sender.advance();
        }
        wire[9 * 3 + 8] ^= 1;
        for chunk in [1, 2, 4, 9, 10, wire.len()] {
            let (mut incoming, mut good) = (Incoming::new(pattern.sequence(0)), Vec::new());
            for part in wire.chunks(chunk) {
                incoming
                    .take(part, |same| {
                        good.push(same);
                        Ok(())
                    })
                    .unwrap();
            }
            assert_eq!(good, [true, true, true, false, true, true, true], "chunks of {chunk}");
            assert!(incoming.partial.is_empty());
        }
        assert!(Incoming::new(pattern.sequence(0)).take(b"HTTP/1.1", |_| Ok(())).is_err());
    }
}
