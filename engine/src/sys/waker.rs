//! Ending a ring's wait from other threads.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

/// An event descriptor that the ring polls for as long as it lives.
///
/// The counter behind it is never read: a poll that lives on reports every write, and overflowing the counter
/// takes 2^64 wakes. A wake that was asked for and not yet seen by the ring absorbs later ones.
#[derive(Debug)]
pub(super) struct Waker {
    event: OwnedFd,
    /// A wake is on its way to the ring.
    pending: AtomicBool,
}

impl Waker {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: no memory is passed.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor for us.
        let event = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { event, pending: AtomicBool::new(false) })
    }

    pub(super) fn raw(&self) -> RawFd {
        self.event.as_raw_fd()
    }

    /// Ends the current or the next wait of the ring.
    pub(super) fn wake(&self) {
        if self.pending.swap(true, Ordering::AcqRel) {
            return;
        }
        let one = 1u64;
        // SAFETY: eight readable bytes. The only failure, a full counter, is out of reach.
        unsafe { libc::write(self.raw(), ptr::from_ref(&one).cast(), 8) };
    }

    /// The ring has seen the wake; what was done before later calls of `wake` needs another one. What was done
    /// before earlier calls is visible to the caller from now on.
    pub(super) fn acknowledge(&self) {
        self.pending.swap(false, Ordering::AcqRel);
    }
}
