//! The ring by which the kernel is given receive buffers.

use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

use super::mapping::Mapping;
use super::pool::{Pool, PoolBuffer};
use super::waker::Waker;

/// Provides the pool's buffers to the kernel and takes filled ones from it. Used by the ring's thread only.
///
/// # A buffer named by a failed receive
///
/// Kernels have set the buffer flag on completions that carry an error or an end of stream, sometimes with the
/// buffer consumed and sometimes with it still in the ring. Providing it again in the second case would let two
/// receives write the same memory; forgetting it in the first case would lose it. So it is kept aside as
/// *doubtful* until the ring proves who has it: either the kernel fills it (it was still in the ring), or the
/// kernel fills a buffer that was provided a full round later, which can only be after the doubtful one left.
#[derive(Debug)]
pub(super) struct BufferRing {
    pool: Arc<Pool>,
    /// The entries, shared with the kernel; the published tail lies in the first one.
    entries: Mapping,
    mask: u64,
    /// Entries written since the start; those before `published` belong to the kernel.
    tail: u64,
    published: u64,
    /// Where each buffer is.
    places: Vec<Place>,
    provided: usize,
    doubtful: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Not in the ring.
    Held,
    /// In the ring, provided as the n-th entry since the start.
    Provided(u64),
    /// See [`BufferRing`].
    Doubtful(u64),
}

impl BufferRing {
    /// A pool of `buffers` (1 to 32,768) times `buffer_len` bytes, all provided.
    pub(super) fn new(buffers: u16, buffer_len: usize, waker: Arc<Waker>) -> io::Result<Self> {
        if buffers == 0 || buffers > BUFFERS_MAX || buffer_len == 0 {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let pool = Arc::new(Pool::new(buffers, buffer_len, waker)?);
        let entries = usize::from(buffers).next_power_of_two();
        let mut ring = Self {
            pool,
            entries: Mapping::new(entries * size_of::<BufRingEntry>())?,
            mask: entries as u64 - 1,
            tail: 0,
            published: 0,
            places: vec![Place::Held; usize::from(buffers)],
            provided: 0,
            doubtful: 0,
        };
        (0..buffers).for_each(|bid| ring.provide(bid));
        ring.publish();
        Ok(ring)
    }

    /// Shows the buffers to the kernel.
    pub(super) fn register(&self, ring: &IoUring) -> io::Result<()> {
        let address = self.entries.start().as_ptr() as u64;
        let entries = self.mask as u16 + 1;
        // SAFETY: the mapping holds `entries` entries and lives until the ring is gone or the mapping is
        // leaked, see `UringRing`'s teardown.
        unsafe { ring.submitter().register_buf_ring_with_flags(address, entries, GROUP, 0) }
    }

    pub(super) const fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Leaves the receive memory mapped for good; returns its size in bytes.
    pub(super) fn leak(&self) -> usize {
        mem::forget(self.pool.clone());
        self.pool.len()
    }

    /// Buffers the kernel has or will have after the next [`reclaim`](Self::reclaim).
    pub(super) fn free(&self) -> usize {
        self.provided + self.pool.returned()
    }

    /// Whether so few buffers are free that the next one to come back is worth waking for.
    pub(super) fn is_low(&self) -> bool {
        self.provided < self.pool.buffers().div_ceil(LOW_DIVISOR)
    }

    /// Provides what came back since the last time; false if nothing did.
    pub(super) fn reclaim(&mut self) -> bool {
        while let Some(bid) = self.pool.take_returned() {
            self.provide(bid);
        }
        self.publish()
    }

    /// The buffer that a receive of `len` bytes filled; `None` if the kernel cannot have filled it.
    pub(super) fn take(&mut self, bid: u16, len: usize) -> Option<PoolBuffer> {
        let place = self.places.get_mut(usize::from(bid))?;
        let position = match *place {
            Place::Held => return None,
            Place::Provided(position) => {
                self.provided -= 1;
                position
            }
            Place::Doubtful(position) => {
                self.doubtful -= 1;
                position
            }
        };
        *place = Place::Held;
        if self.doubtful > 0 {
            self.settle(position);
        }
        self.pool.fill(bid, len)
    }

    /// Notes that a receive without data named `bid`.
    pub(super) fn doubt(&mut self, bid: u16) {
        if let Some(place) = self.places.get_mut(usize::from(bid))
            && let Place::Provided(position) = *place
        {
            *place = Place::Doubtful(position);
            self.provided -= 1;
            self.doubtful += 1;
        }
    }

    /// The kernel has filled the entry at `position`: doubtful buffers a full round before it have left the
    /// ring.
    ///
    /// While an entry waits at the head, at most `buffers - 1` others can be written behind it, so an entry
    /// `buffers` further is written only after the head passed it.
    fn settle(&mut self, position: u64) {
        let round = self.places.len() as u64;
        for bid in 0..self.places.len() {
            if let Some(Place::Doubtful(doubtful)) = self.places.get(bid).copied()
                && doubtful + round <= position
            {
                self.doubtful -= 1;
                self.provide(bid as u16);
            }
        }
    }

    fn provide(&mut self, bid: u16) {
        let Some(address) = self.pool.address(bid) else { return };
        let index = (self.tail & self.mask) as usize;
        let entry = self.entries.start().as_ptr().cast::<BufRingEntry>().wrapping_add(index);
        // SAFETY: `index` is masked to the entries, and the kernel does not read entries behind the published
        // tail; there is room because each buffer is in the ring at most once.
        let entry = unsafe { &mut *entry };
        entry.set_addr(address as u64);
        entry.set_len(self.pool.buffer_len() as u32);
        entry.set_bid(bid);
        if let Some(place) = self.places.get_mut(usize::from(bid)) {
            *place = Place::Provided(self.tail);
        }
        self.tail += 1;
        self.provided += 1;
    }

    fn publish(&mut self) -> bool {
        if self.published == self.tail {
            return false;
        }
        self.published = self.tail;
        // SAFETY: the mapping starts with the first entry, which holds the tail.
        let tail = unsafe { BufRingEntry::tail(self.entries.start().as_ptr().cast()) };
        // SAFETY: the tail is two aligned bytes inside the mapping, written by this thread alone and read by
        // the kernel; `Release` makes the entries visible first.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail as u16, Ordering::Release);
        true
    }
}

/// The kernel's limit of a buffer ring.
const BUFFERS_MAX: u16 = 1 << 15;
/// The group id of the only buffer ring of a ring.
pub(super) const GROUP: u16 = 0;
/// Below an eighth of the pool a returned buffer wakes its sleeping ring: connections may wait for it.
const LOW_DIVISOR: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(buffers: u16) -> BufferRing {
        BufferRing::new(buffers, 64, Arc::new(Waker::new().unwrap())).unwrap()
    }

    #[test]
    fn a_buffer_that_somebody_holds_is_never_handed_out_again() {
        let mut ring = ring(4);
        let held = ring.take(2, 10).unwrap();
        assert!(ring.take(2, 10).is_none());
        assert!(ring.take(4, 10).is_none(), "no such buffer");
        assert!(ring.take(1, 65).is_none(), "longer than the buffer");
        drop(held);
        assert!(ring.take(2, 10).is_none(), "returned, but not provided yet");
        ring.reclaim();
        assert!(ring.take(2, 10).is_some());
    }

    #[test]
    fn a_doubtful_buffer_that_the_kernel_fills_was_never_lost() {
        let mut ring = ring(4);
        ring.doubt(1);
        assert_eq!(ring.free(), 3);
        ring.doubt(1);
        assert_eq!(ring.free(), 3, "one buffer, one doubt");
        drop(ring.take(1, 1).unwrap());
        ring.reclaim();
        assert_eq!(ring.free(), 4);
        assert_eq!(ring.doubtful, 0);
    }

    #[test]
    fn a_doubtful_buffer_returns_after_a_full_round_and_not_before() {
        let mut ring = ring(4);
        ring.doubt(0);
        // Buffer 0 was provided as entry 0, the others as 1 to 3, and as 4 to 6 when they come back. A fill of
        // entry 4 is the first that cannot happen while entry 0 waits at the head.
        for bid in [1, 2, 3, 1] {
            assert_eq!((ring.doubtful, ring.free()), (1, 3), "before buffer {bid}");
            drop(ring.take(bid, 1).unwrap());
            ring.reclaim();
        }
        assert_eq!((ring.doubtful, ring.free()), (0, 4));
    }
}
