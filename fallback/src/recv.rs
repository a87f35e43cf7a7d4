//! Where a shard receives, and how long its memory lives.

use std::mem;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use qwormhole_proto::RecvBuffer;

/// The receive memory of one shard: one buffer in use, and those that leases still pin.
///
/// A buffer that nobody leased is used again for the next receive; one that was leased is used again when its
/// last lease is gone. At most [`PINNED_MAX`] buffers are pinned, then nothing can be leased until one comes
/// back, so the memory is bounded by `(PINNED_MAX + 1) * BUFFER_LEN`.
#[derive(Debug)]
pub(crate) struct RecvSpace {
    /// Empty between receives; its capacity is what the next receive may fill.
    current: BytesMut,
    pinned: Vec<BytesMut>,
}

/// Bytes that one receive filled.
#[derive(Debug)]
pub(crate) struct Filled {
    bytes: Bytes,
    may_lease: bool,
}

impl RecvSpace {
    pub(crate) fn new() -> Self {
        Self { current: BytesMut::with_capacity(BUFFER_LEN), pinned: Vec::new() }
    }

    /// Empty memory for the next receive, at least [`READ_MIN`] bytes.
    pub(crate) fn room(&mut self) -> &mut BytesMut {
        if !self.current.try_reclaim(BUFFER_LEN) && self.current.capacity() < READ_MIN {
            let spare = self.take_unpinned().unwrap_or_else(|| BytesMut::with_capacity(BUFFER_LEN));
            self.pinned.push(mem::replace(&mut self.current, spare));
        }
        &mut self.current
    }

    /// What was received into [`RecvSpace::room`].
    pub(crate) fn take_filled(&mut self) -> Filled {
        let may_lease = self.pinned.len() < PINNED_MAX || self.take_unpinned().is_some();
        Filled { bytes: self.current.split().freeze(), may_lease }
    }

    /// Buffers that leases pin now.
    pub(crate) fn buffers_out(&mut self) -> u64 {
        let all = self.pinned.iter_mut().chain([&mut self.current]);
        all.map(|buffer| u64::from(!buffer.try_reclaim(BUFFER_LEN))).sum()
    }

    /// A buffer whose last lease is gone.
    fn take_unpinned(&mut self) -> Option<BytesMut> {
        let index = self.pinned.iter_mut().position(|buffer| buffer.try_reclaim(BUFFER_LEN))?;
        Some(self.pinned.swap_remove(index))
    }
}

impl RecvBuffer for Filled {
    fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    fn lease(&self, range: Range<usize>) -> Option<Bytes> {
        self.may_lease.then(|| self.bytes.slice(range))
    }
}

/// What one receive takes at most: large enough that a busy connection needs few system calls, small enough
/// to stay in the second-level cache.
const BUFFER_LEN: usize = 128 << 10;
/// A partly leased buffer is used on while it has this much room.
const READ_MIN: usize = 32 << 10;
/// Lease budget in buffers: 8 MiB.
const PINNED_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(space: &mut RecvSpace, len: usize, byte: u8) -> Filled {
        let room = space.room();
        assert!(room.is_empty() && room.capacity() >= len);
        room.resize(len, byte);
        space.take_filled()
    }

    #[test]
    fn memory_that_nobody_leased_is_used_again() {
        let mut space = RecvSpace::new();
        let address = receive(&mut space, 10, 1).bytes.as_ptr();
        for len in [BUFFER_LEN, 1, 100_000] {
            let filled = receive(&mut space, len, 2);
            assert_eq!((filled.bytes.as_ptr(), filled.as_slice().len()), (address, len));
        }
        assert!(space.pinned.is_empty());
    }

    #[test]
    fn a_lease_keeps_its_bytes_without_a_copy() {
        let mut space = RecvSpace::new();
        let filled = receive(&mut space, 100_000, 3);
        let lease = filled.lease(5..50_000).unwrap();
        assert_eq!(lease.as_ptr(), filled.as_slice()[5..].as_ptr());
        drop(filled);
        for byte in 4..40 {
            receive(&mut space, READ_MIN, byte);
        }
        assert!(lease.iter().all(|byte| *byte == 3));
        assert_eq!((space.pinned.len(), space.buffers_out()), (1, 1));
        drop(lease);
        assert_eq!(space.buffers_out(), 0);
    }

    #[test]
    fn leases_are_refused_at_the_budget_and_granted_again() {
        let mut space = RecvSpace::new();
        let mut leases = Vec::new();
        while let Some(lease) = receive(&mut space, BUFFER_LEN - READ_MIN + 1, 5).lease(0..4096) {
            leases.push(lease);
            assert!(leases.len() <= PINNED_MAX, "a lease too many");
        }
        assert_eq!((leases.len(), space.pinned.len()), (PINNED_MAX, PINNED_MAX));
        leases.pop();
        assert!(receive(&mut space, 4096, 6).lease(0..4096).is_some());
    }
}
