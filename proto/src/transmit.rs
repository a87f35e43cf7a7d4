//! Bytes on their way out: what a driver submits in one go.

use bytes::{Buf, Bytes};
use smallvec::SmallVec;

use crate::chunk::ChunkPool;

/// A run of outbound bytes at a stable heap address.
#[derive(Debug)]
pub enum Segment {
    /// Encoded frames in a recycled buffer of the shard; `start` bytes have left already.
    Chunk {
        /// The buffer; its content from `start` on is still to be sent.
        buf: Vec<u8>,
        /// How many leading bytes have left already.
        start: usize,
    },
    /// A payload that is shared instead of copied.
    Shared(Bytes),
}

impl Segment {
    /// The bytes still to be sent.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Chunk { buf, start } => buf.get(*start..).unwrap_or_default(),
            Self::Shared(bytes) => bytes,
        }
    }

    /// How many bytes are still to be sent.
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether nothing is left to send.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn advance(&mut self, n: usize) {
        match self {
            Self::Chunk { buf, start } => *start = (*start + n).min(buf.len()),
            Self::Shared(bytes) => bytes.advance(n.min(bytes.len())),
        }
    }

    fn recycle(self, pool: &mut ChunkPool) {
        if let Self::Chunk { buf, .. } = self {
            pool.give(buf);
        }
    }
}

/// One submission: segments in wire order. At most one of a connection is in flight, because two unlinked
/// sends of one socket may interleave their bytes.
///
/// While the kernel may read it, the driver keeps it alive and unmoved on the heap; segments own their bytes
/// and never reallocate.
#[derive(Debug, Default)]
pub struct Transmit {
    /// One is kept inline: a lone frame then needs no list.
    segments: SmallVec<[Segment; 1]>,
    /// Segments before this one have left completely.
    first: usize,
    len: usize,
}

impl Transmit {
    /// The most segments one submission gathers; the kernel's own bound is 1,024.
    pub const SEGMENTS_MAX: usize = 64;

    /// An empty transmit whose list has room for a usual submission.
    pub(crate) fn with_room() -> Self {
        Self { segments: SmallVec::with_capacity(8), ..Self::default() }
    }

    /// The segments still to be sent, in wire order; none is empty.
    pub fn segments(&self) -> &[Segment] {
        self.segments.get(self.first..).unwrap_or_default()
    }

    /// Bytes still to be sent.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether everything has left.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a segment; an empty one is dropped.
    pub fn push(&mut self, segment: Segment) {
        if !segment.is_empty() {
            self.len += segment.len();
            self.segments.push(segment);
        }
    }

    /// Drops the first `n` bytes (at most all) because the kernel has taken them.
    pub fn advance(&mut self, n: usize) {
        let mut n = n.min(self.len);
        self.len -= n;
        while let Some(segment) = self.segments.get_mut(self.first) {
            let here = segment.len();
            if n < here {
                segment.advance(n);
                return;
            }
            n -= here;
            self.first += 1;
        }
    }

    /// Gives all buffers back and leaves an empty transmit whose list can be filled again.
    pub fn recycle(&mut self, pool: &mut ChunkPool) {
        self.segments.drain(..).for_each(|segment| segment.recycle(pool));
        self.first = 0;
        self.len = 0;
    }

    pub(crate) fn is_full(&self) -> bool {
        self.segments.len() >= Self::SEGMENTS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of(transmit: &Transmit) -> Vec<u8> {
        transmit.segments().iter().flat_map(|s| s.as_slice().to_vec()).collect()
    }

    #[test]
    fn a_short_send_leaves_exactly_the_rest() {
        for taken in 0..=9 {
            let mut transmit = Transmit::default();
            transmit.push(Segment::Chunk { buf: vec![9, 1, 2, 3], start: 1 });
            transmit.push(Segment::Shared(Bytes::new()));
            transmit.push(Segment::Shared(Bytes::from_static(&[4, 5, 6, 7])));
            transmit.push(Segment::Chunk { buf: vec![8, 9], start: 0 });
            assert_eq!(transmit.len(), 9);
            transmit.advance(taken);
            let whole: Vec<u8> = (1..=9).collect();
            assert_eq!(bytes_of(&transmit), whole[taken..]);
            assert_eq!(transmit.len(), 9 - taken);
            assert!(transmit.segments().iter().all(|s| !s.is_empty()));
        }
    }

    #[test]
    fn recycling_returns_the_buffers() {
        let mut pool = ChunkPool::default();
        let mut transmit = Transmit::default();
        let mut buf = pool.take(2048);
        buf.push(1);
        transmit.push(Segment::Chunk { buf, start: 0 });
        transmit.advance(usize::MAX);
        assert!(transmit.is_empty());
        transmit.recycle(&mut pool);
        assert_eq!(pool.retained_bytes(), 2048);
        assert!(transmit.segments().is_empty());
    }
}
