//! Received messages of whichever connection is up, until a task takes them.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use qwormhole_proto::{CloseReason, Context as ConnContext, Handler, Message, Sender};

use crate::inbox::InboxLimits;

/// A queue that outlives connections, and keeps its bound over all of them: while it is full no connection
/// reads.
#[derive(Debug)]
pub(crate) struct LinkInbox {
    limits: InboxLimits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Bytes>,
    cost: usize,
    /// The connection that stopped reading because the queue was full.
    paused: Option<Sender>,
    /// Nobody reads any more; what arrives is dropped.
    abandoned: bool,
    ended: bool,
    waker: Option<Waker>,
}

impl LinkInbox {
    pub(crate) fn new(limits: InboxLimits) -> Arc<Self> {
        Arc::new(Self { limits, state: Mutex::default() })
    }

    /// The handler of one connection.
    pub(crate) fn filler(self: &Arc<Self>) -> Filler {
        Filler { inbox: self.clone(), batch: VecDeque::new(), batch_cost: 0, unread_seen: 0 }
    }

    /// The next message; `None` once the link ended and everything before was taken.
    pub(crate) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut state = self.lock();
        let Some(message) = state.queue.pop_front() else {
            if state.ended {
                return Poll::Ready(None);
            }
            // A link that had one burst does not keep room for another.
            state.queue = VecDeque::new();
            let replaced = state.waker.replace(cx.waker().clone());
            drop(state);
            drop(replaced);
            return Poll::Pending;
        };
        state.cost -= self.cost(message.len());
        let resume = if state.cost <= self.limits.bytes_max / 2 { state.paused.take() } else { None };
        drop(state);
        resume.iter().for_each(Sender::resume);
        Poll::Ready(Some(message))
    }

    /// No connection will fill it any more.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Nobody reads any more.
    pub(crate) fn abandon(&self) {
        let mut state = self.lock();
        state.abandoned = true;
        state.cost = 0;
        let unwanted = (mem::take(&mut state.queue), state.waker.take());
        let resume = state.paused.take();
        drop(state);
        drop(unwanted);
        resume.iter().for_each(Sender::resume);
    }

    /// What a message counts for. One number keeps both bounds: `messages_max` of the least cost fill the
    /// queue.
    fn cost(&self, len: usize) -> usize {
        len.max(self.limits.bytes_max.div_ceil(self.limits.messages_max))
    }

    /// Held for the length of a move only; nothing is woken meanwhile.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The shard's side for one connection. A batch of messages is handed over with one lock and one wake-up.
#[derive(Debug)]
pub(crate) struct Filler {
    inbox: Arc<LinkInbox>,
    batch: VecDeque<Bytes>,
    batch_cost: usize,
    /// Upper bound of what the reader has not taken, as of the last hand-over.
    unread_seen: usize,
}

impl Filler {
    /// Moves the batch to the reader, and stops reading when the queue is full.
    fn hand_over(&mut self, conn: &mut ConnContext<'_>) {
        let mut state = self.inbox.lock();
        if state.abandoned {
            self.batch.clear();
            self.batch_cost = 0;
            return;
        }
        state.cost += mem::take(&mut self.batch_cost);
        self.unread_seen = state.cost;
        state.queue.append(&mut self.batch);
        let full = state.cost >= self.inbox.limits.bytes_max;
        if full {
            // Whoever makes room asks the shard to resume, which happens after this call at the earliest.
            state.paused = Some(conn.sender());
        }
        let waker = if state.queue.is_empty() { None } else { state.waker.take() };
        drop(state);
        if full {
            conn.pause();
        }
        waker.into_iter().for_each(Waker::wake);
    }
}

impl Handler for Filler {
    fn on_open(&mut self, conn: &mut ConnContext<'_>) {
        // What an earlier connection left may fill the queue already.
        self.hand_over(conn);
    }

    fn on_message(&mut self, conn: &mut ConnContext<'_>, message: Message<'_>) {
        self.batch_cost += self.inbox.cost(message.len());
        self.batch.push_back(conn.lease(message));
        if self.unread_seen + self.batch_cost >= self.inbox.limits.bytes_max {
            self.hand_over(conn);
        }
    }

    fn on_batch_end(&mut self, conn: &mut ConnContext<'_>) {
        if !self.batch.is_empty() {
            self.hand_over(conn);
        }
    }

    fn on_close(&mut self, conn: &mut ConnContext<'_>, _reason: &CloseReason) {
        self.hand_over(conn);
    }
}
