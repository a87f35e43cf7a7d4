//! The receive buffers of a fake ring.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use qwormhole_proto::RecvBuffer;

use crate::fake_ring::coverage::Outcome;
use crate::fake_ring::defect::Defect;
use crate::fake_ring::net::Net;

/// A fixed number of buffers of one size; cloning gives another handle of the same pool.
#[derive(Clone)]
pub(crate) struct Pool {
    net: Arc<Net>,
    free: Arc<Mutex<Vec<Vec<u8>>>>,
    buffers: usize,
    buffer_len: usize,
    /// Somebody has woken the ring.
    woken: Arc<AtomicBool>,
    defect: Option<Defect>,
}

impl Pool {
    pub(crate) fn new(net: Arc<Net>, buffers: usize, buffer_len: usize, defect: Option<Defect>) -> Self {
        let free = Arc::new(Mutex::new(vec![vec![POISON; buffer_len]; buffers]));
        Self { net, free, buffers, buffer_len, woken: Arc::default(), defect }
    }

    /// Fills a buffer with up to its length from `source`; `None` when none is free.
    pub(crate) fn fill(&self, source: impl Iterator<Item = u8>) -> Option<FakeBuffer> {
        let mut memory = self.lock().pop()?;
        let len = memory.iter_mut().zip(source).map(|(to, from)| *to = from).count();
        Some(FakeBuffer { filled: Arc::new(Filled { memory, pool: self.clone() }), len })
    }

    /// What wakes the ring that owns this pool: the shard's waker, and a buffer that returns when there was
    /// none.
    pub(crate) fn wake(&self) {
        self.woken.store(self.defect != Some(Defect::WakeLost), Ordering::Release);
    }

    /// True once after a wake.
    pub(crate) fn take_woken(&self) -> bool {
        self.woken.swap(false, Ordering::AcqRel)
    }

    pub(crate) fn free(&self) -> usize {
        self.lock().len()
    }

    pub(crate) fn buffers(&self) -> usize {
        self.buffers
    }

    pub(crate) fn buffer_len(&self) -> usize {
        self.buffer_len
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A filled buffer. It returns to its pool, overwritten, when it and all its leases are dropped.
pub(crate) struct FakeBuffer {
    filled: Arc<Filled>,
    len: usize,
}

impl RecvBuffer for FakeBuffer {
    fn as_slice(&self) -> &[u8] {
        &self.filled.memory[..self.len]
    }

    fn lease(&self, range: Range<usize>) -> Option<Bytes> {
        let pool = &self.filled.pool;
        let mut net = pool.net.lock();
        if net.choices.one_in(8) {
            net.cover(Outcome::BufferLeaseRefused);
            return None;
        }
        net.cover(Outcome::BufferLeased);
        drop(net);
        if pool.defect == Some(Defect::BufferReturnedEarly) {
            return Some(Bytes::from(vec![POISON; range.len()]));
        }
        Some(Bytes::from_owner(Lease { filled: self.filled.clone(), range }))
    }
}

struct Lease {
    filled: Arc<Filled>,
    range: Range<usize>,
}

impl AsRef<[u8]> for Lease {
    fn as_ref(&self) -> &[u8] {
        &self.filled.memory[self.range.clone()]
    }
}

struct Filled {
    memory: Vec<u8>,
    pool: Pool,
}

impl Drop for Filled {
    fn drop(&mut self) {
        let mut memory = std::mem::take(&mut self.memory);
        memory.fill(POISON);
        let mut free = self.pool.lock();
        free.push(memory);
        if free.len() == 1 {
            self.pool.wake();
        }
    }
}

/// What memory holds that nobody should read.
pub(crate) const POISON: u8 = 0xdd;
