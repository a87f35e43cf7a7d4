//! What the handles, the shard and the housekeeping thread share about one link.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use qwormhole_proto::{CloseReason, ConnId, Payload, Priority, SendError, SendErrorKind, Sender};
use slab::Slab;

use crate::link::event::{EventQueue, LinkError, LinkEvent};
use crate::link::pending::{Drained, Pending};

/// The bounds of one link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) pending_bytes_max: usize,
    pub(crate) events_max: usize,
    pub(crate) max_send_frame_len: u32,
    pub(crate) require_connected: bool,
}

/// The state of one link. Order is kept by one rule under one lock: a message goes to the connection only when
/// nothing is queued, and otherwise behind what is queued.
///
/// Lock order: this one, then a connection's. Nobody is woken while it is held.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) bounds: Bounds,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(crate) struct State {
    up: Option<Up>,
    pending: Pending,
    events: EventQueue,
    /// How the last connection ended, until the one who redials takes it.
    over: Option<Over>,
    /// A connection ended with messages that may not have left; the next flush says so.
    lost: Option<CloseReason>,
    /// The owner asked for the end: no more attempts, no more messages.
    closing: bool,
    /// Nothing will happen any more, and why.
    ended: Option<LinkError>,
    /// The owner is gone: nobody asks for what was not sent.
    orphaned: bool,
    places: Slab<Option<Waker>>,
}

/// The connection at hand.
#[derive(Debug)]
struct Up {
    sender: Sender,
    /// Messages it accepted, and how many of them are known to have left.
    taken: u64,
    flushed: u64,
}

/// How a connection ended.
#[derive(Clone, Debug)]
pub(crate) struct Over {
    pub(crate) reason: CloseReason,
    /// It was of use, so that the next attempt is a first one again.
    pub(crate) useful: bool,
}

impl Shared {
    pub(crate) fn new(bounds: Bounds) -> Arc<Self> {
        let state = State {
            up: None,
            pending: Pending::default(),
            events: EventQueue::new(bounds.events_max),
            over: None,
            lost: None,
            closing: false,
            ended: None,
            orphaned: false,
            places: Slab::new(),
        };
        Arc::new(Self { bounds, state: Mutex::new(state) })
    }

    /// Hands the message to the connection, or queues it.
    pub(crate) fn try_send<P: Payload>(
        &self,
        priority: Priority,
        mut payload: P,
    ) -> Result<(), SendError<P>> {
        let (len, limit) = (payload.as_bytes().len(), self.bounds.max_send_frame_len);
        if u32::try_from(len).is_ok_and(|len| len <= limit) {
            let mut state = self.lock();
            if let Some(kind) = state.refusal() {
                return Err(SendError { kind, payload });
            }
            if state.pending.is_empty()
                && let Some(up) = &mut state.up
            {
                payload = match up.sender.try_send_with(priority, payload) {
                    Ok(()) => {
                        up.taken += 1;
                        return Ok(());
                    }
                    // It is ending, which is as good as ended.
                    Err(refused) if matches!(refused.kind, SendErrorKind::Closed(_)) => refused.payload,
                    refused => return refused,
                };
            }
            if self.bounds.require_connected {
                return Err(SendError { kind: SendErrorKind::NotConnected, payload });
            }
            if !state.pending.has_room(len, self.bounds.pending_bytes_max) {
                return Err(SendError { kind: SendErrorKind::Full, payload });
            }
            state.pending.push(priority, payload);
            return Ok(());
        }
        Err(SendError { kind: SendErrorKind::TooLarge { len, limit }, payload })
    }

    /// Waits until a message of `len` bytes may have room, or can only fail for good.
    pub(crate) async fn ready(self: &Arc<Self>, len: usize) {
        let bytes_max = self.bounds.pending_bytes_max;
        let direct = self.wait(|state| {
            if state.refusal().is_some() {
                return Some(None);
            }
            match &state.up {
                Some(up) if state.pending.is_empty() => Some(Some(up.sender.clone())),
                _ => state.pending.has_room(len, bytes_max).then_some(None),
            }
        });
        if let Some(sender) = direct.await {
            room(&sender, len).await;
        }
    }

    /// A connection is open: from now on messages go to it, behind those that were queued. False when the link
    /// is closing, so that nobody wants it.
    pub(crate) fn opened(&self, sender: Sender) -> bool {
        let mut state = self.lock();
        if state.closing {
            return false;
        }
        let id = sender.id();
        state.up = Some(Up { sender, taken: 0, flushed: 0 });
        state.over = None;
        state.events.push(LinkEvent::Connected { id });
        state.drain();
        wake(state);
        true
    }

    /// The open connection is over.
    pub(crate) fn closed(&self, reason: CloseReason, useful: bool) {
        let mut state = self.lock();
        if let Some(up) = state.up.take() {
            if up.taken > up.flushed {
                state.lost = Some(reason.clone());
            }
            state.events.push(LinkEvent::Disconnected { reason: reason.clone() });
            state.over = Some(Over { reason, useful });
        }
        wake(state);
    }

    fn drain(&self) -> Drained {
        let mut state = self.lock();
        let drained = state.drain();
        wake(state);
        drained
    }

    pub(crate) fn tell(&self, event: LinkEvent) {
        let mut state = self.lock();
        state.events.push(event);
        wake(state);
    }

    /// Begins the end; `orphaned` when the owner is gone.
    pub(crate) fn close(&self, orphaned: bool) {
        let mut state = self.lock();
        state.closing = true;
        state.orphaned |= orphaned;
        wake(state);
    }

    /// Nothing will happen any more; the first reason stands.
    pub(crate) fn end(&self, why: LinkError) {
        let mut state = self.lock();
        if state.ended.is_some() {
            return;
        }
        if !matches!(why, LinkError::Closed) {
            state.events.push(LinkEvent::GaveUp { error: why.clone() });
        }
        state.ended = Some(why);
        let unwanted = if state.orphaned { state.pending.take() } else { Vec::new() };
        wake(state);
        drop(unwanted);
    }

    /// What no connection took, in order; the owner's to keep.
    pub(crate) fn take_unsent(&self) -> Vec<Bytes> {
        self.lock().pending.take()
    }

    /// Waits until `ready` finds what it looks for. It runs under the lock and must not block.
    pub(crate) async fn wait<T>(self: &Arc<Self>, mut ready: impl FnMut(&mut State) -> Option<T>) -> T {
        let mut place = Place { shared: self.clone(), key: None };
        poll_fn(move |cx| place.poll(cx, &mut ready)).await
    }

    /// As [`Shared::wait`], for code that polls. `place` is kept from one poll to the next.
    pub(crate) fn place(self: &Arc<Self>) -> Place {
        Place { shared: self.clone(), key: None }
    }

    /// Waits until everything accepted before has left; see [`LinkSender::flush`](crate::LinkSender::flush).
    pub(crate) async fn flush(self: &Arc<Self>) -> Result<(), SendErrorKind> {
        let mark = self.lock().pending.mark();
        let found = self.wait(|state| {
            if let Some(reason) = state.lost.take() {
                return Some(Err(SendErrorKind::Closed(reason)));
            }
            let passed = state.pending.has_passed(mark);
            match &state.up {
                Some(up) if passed => Some(Ok(Some((up.sender.clone(), up.taken)))),
                None if passed => Some(Ok(None)),
                _ => state.ended.is_some().then_some(Err(SendErrorKind::NotConnected)),
            }
        });
        let Some((sender, taken)) = found.await? else { return Ok(()) };
        let flushed = sender.flush().await;
        let mut state = self.lock();
        let told = if flushed.is_ok() { taken } else { u64::MAX };
        match state.up.as_mut().filter(|up| up.sender.id() == sender.id()) {
            Some(up) => up.flushed = up.flushed.max(told),
            // This flush tells of the loss, so that the next one need not.
            None if flushed.is_err() => state.lost = None,
            None => {}
        }
        flushed.map_err(SendErrorKind::Closed)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Why nothing is accepted any more.
    fn refusal(&self) -> Option<SendErrorKind> {
        match &self.ended {
            _ if self.closing => Some(SendErrorKind::Closed(CloseReason::Local)),
            Some(_) => Some(SendErrorKind::NotConnected),
            None => None,
        }
    }

    /// Moves what is queued to the connection, if there is one.
    fn drain(&mut self) -> Drained {
        let Some(up) = &mut self.up else { return Drained::Ending };
        let (taken, drained) = self.pending.drain_into(&up.sender);
        up.taken += taken;
        drained
    }

    /// The connection that has queued messages to take.
    pub(crate) fn drain_target(&self) -> Option<Sender> {
        let up = self.up.as_ref().filter(|_| !self.pending.is_empty());
        up.map(|up| up.sender.clone())
    }

    pub(crate) fn is_drained(&self) -> bool {
        self.pending.is_empty()
    }

    pub(crate) fn sender(&self) -> Option<Sender> {
        self.up.as_ref().map(|up| up.sender.clone())
    }

    pub(crate) fn id(&self) -> Option<ConnId> {
        self.up.as_ref().map(|up| up.sender.id())
    }

    pub(crate) const fn is_closing(&self) -> bool {
        self.closing
    }

    pub(crate) const fn ended(&self) -> Option<&LinkError> {
        self.ended.as_ref()
    }

    pub(crate) fn take_over(&mut self) -> Option<Over> {
        self.over.take()
    }

    /// The next event; `Some(None)` when none will come any more.
    pub(crate) fn next_event(&mut self) -> Option<Option<LinkEvent>> {
        match self.events.pop() {
            Some(event) => Some(Some(event)),
            None => self.ended.is_some().then_some(None),
        }
    }

    pub(crate) const fn events_dropped(&self) -> u64 {
        self.events.dropped()
    }
}

/// One task's place among those that wait for a link; dropping it forgets the task, so the memory is bounded by
/// the tasks that wait.
#[derive(Debug)]
pub(crate) struct Place {
    shared: Arc<Shared>,
    key: Option<usize>,
}

impl Place {
    pub(crate) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        ready: &mut impl FnMut(&mut State) -> Option<T>,
    ) -> Poll<T> {
        let mut state = self.shared.lock();
        if let Some(found) = ready(&mut state) {
            return Poll::Ready(found);
        }
        let waker = Some(cx.waker().clone());
        let replaced = match self.key.and_then(|key| state.places.get_mut(key)) {
            Some(place) => std::mem::replace(place, waker),
            None => {
                self.key = Some(state.places.insert(waker));
                None
            }
        };
        drop(state);
        drop(replaced);
        Poll::Pending
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let mut state = self.shared.lock();
            let forgotten = state.places.try_remove(key);
            drop(state);
            drop(forgotten);
        }
    }
}

/// Moves what is queued to whichever connection is up, for as long as it is polled.
pub(crate) async fn keep_draining(shared: &Arc<Shared>) {
    loop {
        let sender = shared.wait(|state| state.drain_target()).await;
        match shared.drain() {
            Drained::All => {}
            Drained::Full(len) => room(&sender, len).await,
            Drained::Ending => {
                shared.wait(|state| (state.id() != Some(sender.id())).then_some(())).await;
            }
        }
    }
}

/// Waits until a connection has room for `len` bytes or is ending.
async fn room(sender: &Sender, len: usize) {
    let mut waiter = sender.waiter();
    poll_fn(|cx| waiter.poll_ready(len, cx)).await;
}

/// Everybody looks again; what happens to a link is rare.
fn wake(mut state: MutexGuard<'_, State>) {
    let woken: Vec<Waker> = state.places.iter_mut().filter_map(|(_, place)| place.take()).collect();
    drop(state);
    woken.into_iter().for_each(Waker::wake);
}
