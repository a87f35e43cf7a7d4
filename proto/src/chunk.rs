//! Recycled byte buffers of one shard.

use std::mem;

/// Free lists of byte buffers in power-of-two classes, owned by one shard.
///
/// The steady state allocates nothing: outbound frames are encoded into these buffers, frames that span
/// receive buffers are stitched in them. Memory kept for reuse is bounded by `retained_bytes_max`
/// (default [`ChunkPool::RETAINED_BYTES_MAX`]); what comes back beyond it is freed.
#[derive(Debug)]
pub struct ChunkPool {
    classes: [Vec<Vec<u8>>; CLASSES],
    retained_bytes: usize,
    retained_bytes_max: usize,
    /// Smallest buffers made and not freed by the pool.
    smallest_made: usize,
}

impl ChunkPool {
    /// Smallest buffer handed out.
    pub const SMALLEST: usize = 1 << CLASS_SHIFT;
    /// Largest buffer kept for reuse.
    pub const LARGEST: usize = Self::SMALLEST << (CLASSES - 1);
    /// Default bound of the memory kept for reuse: 8 MiB holds the working set of a shard that fills two
    /// dozen submissions of 256 KiB per turn.
    pub const RETAINED_BYTES_MAX: usize = 8 << 20;

    /// An empty pool that keeps at most `retained_bytes_max` bytes for reuse.
    pub fn new(retained_bytes_max: usize) -> Self {
        Self { classes: Default::default(), retained_bytes: 0, retained_bytes_max, smallest_made: 0 }
    }

    /// An empty buffer with room for at least `capacity` bytes, and less than twice that above the smallest.
    pub fn take(&mut self, capacity: usize) -> Vec<u8> {
        let class = class_to_hold(capacity);
        if let Some(chunk) = self.classes.get_mut(class).and_then(Vec::pop) {
            self.retained_bytes = self.retained_bytes.saturating_sub(chunk.capacity());
            return chunk;
        }
        if class < CLASSES {
            self.smallest_made += usize::from(class == 0);
            Vec::with_capacity(Self::SMALLEST << class)
        } else {
            Vec::with_capacity(capacity)
        }
    }

    /// Makes smallest buffers until `count` have been made, so that a late peak of connections answering at
    /// once finds them.
    pub fn stock(&mut self, count: usize) {
        while self.smallest_made < count && self.retained_bytes + Self::SMALLEST <= self.retained_bytes_max {
            self.smallest_made += 1;
            self.give(Vec::with_capacity(Self::SMALLEST));
        }
    }

    /// Takes a buffer back for reuse, or frees it when the pool holds enough.
    pub fn give(&mut self, mut chunk: Vec<u8>) {
        let capacity = chunk.capacity();
        let within = self.retained_bytes + capacity <= self.retained_bytes_max;
        if !within && (Self::SMALLEST..Self::SMALLEST * 2).contains(&capacity) {
            self.smallest_made = self.smallest_made.saturating_sub(1);
        }
        if !within || !(Self::SMALLEST..Self::LARGEST * 2).contains(&capacity) {
            return;
        }
        if let Some(list) = self.classes.get_mut(class_held_by(capacity)) {
            chunk.clear();
            self.retained_bytes += capacity;
            list.push(chunk);
        }
    }

    /// Makes room for `more` further bytes in `chunk`, moving it to a larger buffer of the pool if needed.
    /// Capacity at least doubles, but never exceeds `len_max` by more than rounding to a class.
    pub fn grow(&mut self, chunk: &mut Vec<u8>, more: usize, len_max: usize) {
        let needed = chunk.len() + more;
        if needed <= chunk.capacity() {
            return;
        }
        let wanted = chunk.capacity().saturating_mul(2).min(len_max).max(needed);
        let mut larger = self.take(wanted);
        larger.extend_from_slice(chunk);
        self.give(mem::replace(chunk, larger));
    }

    /// Bytes currently kept for reuse.
    pub fn retained_bytes(&self) -> usize {
        self.retained_bytes
    }
}

impl Default for ChunkPool {
    fn default() -> Self {
        Self::new(Self::RETAINED_BYTES_MAX)
    }
}

/// The class whose buffers hold at least `capacity`; [`CLASSES`] or more when none does.
fn class_to_hold(capacity: usize) -> usize {
    let rounded = capacity.max(ChunkPool::SMALLEST).checked_next_power_of_two().unwrap_or(usize::MAX);
    (rounded.ilog2() - CLASS_SHIFT) as usize
}

/// The largest class that a buffer of `capacity` (at least the smallest) can serve.
fn class_held_by(capacity: usize) -> usize {
    (capacity.ilog2() - CLASS_SHIFT) as usize
}

/// 2 KiB: one page would double the memory of ten thousand peers with one small reply each.
const CLASS_SHIFT: u32 = 11;
/// 2 KiB to 256 KiB: the largest is what one submission carries.
const CLASSES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_for_the_same_class() {
        let mut pool = ChunkPool::default();
        let chunk = pool.take(5000);
        assert_eq!(chunk.capacity(), 8192);
        let address = chunk.as_ptr();
        pool.give(chunk);
        assert_eq!(pool.retained_bytes(), 8192);
        let again = pool.take(4097);
        assert_eq!(again.as_ptr(), address);
        assert_eq!(pool.retained_bytes(), 0);
    }

    #[test]
    fn memory_kept_is_bounded() {
        let mut pool = ChunkPool::new(6000);
        pool.give(Vec::with_capacity(4096));
        pool.give(Vec::with_capacity(4096));
        assert_eq!(pool.retained_bytes(), 4096);
        pool.give(Vec::with_capacity(1 << 20));
        pool.give(Vec::with_capacity(16));
        pool.give(Vec::new());
        assert_eq!(pool.retained_bytes(), 4096);
    }

    #[test]
    fn stock_is_made_once_and_kept() {
        let mut pool = ChunkPool::default();
        pool.stock(3);
        let taken: Vec<_> = (0..3).map(|_| pool.take(1)).collect();
        pool.stock(3);
        assert_eq!(pool.retained_bytes(), 0, "three have been made");
        taken.into_iter().for_each(|chunk| pool.give(chunk));
        assert_eq!(pool.retained_bytes(), 3 * ChunkPool::SMALLEST);
    }

    #[test]
    fn growth_doubles_but_stops_at_the_frame() {
        let mut pool = ChunkPool::default();
        let mut chunk = pool.take(1);
        chunk.extend_from_slice(&[7; 2048]);
        pool.grow(&mut chunk, 1, 1 << 20);
        assert_eq!((chunk.capacity(), chunk.len()), (4096, 2048));
        let mut large = Vec::with_capacity(3 << 20);
        large.resize(3 << 20, 1);
        pool.grow(&mut large, 1, (3 << 20) + 5);
        assert_eq!(large.capacity(), (3 << 20) + 5);
        assert!(large.iter().all(|byte| *byte == 1));
    }
}
