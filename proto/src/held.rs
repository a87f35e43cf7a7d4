//! Bytes that arrived while the handler did not want any.

use std::mem;

use crate::chunk::ChunkPool;

/// Undelivered input, kept when reading is paused in the middle of a receive buffer.
///
/// Bounded by what the driver had handed to the kernel before it stopped reading: the rest of one buffer and
/// the buffers already filled.
#[derive(Debug, Default)]
pub(crate) struct Held {
    bytes: Vec<u8>,
    start: usize,
}

impl Held {
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    /// Appends bytes behind the ones already held.
    pub(crate) fn append(&mut self, more: &[u8], pool: &mut ChunkPool) {
        if !more.is_empty() {
            pool.grow(&mut self.bytes, more.len(), usize::MAX);
            self.bytes.extend_from_slice(more);
        }
    }

    /// Takes everything out, with the number of leading bytes that were delivered before.
    pub(crate) fn take(&mut self) -> (Vec<u8>, usize) {
        (mem::take(&mut self.bytes), mem::take(&mut self.start))
    }

    /// Puts `bytes` back of which the first `start` are delivered, in front of what was held meanwhile.
    pub(crate) fn put_back(&mut self, mut bytes: Vec<u8>, start: usize, pool: &mut ChunkPool) {
        if start >= bytes.len() {
            pool.give(bytes);
            return;
        }
        let (later, later_start) = self.take();
        if let Some(later_bytes) = later.get(later_start..).filter(|later| !later.is_empty()) {
            pool.grow(&mut bytes, later_bytes.len(), usize::MAX);
            bytes.extend_from_slice(later_bytes);
        }
        pool.give(later);
        self.bytes = bytes;
        self.start = start;
    }

    pub(crate) fn clear(&mut self, pool: &mut ChunkPool) {
        pool.give(mem::take(&mut self.bytes));
        self.start = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_back_comes_first() {
        let mut pool = ChunkPool::default();
        let mut held = Held::default();
        held.append(b"abcd", &mut pool);
        let (bytes, start) = held.take();
        assert_eq!((&bytes[..], start), (&b"abcd"[..], 0));
        held.append(b"ef", &mut pool);
        held.put_back(bytes, 3, &mut pool);
        assert!(!held.is_empty());
        let (bytes, start) = held.take();
        assert_eq!(&bytes[start..], b"def");
        held.put_back(bytes, 6, &mut pool);
        assert!(held.is_empty());
    }
}
