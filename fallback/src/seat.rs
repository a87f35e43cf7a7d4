//! The place a connection occupies.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

use qwormhole_proto::{Admission, Broadcast, ConnId, Lookup};

use crate::shard::Shard;
use crate::slots::Signals;

/// A connection's place in its shard, and in the listener that admitted it; dropping it frees both.
pub(crate) struct Seat {
    shard: Rc<Shard>,
    id: ConnId,
    _admission: Option<Admission>,
}

impl Seat {
    /// Takes a place; `None` when the shard is full.
    pub(crate) fn take(shard: &Rc<Shard>, admission: Option<Admission>) -> Option<Self> {
        let (slot, generation) = shard.slots.borrow_mut().take()?;
        let id = ConnId::new(shard.index, slot, generation);
        Some(Self { shard: shard.clone(), id, _admission: admission })
    }

    pub(crate) const fn id(&self) -> ConnId {
        self.id
    }

    pub(crate) const fn shard(&self) -> &Rc<Shard> {
        &self.shard
    }

    /// Takes what the task is to be told; what comes later wakes `waker`.
    pub(crate) fn signals(&self, waker: &Waker) -> Signals {
        self.shard.slots.borrow_mut().listen(self.id.slot(), waker)
    }

    /// From now on the connection is open to broadcasts and lookups.
    pub(crate) fn join(&self) {
        self.shard.slots.borrow_mut().join(self.id.slot());
    }

    /// The next broadcast that came since [`Seat::join`].
    pub(crate) fn next_broadcast(&self) -> Option<Arc<Broadcast>> {
        self.shard.slots.borrow_mut().next_broadcast(self.id.slot())
    }

    /// Takes the lookups that ask for the connection.
    pub(crate) fn take_lookups(&self) -> Vec<Lookup> {
        self.shard.slots.borrow_mut().take_lookups(self.id.slot())
    }

    /// Waits until the shard shuts down. Cancel safe.
    pub(crate) async fn told_to_end(&self) {
        poll_fn(|cx| {
            let signals = self.signals(cx.waker());
            if signals.close || signals.abort { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let forgotten = self.shard.slots.borrow_mut().give(self.id.slot());
        // Dropped while nothing is borrowed: it may wake a task.
        drop(forgotten);
        self.shard.note_seat_given();
    }
}
