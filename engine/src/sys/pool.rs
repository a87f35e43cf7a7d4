//! Receive memory: buffers the kernel fills, handed out without a copy.

use std::fmt;
use std::io;
use std::ops::Range;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering, fence};

use bytes::Bytes;
use crossbeam_queue::ArrayQueue;
use qwormhole_proto::RecvBuffer;

use super::mapping::Mapping;
use super::waker::Waker;

/// The buffers of one ring: one mapping, a reference count per buffer, and the queue by which buffers come back.
///
/// Invariant: the kernel may write a buffer only while its state is 0, that is from when the ring provided it
/// until [`Pool::fill`]; references to its bytes exist only while its state is not 0. The pool outlives its ring
/// for as long as leases exist.
pub(super) struct Pool {
    memory: Mapping,
    buffer_len: usize,
    /// Per buffer: how many hold it, and [`LEASED`].
    states: Box<[AtomicU32]>,
    /// Buffers nobody holds any more, on their way back to the ring. Has room for all of them.
    returned: ArrayQueue<u16>,
    leased: AtomicUsize,
    leased_max: usize,
    /// The ring sleeps and has few buffers left: whoever returns one wakes it.
    wanted: AtomicBool,
    waker: Arc<Waker>,
}

impl Pool {
    pub(super) fn new(buffers: u16, buffer_len: usize, waker: Arc<Waker>) -> io::Result<Self> {
        let count = usize::from(buffers);
        Ok(Self {
            memory: Mapping::new(count * buffer_len)?,
            buffer_len,
            states: (0..count).map(|_| AtomicU32::new(0)).collect(),
            returned: ArrayQueue::new(count),
            leased: AtomicUsize::new(0),
            leased_max: count / 2,
            wanted: AtomicBool::new(false),
            waker,
        })
    }

    pub(super) fn buffers(&self) -> usize {
        self.states.len()
    }

    pub(super) const fn buffer_len(&self) -> usize {
        self.buffer_len
    }

    /// Bytes of memory behind the buffers.
    pub(super) const fn len(&self) -> usize {
        self.memory.len()
    }

    /// The address the kernel writes buffer `bid` to; `None` if there is no such buffer.
    pub(super) fn address(&self, bid: u16) -> Option<*mut u8> {
        let bid = usize::from(bid);
        // `bid` is below `buffers()`, so the whole buffer lies inside the mapping.
        (bid < self.buffers()).then(|| self.memory.start().as_ptr().wrapping_add(bid * self.buffer_len))
    }

    /// Makes a buffer of which the kernel has filled the first `len` bytes; `None` if there is no such buffer,
    /// or if somebody holds it, or if `len` is longer than it.
    pub(super) fn fill(self: &Arc<Self>, bid: u16, len: usize) -> Option<PoolBuffer> {
        let state = self.states.get(usize::from(bid))?;
        if len > self.buffer_len
            || state.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err()
        {
            return None;
        }
        Some(PoolBuffer { pool: self.clone(), bid, len })
    }

    /// A buffer that came back, if one did; the ring may provide it again.
    pub(super) fn take_returned(&self) -> Option<u16> {
        self.returned.pop()
    }

    pub(super) fn returned(&self) -> usize {
        self.returned.len()
    }

    /// Asks to be woken by the next buffer that comes back. False if some came back already.
    pub(super) fn want(&self) -> bool {
        self.wanted.store(true, Ordering::SeqCst);
        // Either the returning thread sees `wanted`, or its buffer is seen here.
        fence(Ordering::SeqCst);
        self.returned.is_empty()
    }

    pub(super) fn unwant(&self) {
        self.wanted.store(false, Ordering::Relaxed);
    }

    fn bytes(&self, bid: u16, range: Range<usize>) -> &[u8] {
        let Some(start) = self.address(bid) else { return &[] };
        assert!(range.start <= range.end && range.end <= self.buffer_len, "range beyond the buffer");
        let len = range.end - range.start;
        // SAFETY: the range was checked to lie in the buffer, the buffer lies in the mapping, and the caller
        // holds a reference to the buffer, so the kernel does not write it (the type's invariant;
        // `leased_bytes_stay_while_traffic_goes_on` sees foreign bytes if a held buffer is provided again).
        unsafe { slice::from_raw_parts(start.wrapping_add(range.start), len) }
    }

    /// Counts the buffer as leased, once; false if the budget is used up.
    fn mark_leased(&self, state: &AtomicU32) -> bool {
        if state.load(Ordering::Relaxed) & LEASED != 0 {
            return true;
        }
        let within = |leased: usize| (leased < self.leased_max).then_some(leased + 1);
        if self.leased.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_err() {
            return false;
        }
        if state.fetch_or(LEASED, Ordering::Relaxed) & LEASED != 0 {
            // Another thread was first.
            self.leased.fetch_sub(1, Ordering::Relaxed);
        }
        true
    }

    fn release(&self, bid: u16) {
        let Some(state) = self.states.get(usize::from(bid)) else { return };
        let before = state.fetch_sub(1, Ordering::Release);
        if before & !LEASED != 1 {
            return;
        }
        // What other holders read happened before the kernel writes again.
        fence(Ordering::Acquire);
        if before & LEASED != 0 {
            self.leased.fetch_sub(1, Ordering::Relaxed);
        }
        state.store(0, Ordering::Release);
        let pushed = self.returned.push(bid);
        debug_assert!(pushed.is_ok(), "every buffer has a place in the queue");
        fence(Ordering::SeqCst);
        if self.wanted.load(Ordering::Relaxed) && self.wanted.swap(false, Ordering::Relaxed) {
            self.waker.wake();
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("buffers", &self.buffers())
            .field("buffer_len", &self.buffer_len)
            .field("leased", &self.leased)
            .finish_non_exhaustive()
    }
}

/// A filled receive buffer; returns to its ring when it and its leases are dropped.
pub struct PoolBuffer {
    pool: Arc<Pool>,
    bid: u16,
    len: usize,
}

impl RecvBuffer for PoolBuffer {
    fn as_slice(&self) -> &[u8] {
        self.pool.bytes(self.bid, 0..self.len)
    }

    /// Up to half of the pool's buffers may be leased: the other half keeps receiving.
    fn lease(&self, range: Range<usize>) -> Option<Bytes> {
        if range.start > range.end || range.end > self.len {
            return None;
        }
        let state = self.pool.states.get(usize::from(self.bid))?;
        if !self.pool.mark_leased(state) {
            return None;
        }
        state.fetch_add(1, Ordering::Relaxed);
        Some(Bytes::from_owner(Lease { pool: self.pool.clone(), bid: self.bid, range }))
    }
}

impl Drop for PoolBuffer {
    fn drop(&mut self) {
        self.pool.release(self.bid);
    }
}

/// Shows the length only: payloads never reach logs.
impl fmt::Debug for PoolBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PoolBuffer({} bytes)", self.len)
    }
}

struct Lease {
    pool: Arc<Pool>,
    bid: u16,
    range: Range<usize>,
}

impl AsRef<[u8]> for Lease {
    fn as_ref(&self) -> &[u8] {
        self.pool.bytes(self.bid, self.range.clone())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.release(self.bid);
    }
}

/// Bit of a buffer's state: it counts against the lease budget until it returns.
const LEASED: u32 = 1 << 31;
