//! Tasks that wait for a connection of another thread.

use std::fmt;
use std::future::poll_fn;
use std::mem;
use std::sync::{Arc, MutexGuard};
use std::task::{Context, Poll, Waker};

use slab::Slab;
use smallvec::SmallVec;

use crate::blocking::block_on;
use crate::close::CloseReason;
use crate::error::SendError;
use crate::payload::Payload;
use crate::priority::Priority;
use crate::remote::{Remote, Sender, Staged};

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
        let staged = remote.lock();
        if staged.refusal().is_some() || staged.has_room(len, &remote.terms) {
            return Poll::Ready(());
        }
        self.register(staged, Interest::Ready, cx)
    }

    /// Ready when everything accepted before [`Sender::request_flush`](crate::Sender::request_flush) gave
    /// `mark` was handed to the kernel.
    ///
    /// # Errors
    ///
    /// The connection's end, when it came first.
    pub fn poll_flushed(&mut self, mark: u64, cx: &mut Context<'_>) -> Poll<Result<(), CloseReason>> {
        let remote = self.remote.clone();
        let staged = remote.lock();
        if staged.flushed >= mark {
            return Poll::Ready(Ok(()));
        }
        if let Some(reason) = &staged.closed {
            return Poll::Ready(Err(reason.clone()));
        }
        self.register(staged, Interest::Flushed, cx)
    }

    /// Ready when the connection is over.
    pub fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        let remote = self.remote.clone();
        let staged = remote.lock();
        if let Some(reason) = &staged.closed {
            return Poll::Ready(reason.clone());
        }
        self.register(staged, Interest::Closed, cx)
    }

    fn register<T>(
        &mut self,
        mut staged: MutexGuard<'_, Staged>,
        interest: Interest,
        cx: &Context<'_>,
    ) -> Poll<T> {
        let waiting = Waiting { interest, waker: Some(cx.waker().clone()) };
        let replaced = match self.key.and_then(|key| staged.waiters.0.get_mut(key)) {
            Some(place) => Some(mem::replace(place, waiting)),
            None => {
                self.key = Some(staged.waiters.0.insert(waiting));
                None
            }
        };
        drop(staged);
        drop(replaced);
        Poll::Pending
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let mut staged = self.remote.lock();
            let forgotten = staged.waiters.0.try_remove(key);
            drop(staged);
            drop(forgotten);
        }
    }
}

/// The waiting side of a sender; works on any async runtime, and without one.
impl Sender {
    /// Sends one message, waiting for room. `Ok` means accepted, in order, not delivered.
    ///
    /// Tasks that wait are woken together and compete: nobody is promised to be next, and a short message may
    /// find room where a long one does not.
    ///
    /// # Errors
    ///
    /// Gives the message back when it is too large or the connection is over.
    ///
    /// # Cancel safety
    ///
    /// A future dropped before it is ready has sent nothing; the message is dropped with it.
    pub async fn send<P: Payload>(&self, payload: P) -> Result<(), SendError<P>> {
        self.send_with(Priority::DEFAULT, payload).await
    }

    /// As [`Sender::send`], with a priority; lower goes sooner.
    ///
    /// # Errors
    ///
    /// As [`Sender::send`].
    ///
    /// # Cancel safety
    ///
    /// As [`Sender::send`].
    pub async fn send_with<P: Payload>(
        &self,
        priority: Priority,
        mut payload: P,
    ) -> Result<(), SendError<P>> {
        let mut waiter = None;
        loop {
            payload = match self.offer(priority, payload) {
                Err(refused) if refused.is_retryable() => refused.payload,
                done => return done,
            };
            let len = payload.as_bytes().len();
            let waiter = waiter.get_or_insert_with(|| self.waiter());
            poll_fn(|cx| waiter.poll_ready(len, cx)).await;
        }
    }

    /// As [`Sender::send`], for a thread that may block. Never call it on a shard's thread, that is, in a
    /// handler: the shard is what makes room.
    ///
    /// # Errors
    ///
    /// As [`Sender::send`].
    pub fn send_blocking<P: Payload>(&self, payload: P) -> Result<(), SendError<P>> {
        block_on(self.send(payload))
    }

    /// Waits until everything this connection accepted before was handed to the kernel.
    ///
    /// # Errors
    ///
    /// The connection's end, when it came first.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing; what was accepted still leaves.
    pub async fn flush(&self) -> Result<(), CloseReason> {
        let mark = self.request_flush();
        let mut waiter = self.waiter();
        poll_fn(|cx| waiter.poll_flushed(mark, cx)).await
    }

    /// Waits until the connection is over; after [`Sender::close`], until the lingering close has finished.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn closed(&self) -> CloseReason {
        let mut waiter = self.waiter();
        poll_fn(|cx| waiter.poll_closed(cx)).await
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

/// Wakers to be woken once the lock is released.
pub(crate) type Woken = SmallVec<[Waker; 4]>;

impl Waiters {
    /// Takes out the wakers of those who wait for `interest`.
    #[must_use = "they are to be woken"]
    pub(crate) fn take(&mut self, interest: Interest) -> Woken {
        let waiting = self.0.iter_mut().filter(|(_, waiting)| waiting.interest == interest);
        waiting.filter_map(|(_, waiting)| waiting.waker.take()).collect()
    }

    /// Takes out every waker.
    #[must_use = "they are to be woken"]
    pub(crate) fn take_all(&mut self) -> Woken {
        self.0.iter_mut().filter_map(|(_, waiting)| waiting.waker.take()).collect()
    }
}
