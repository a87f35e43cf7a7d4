//! The places of one shard's connections.

use std::sync::Arc;
use std::task::Waker;

use qwormhole_proto::{Broadcast, ConnId, Lookup};

use crate::broadcasts::Broadcasts;

/// Places with a generation each, and what their tasks are to be told. Bounded by `max`; memory grows with
/// the most connections open at once.
#[derive(Debug)]
pub(crate) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
    max: u32,
    broadcasts: Broadcasts,
}

/// What a task finds when it is woken for another reason than its socket or its timer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Signals {
    /// Another thread posted the connection.
    pub(crate) remote: bool,
    /// The server asks something of its connections.
    pub(crate) asked: bool,
    /// The shard shuts down: close gracefully, give a connection attempt up.
    pub(crate) close: bool,
    /// End at once.
    pub(crate) abort: bool,
}

#[derive(Debug, Default)]
struct Slot {
    /// How often the place was given back, modulo 2³².
    generation: u32,
    taken: bool,
    signals: Signals,
    /// Where the connection is in the list of broadcasts, once it is open.
    reader: Option<u64>,
    lookups: Vec<Lookup>,
    /// The task to wake; `None` until it first looked at its signals.
    waker: Option<Waker>,
}

impl Slots {
    pub(crate) const fn new(max: u32) -> Self {
        Self { slots: Vec::new(), free: Vec::new(), max, broadcasts: Broadcasts::new() }
    }

    /// Takes a place: its slot and generation. `None` when all are taken.
    pub(crate) fn take(&mut self) -> Option<(u32, u32)> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.slots.len() < self.max as usize => {
                self.slots.push(Slot::default());
                self.slots.len() as u32 - 1
            }
            None => return None,
        };
        let place = &mut self.slots[slot as usize];
        assert!(!place.taken, "a free place is not taken");
        place.taken = true;
        Some((slot, place.generation))
    }

    /// Gives a place back. Signals on their way to it are forgotten; lookups go to the caller, to be dropped.
    pub(crate) fn give(&mut self, slot: u32) -> Vec<Lookup> {
        let place = &mut self.slots[slot as usize];
        assert!(place.taken, "a place is given back once");
        let generation = place.generation.wrapping_add(1);
        let given = std::mem::replace(place, Slot { generation, ..Slot::default() });
        self.free.push(slot);
        if let Some(reader) = given.reader {
            self.broadcasts.leave(reader);
        }
        given.lookups
    }

    /// Opens a place to broadcasts and lookups.
    pub(crate) fn join(&mut self, slot: u32) {
        self.slots[slot as usize].reader = Some(self.broadcasts.join());
    }

    /// Passes a broadcast to every open place.
    pub(crate) fn broadcast(&mut self, broadcast: Arc<Broadcast>) {
        self.broadcasts.push(broadcast);
        self.signal_all(|signals| signals.asked = true);
    }

    /// The next broadcast that `slot` has not seen.
    pub(crate) fn next_broadcast(&mut self, slot: u32) -> Option<Arc<Broadcast>> {
        let reader = self.slots[slot as usize].reader.as_mut()?;
        self.broadcasts.next(reader)
    }

    /// Passes a lookup to its connection; gives it back if that is not open.
    pub(crate) fn look_up(&mut self, lookup: Lookup) -> Option<Lookup> {
        let id: ConnId = lookup.id();
        let place = self.slots.get_mut(id.slot() as usize);
        match place.filter(|place| place.reader.is_some() && place.generation == id.generation()) {
            Some(place) => place.lookups.push(lookup),
            None => return Some(lookup),
        }
        self.signal(id.slot(), |signals| signals.asked = true);
        None
    }

    /// Takes the lookups of `slot`.
    pub(crate) fn take_lookups(&mut self, slot: u32) -> Vec<Lookup> {
        std::mem::take(&mut self.slots[slot as usize].lookups)
    }

    /// How many places are taken.
    pub(crate) const fn taken(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Takes a place's signals; later ones wake `waker`.
    pub(crate) fn listen(&mut self, slot: u32, waker: &Waker) -> Signals {
        let place = &mut self.slots[slot as usize];
        match &mut place.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        std::mem::take(&mut place.signals)
    }

    /// Tells the task at `slot`, whoever it is now; nobody if the place is free.
    pub(crate) fn signal(&mut self, slot: u32, signal: impl FnOnce(&mut Signals)) {
        if let Some(place) = self.slots.get_mut(slot as usize).filter(|place| place.taken) {
            signal(&mut place.signals);
            place.waker.iter().for_each(Waker::wake_by_ref);
        }
    }

    /// Tells every task.
    pub(crate) fn signal_all(&mut self, signal: impl Fn(&mut Signals)) {
        for slot in 0..self.slots.len() as u32 {
            self.signal(slot, &signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_place_has_another_generation_and_no_old_signals() {
        let mut slots = Slots::new(2);
        assert_eq!((slots.take(), slots.take(), slots.take()), (Some((0, 0)), Some((1, 0)), None));
        slots.signal(1, |signals| signals.remote = true);
        slots.give(1);
        slots.signal(1, |signals| signals.remote = true);
        assert_eq!((slots.taken(), slots.take()), (1, Some((1, 1))));
        assert_eq!(slots.listen(1, Waker::noop()), Signals::default());
        slots.signal_all(|signals| signals.close = true);
        assert_eq!(slots.listen(1, Waker::noop()), Signals { close: true, ..Signals::default() });
        assert_eq!(slots.listen(1, Waker::noop()), Signals::default());
    }

    #[test]
    fn a_signal_for_a_place_that_never_was_reaches_nobody() {
        Slots::new(1).signal(7, |_| panic!("nobody is there"));
    }
}
