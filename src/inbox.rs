//! The handler behind an async handle: messages wait here, within bounds, until a task takes them.

use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use qwormhole_proto::{CloseReason, ConfigError, Context as ConnContext, Handler, Message, Sender};

use crate::connection::Connection;

/// How much may wait for a reading task before the peer is slowed down.
///
/// Worst-case memory: `bytes_max` plus one message; short messages are kept in shared pieces of up to 64 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InboxLimits {
    /// Payload bytes. Default 1 MiB.
    pub bytes_max: usize,
    /// Messages; each counts for at least its share of the bytes. Default 1,024.
    pub messages_max: usize,
}

impl InboxLimits {
    /// Checks the bounds.
    ///
    /// # Errors
    ///
    /// Names the option at fault and what would be accepted.
    pub const fn validate(&self) -> Result<(), ConfigError> {
        if self.bytes_max == 0 {
            return Err(ConfigError { option: "bytes_max", fix: "must be at least 1 byte" });
        }
        if self.messages_max == 0 {
            return Err(ConfigError { option: "messages_max", fix: "must be at least 1 message" });
        }
        Ok(())
    }

    /// What a message counts for. One number keeps both bounds: `messages_max` of the least cost fill the
    /// inbox.
    fn cost(&self, len: usize) -> usize {
        len.max(self.bytes_max.div_ceil(self.messages_max))
    }
}

impl Default for InboxLimits {
    fn default() -> Self {
        Self { bytes_max: 1 << 20, messages_max: 1024 }
    }
}

/// The shard's side. A batch of messages is handed over with one lock and one wake-up.
pub(crate) struct Inbox {
    shared: Arc<Shared>,
    batch: VecDeque<Bytes>,
    batch_cost: usize,
    /// Upper bound of what the reader has not taken, as of the last hand-over.
    unread_seen: usize,
    arrive: Option<Arrive>,
}

/// Receives the connection when it is open, on the shard's thread.
pub(crate) type Arrive = Box<dyn FnOnce(Connection) + Send>;

/// The task's side.
pub(crate) struct Reader {
    shared: Arc<Shared>,
    /// Taken from the shared queue in one go.
    taken: VecDeque<Bytes>,
    sender: Sender,
}

/// What both sides see. Lock order: nothing else is locked while `state` is, and nobody is woken.
struct Shared {
    limits: InboxLimits,
    /// Cost of everything handed over and not yet returned by the reader.
    unread: AtomicUsize,
    /// The shard stopped reading because the inbox is full; whoever clears it resumes.
    paused: AtomicBool,
    /// Nobody reads any more.
    abandoned: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Bytes>,
    closed: Option<CloseReason>,
    waker: Option<Waker>,
}

impl Inbox {
    pub(crate) fn new(limits: InboxLimits, arrive: Arrive) -> Self {
        let shared = Shared {
            limits,
            unread: AtomicUsize::new(0),
            paused: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            state: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
            batch: VecDeque::new(),
            batch_cost: 0,
            unread_seen: 0,
            arrive: Some(arrive),
        }
    }

    /// Moves the batch to the reader and looks at what it has taken meanwhile. Returns whether the inbox is
    /// full.
    fn hand_over(&mut self) -> bool {
        let shared = &*self.shared;
        self.unread_seen = shared.unread.fetch_add(self.batch_cost, Ordering::SeqCst) + self.batch_cost;
        self.batch_cost = 0;
        if !self.batch.is_empty() {
            let mut state = shared.lock();
            if state.queue.is_empty() {
                mem::swap(&mut state.queue, &mut self.batch);
            } else {
                state.queue.append(&mut self.batch);
            }
            let waker = state.waker.take();
            drop(state);
            waker.into_iter().for_each(Waker::wake);
            shrink(&mut self.batch);
        }
        self.unread_seen >= shared.limits.bytes_max
    }
}

impl Handler for Inbox {
    fn on_open(&mut self, conn: &mut ConnContext<'_>) {
        if let Some(arrive) = self.arrive.take() {
            let sender = conn.sender();
            let reader =
                Reader { shared: self.shared.clone(), taken: VecDeque::new(), sender: sender.clone() };
            arrive(Connection::new(sender, conn.peer().clone(), reader));
        }
    }

    fn on_message(&mut self, conn: &mut ConnContext<'_>, message: Message<'_>) {
        if self.shared.abandoned.load(Ordering::SeqCst) {
            return;
        }
        let limits = &self.shared.limits;
        self.batch_cost += limits.cost(message.len());
        let full = self.unread_seen + self.batch_cost >= limits.bytes_max;
        self.batch.push_back(conn.lease(message));
        if full && self.hand_over() {
            conn.pause();
            self.shared.paused.store(true, Ordering::SeqCst);
            // The reader may have emptied the inbox before it could see the flag.
            if self.shared.claim_resume() {
                conn.resume();
            }
        }
    }

    fn on_batch_end(&mut self, _conn: &mut ConnContext<'_>) {
        self.hand_over();
    }

    /// The reader sees the end; the connection stays until both halves are gone or close it.
    fn on_peer_end(&mut self, _conn: &mut ConnContext<'_>) {
        self.hand_over();
        self.shared.end(CloseReason::PeerClosed);
    }

    fn on_close(&mut self, _conn: &mut ConnContext<'_>, reason: &CloseReason) {
        self.hand_over();
        self.shared.end(reason.clone());
    }
}

/// A handler that panicked is dropped without `on_close`.
impl Drop for Inbox {
    fn drop(&mut self) {
        self.shared.end(CloseReason::HandlerPanicked);
    }
}

impl Reader {
    /// The next message; the connection's end once everything before it was taken.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, CloseReason>> {
        if let Some(message) = self.taken.pop_front() {
            return Poll::Ready(Ok(self.account(message)));
        }
        let mut state = self.shared.lock();
        mem::swap(&mut state.queue, &mut self.taken);
        if let Some(message) = self.taken.pop_front() {
            drop(state);
            return Poll::Ready(Ok(self.account(message)));
        }
        if let Some(reason) = &state.closed {
            return Poll::Ready(Err(reason.clone()));
        }
        if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        shrink(&mut state.queue);
        shrink(&mut self.taken);
        Poll::Pending
    }

    /// A message leaves the inbox; reading goes on when it is half empty.
    fn account(&self, message: Bytes) -> Bytes {
        self.shared.unread.fetch_sub(self.shared.limits.cost(message.len()), Ordering::SeqCst);
        if self.shared.claim_resume() {
            self.sender.resume();
        }
        message
    }
}

/// What arrives from now on is dropped, so that the peer is not held up by messages that nobody wants.
impl Drop for Reader {
    fn drop(&mut self) {
        self.shared.abandoned.store(true, Ordering::SeqCst);
        let mut state = self.shared.lock();
        let unwanted = (mem::take(&mut state.queue), state.waker.take());
        drop(state);
        drop(unwanted);
        if self.shared.claim_resume() {
            self.sender.resume();
        }
    }
}

impl Shared {
    /// True for exactly one caller per pause, when the inbox is at most half full or nobody reads any more.
    fn claim_resume(&self) -> bool {
        let has_room = || {
            self.unread.load(Ordering::SeqCst) <= self.limits.bytes_max / 2
                || self.abandoned.load(Ordering::SeqCst)
        };
        self.paused.load(Ordering::SeqCst) && has_room() && self.paused.swap(false, Ordering::SeqCst)
    }

    /// The first reason stands.
    fn end(&self, reason: CloseReason) {
        let mut state = self.lock();
        state.closed.get_or_insert(reason);
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Held for the length of a move only.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("id", &self.sender.id()).finish_non_exhaustive()
    }
}

/// A connection that had one burst does not keep room for another.
fn shrink(queue: &mut VecDeque<Bytes>) {
    if queue.is_empty() && queue.capacity() > IDLE_CAPACITY_MAX {
        *queue = VecDeque::new();
    }
}

/// 2 KiB of handles.
const IDLE_CAPACITY_MAX: usize = 64;

#[cfg(test)]
#[path = "inbox_tests.rs"]
mod tests;
