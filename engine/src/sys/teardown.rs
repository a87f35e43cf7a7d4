//! The end of a ring.

use std::io;
use std::mem;
use std::time::{Duration, Instant};

use io_uring::{opcode, types};

use super::buffer_ring::GROUP;
use super::ops::Key;
use super::uring::UringRing;
use crate::ring::Ring;

impl UringRing {
    /// Cancels everything and reaps until nothing is in flight; then the ring can be closed and its memory
    /// freed. Closing alone would not do: the kernel ends the operations of a closed ring later, on its own
    /// time, and may write into buffers until then.
    pub(super) fn end(&mut self) -> u64 {
        if mem::replace(&mut self.closing, true) {
            return 0;
        }
        let deadline = Instant::now() + PATIENCE;
        while self.is_busy() && Instant::now() < deadline {
            let all = opcode::AsyncCancel2::new(types::CancelBuilder::any().all()).build();
            self.queue(all.user_data(Key::CancelAll.encode()));
            // The first wait ends with the cancellation's own completion, the second with its effects.
            if self.reap(Duration::ZERO).and_then(|()| self.reap(ROUND)).is_err() {
                break;
            }
        }
        let leaked = if self.table.len() > 0 {
            self.leak()
        } else {
            // Fails only if the ring is unusable, and closing it unregisters too.
            let _ = self.ring.submitter().unregister_buf_ring(GROUP);
            0
        };
        self.fd.unregister();
        self.closed = true;
        leaked
    }

    /// Whether the kernel has anything of the ring to end.
    const fn is_busy(&self) -> bool {
        self.table.len() > 0 || self.waker_armed || self.watches > 0
    }

    /// Drops what completes within `wait`, and with it the resources it carries.
    fn reap(&mut self, wait: Duration) -> io::Result<()> {
        if self.is_busy() {
            self.enter(Some(wait))?;
            while self.pop().is_some() {}
        }
        Ok(())
    }

    /// Leaves everything the kernel may still touch where it is, for good.
    fn leak(&mut self) -> u64 {
        let bytes = (self.table.bytes() + self.buffers.leak()) as u64;
        tracing::error!(
            operations = self.table.len(),
            bytes,
            "the kernel did not end all operations of a ring; leaving their memory to it"
        );
        mem::forget(mem::take(&mut self.table));
        bytes
    }
}

impl Drop for UringRing {
    fn drop(&mut self) {
        self.end();
    }
}

/// How long the kernel has to end the operations; cancelling socket operations takes microseconds.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long to wait before cancelling again what the last round did not find.
const ROUND: Duration = Duration::from_millis(10);
