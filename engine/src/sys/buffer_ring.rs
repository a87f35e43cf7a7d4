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
///
/// # Why not all buffers are provided
///
/// The kernel fills buffers in the order they were provided, so it would go through the whole pool, which no cache
/// holds, even for a single connection. Only as many as a [`Window`] says are in the ring; the others lie on a stack,
/// so that those that came back last, still cached, are filled next.
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
    /// Neither in the ring nor with anybody.
    spare: Vec<u16>,
    window: Window,
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
    /// A pool of `buffers` (1 to 32,768) times `buffer_len` bytes.
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
            spare: (0..buffers).rev().collect(),
            window: Window::new(usize::from(buffers)),
        };
        ring.fill();
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

    /// Buffers that nobody holds.
    pub(super) fn free(&self) -> usize {
        self.provided + self.spare.len() + self.pool.returned()
    }

    /// Those of them that the kernel has after the next [`reclaim`](Self::reclaim).
    pub(super) fn within_reach(&self) -> usize {
        self.free().min(self.window.len.max(self.provided))
    }

    /// Notes that a receive found no buffer.
    pub(super) const fn note_starved(&mut self) {
        self.window.starved += 1;
    }

    /// Whether so few buffers are free that the next one to come back is worth waking for.
    pub(super) fn is_low(&self) -> bool {
        self.provided + self.spare.len() < self.pool.buffers().div_ceil(LOW_DIVISOR)
    }

    /// Takes what came back since the last time and provides what the kernel lacks; false if it lacks nothing or
    /// there is nothing. Once before every enter.
    pub(super) fn reclaim(&mut self) -> bool {
        while let Some(bid) = self.pool.take_returned() {
            self.spare.push(bid);
        }
        if self.provided < self.window.len {
            self.window.turn();
        }
        self.fill()
    }

    fn fill(&mut self) -> bool {
        while self.provided < self.window.len
            && let Some(bid) = self.spare.pop()
        {
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
                if let Some(place) = self.places.get_mut(bid) {
                    *place = Place::Held;
                }
                self.spare.push(bid as u16);
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

/// How many buffers the ring holds: few enough to stay in a core's cache while they do, more when receives find none.
#[derive(Debug)]
struct Window {
    len: usize,
    max: usize,
    /// Receives that found no buffer, and turns that took buffers, since the length was last considered.
    starved: usize,
    turns: usize,
    /// Considerations in a row without a receive that found none.
    fed: usize,
}

impl Window {
    fn new(buffers: usize) -> Self {
        Self { len: WINDOW_MIN.min(buffers), max: buffers, starved: 0, turns: 0, fed: 0 }
    }

    /// Considers the length now and then. A receive that finds no buffer is asked for again with the next enter; that
    /// is cheap while it happens less than once in a turn.
    fn turn(&mut self) {
        self.turns += 1;
        if self.turns < WINDOW_TURNS {
            return;
        }
        if self.starved > self.turns {
            self.len = (2 * self.len).min(self.max);
        }
        self.fed = if self.starved == 0 { self.fed + 1 } else { 0 };
        if self.fed == WINDOW_FED {
            self.fed = 0;
            self.len = (self.len / 2).max(WINDOW_MIN.min(self.max));
        }
        (self.turns, self.starved) = (0, 0);
    }
}

/// With buffers of 16 KiB a quarter of a megabyte: with what the kernel copies from, half of the second-level cache of
/// a server core.
const WINDOW_MIN: usize = 16;
/// Turns after which the length is considered.
const WINDOW_TURNS: usize = 64;
/// Considerations without want after which the window is halved.
const WINDOW_FED: usize = 64;
/// The kernel's limit of a buffer ring.
const BUFFERS_MAX: u16 = 1 << 15;
/// The group id of the only buffer ring of a ring.
pub(super) const GROUP: u16 = 0;
/// Below an eighth of the pool a returned buffer wakes its sleeping ring: connections may wait for it.
const LOW_DIVISOR: usize = 8;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use qwormhole_proto::RecvBuffer;

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

    #[test]
    fn the_buffers_in_the_ring_are_few_and_those_that_came_back_last() {
        let mut ring = ring(512);
        assert_eq!((ring.free(), ring.within_reach()), (512, WINDOW_MIN));
        let mut touched = BTreeSet::new();
        for _ in 0..100 {
            // The kernel fills them in order.
            let filled: Vec<_> = (0..WINDOW_MIN as u16).map(|bid| ring.take(bid, 1)).collect();
            touched.extend(filled.iter().flatten().map(|buffer| buffer.as_slice().as_ptr()));
            assert_eq!(filled.iter().flatten().count(), WINDOW_MIN);
            drop(filled);
            ring.reclaim();
        }
        assert_eq!(touched.len(), WINDOW_MIN);
    }

    #[test]
    fn receives_that_find_nothing_widen_the_window_and_quiet_narrows_it() {
        let mut window = Window::new(512);
        let mut run = |turns: usize, starved: usize| {
            for _ in 0..turns {
                window.starved += starved;
                window.turn();
            }
            window.len
        };
        assert_eq!(run(WINDOW_TURNS, 1), 16, "once in a turn is cheap");
        assert_eq!(run(WINDOW_TURNS, 2), 32);
        assert_eq!(run(100 * WINDOW_TURNS, 2), 512, "no more than there are");
        assert_eq!(run(WINDOW_FED * WINDOW_TURNS, 0), 256);
        assert_eq!(run(100 * WINDOW_FED * WINDOW_TURNS, 0), 16);
        assert_eq!(Window::new(8).len, 8);
    }
}
