//! The poll beside each multishot receive, for ends that the receive itself misses.
//!
//! Kernels (6.18 at least) now and then lose the end of a stream that comes while the receive takes the last data:
//! both wake it, it takes the data, counts both wake-ups as served and sleeps for good. A poll for the end alone is not
//! woken by data, and looks at the socket after each wake-up, so it misses nothing. It costs one entry per receive and
//! nothing per message.

use io_uring::{opcode, types};

use super::ops::Key;
use super::uring::UringRing;
use crate::ring::{OpId, Ring};

impl UringRing {
    /// Watches the socket of the receive `id`.
    pub(super) fn watch(&mut self, id: OpId, fd: types::Fd) {
        if self.closed || !self.table.set_watched(id, true) {
            return;
        }
        self.watches += 1;
        // Errors and the end of both directions are always reported.
        let poll = opcode::PollAdd::new(fd, libc::POLLRDHUP as u32).build();
        self.queue(poll.user_data(Key::Watch(id).encode()));
    }

    /// The receive `id` is over: nobody asks for its end any more. A poll keeps its socket open.
    pub(super) fn unwatch(&mut self, id: OpId) {
        let cancel = opcode::AsyncCancel::new(Key::Watch(id).encode()).build();
        self.queue(cancel.user_data(Key::Unwatch(id).encode()));
    }

    /// The stream has ended (`result` is positive), or the poll. A receive that goes on all the same may have missed it:
    /// it is ended, and whoever asked for it asks again, which finds what is left and the end.
    pub(super) fn watch_done(&mut self, id: OpId, result: i32) {
        self.watches -= 1;
        if self.table.set_watched(id, false) && result > 0 {
            self.cancel(id);
        }
    }
}
