//! The two system calls that the bindings cannot express: entering and registering by the ring's index.
//!
//! The bindings keep the index of a registered ring in a value that borrows the ring, so it cannot live next to
//! the ring; calling directly is simpler than working around that.

use std::io;
use std::os::fd::RawFd;
use std::ptr;

use io_uring::EnterFlags;
use io_uring::types::{SubmitArgs, Timespec};

/// How the kernel is told which ring is meant.
#[derive(Debug)]
pub(super) struct RingFd {
    raw: RawFd,
    /// Index in the calling thread's table of registered rings: saves looking up the descriptor per enter.
    index: Option<u32>,
    /// How often the kernel was entered.
    #[cfg(test)]
    pub(super) calls: std::cell::Cell<u64>,
}

impl RingFd {
    /// Registers the ring with the calling thread, if the kernel can; from then on only this thread may use
    /// the value.
    pub(super) fn register(raw: RawFd) -> Self {
        let mut update = Update { offset: u32::MAX, resv: 0, data: raw as u64 };
        // SAFETY: the update lives across the call and is the structure the opcode asks for; the kernel
        // writes the index into it.
        let done = unsafe { register(raw, REGISTER_RING_FDS, &raw mut update) };
        Self {
            raw,
            index: (done == 1).then_some(update.offset),
            #[cfg(test)]
            calls: std::cell::Cell::default(),
        }
    }

    /// Gives the index back. Otherwise the thread would keep the ring alive after its descriptor is closed.
    pub(super) fn unregister(&mut self) {
        if let Some(index) = self.index.take() {
            let mut update = Update { offset: index, resv: 0, data: 0 };
            // SAFETY: as in `register`.
            unsafe { register(self.raw, UNREGISTER_RING_FDS, &raw mut update) };
        }
    }

    pub(super) const fn is_registered(&self) -> bool {
        self.index.is_some()
    }

    /// `io_uring_enter`: submits `queued` entries and waits for `min_complete` completions, at most `timeout`
    /// long. Returns how many entries the kernel took.
    pub(super) fn enter(
        &self,
        queued: u32,
        min_complete: u32,
        flags: EnterFlags,
        timeout: Option<&Timespec>,
    ) -> io::Result<u32> {
        #[cfg(test)]
        self.calls.set(self.calls.get() + 1);
        let (fd, flags) = match self.index {
            Some(index) => (index as RawFd, flags | EnterFlags::REGISTERED_RING),
            None => (self.raw, flags),
        };
        let args = timeout.map(|timeout| SubmitArgs::new().timespec(timeout));
        let (flags, arg, size) = match &args {
            Some(args) => (flags | EnterFlags::EXT_ARG, ptr::from_ref(args), size_of::<SubmitArgs<'_, '_>>()),
            None => (flags, ptr::null(), 0),
        };
        // SAFETY: the argument is either absent or a structure that lives across the call and whose size is
        // given. What the queued entries refer to is owned by the operation table, see `OpTable::insert`.
        let taken = unsafe {
            libc::syscall(libc::SYS_io_uring_enter, fd, queued, min_complete, flags.bits(), arg, size)
        };
        u32::try_from(taken).map_err(|_| io::Error::last_os_error())
    }
}

/// The kernel's `struct io_uring_rsrc_update`.
#[repr(C)]
struct Update {
    offset: u32,
    resv: u32,
    data: u64,
}

/// # Safety
///
/// `update` must be valid for reads and writes during the call.
unsafe fn register(raw: RawFd, opcode: u32, update: *mut Update) -> libc::c_long {
    // SAFETY: one update, valid by the contract of this function.
    unsafe { libc::syscall(libc::SYS_io_uring_register, raw, opcode, update, 1) }
}

const REGISTER_RING_FDS: u32 = 20;
const UNREGISTER_RING_FDS: u32 = 21;
