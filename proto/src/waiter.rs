//! Tasks that wait for a connection of another thread.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use slab::Slab;

use crate::close::CloseReason;
use crate::remote::{Remote, Staged};

/// One task's place among those that wait for a connection: for room, for a flush or for the end, one at a
/// time. Dropping it forgets the task, so the memory is bounded by the tasks that wait.
pub struct Waiter {
    remote: Arc<Remote>,
    key: Option<usize>,
}

impl Waiter {
    pub(crate) const fn new(remote: Arc<Remote>) -> Self {
        Self { remote, key: None }
    }

    /// Ready when a message of `len` bytes has room, or can only fail for good. Waiting tasks are woken
    /// together and compete for the room.
    pub fn poll_ready(&mut self, len: usize, cx: &mut Context<'_>) -> Poll<()> {
        let remote = self.remote.clone();
        let mut staged = remote.lock();
        if staged.closed.is_some() || staged.has_room(len, &remote.config) {
            return Poll::Ready(());
        }
        self.register(&mut staged, Interest::Ready, cx)
    }

    /// Ready when everything accepted before [`Sender::request_flush`](crate::Sender::request_flush) gave
    /// `mark` was handed to the kernel.
    ///
    /// # Errors
    ///
    /// The connection's end, when it came first.
    pub fn poll_flushed(&mut self, mark: u64, cx: &mut Context<'_>) -> Poll<Result<(), CloseReason>> {
        let remote = self.remote.clone();
        let mut staged = remote.lock();
        if staged.flushed >= mark {
            return Poll::Ready(Ok(()));
        }
        if let Some(reason) = &staged.closed {
            return Poll::Ready(Err(reason.clone()));
        }
        self.register(&mut staged, Interest::Flushed, cx)
    }

    /// Ready when the connection is over.
    pub fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        let remote = self.remote.clone();
        let mut staged = remote.lock();
        if let Some(reason) = &staged.closed {
            return Poll::Ready(reason.clone());
        }
        self.register(&mut staged, Interest::Closed, cx)
    }

    fn register<T>(&mut self, staged: &mut Staged, interest: Interest, cx: &Context<'_>) -> Poll<T> {
        let waiting = Waiting { interest, waker: Some(cx.waker().clone()) };
        match self.key.and_then(|key| staged.waiters.0.get_mut(key)) {
            Some(place) => *place = waiting,
            None => self.key = Some(staged.waiters.0.insert(waiting)),
        }
        Poll::Pending
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.remote.lock().waiters.0.try_remove(key);
        }
    }
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiter").field("remote", &self.remote).finish_non_exhaustive()
    }
}

/// What a task waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    Ready,
    Flushed,
    Closed,
}

struct Waiting {
    interest: Interest,
    waker: Option<Waker>,
}

/// A place stays its waiter's until that is dropped; waking only takes the waker out.
#[derive(Default)]
pub(crate) struct Waiters(Slab<Waiting>);

impl Waiters {
    pub(crate) fn wake(&mut self, interest: Interest) {
        for (_, waiting) in &mut self.0 {
            if waiting.interest == interest {
                waiting.waker.take().into_iter().for_each(Waker::wake);
            }
        }
    }

    pub(crate) fn wake_all(&mut self) {
        for (_, waiting) in &mut self.0 {
            waiting.waker.take().into_iter().for_each(Waker::wake);
        }
    }
}
