//! Anonymous memory shared with the kernel.

use std::io;
use std::ptr::{self, NonNull};

/// Zeroed, page-aligned private memory that a forked child does not get.
///
/// The address never changes; dropping unmaps. Whoever hands the address to the kernel keeps the mapping alive
/// until the kernel is done with it.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping is plain memory owned by this value; nothing about it depends on the thread. Access to its
// content is arbitrated by the owner (`Pool`, `BufferRing`).
unsafe impl Send for Mapping {}
// SAFETY: `&Mapping` gives out the address and the length only; see `Send` for the content.
unsafe impl Sync for Mapping {}

impl Mapping {
    pub(super) fn new(len: usize) -> io::Result<Self> {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches nothing that exists.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, prot, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        let mapping = Self { start, len };
        // SAFETY: the range is exactly the mapping made above. A child process must neither see nor keep
        // alive pages that the kernel writes for us.
        match unsafe { libc::madvise(start.as_ptr().cast(), len, libc::MADV_DONTFORK) } {
            0 => Ok(mapping),
            _ => Err(io::Error::last_os_error()),
        }
    }

    pub(super) const fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `new` and nobody uses it any more: references into it borrow from
        // the owner of this value, and the ring that let the kernel write is closed before its memory goes
        // (`a_lease_outlives_its_ring` reads through a lease after the ring is gone).
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}
