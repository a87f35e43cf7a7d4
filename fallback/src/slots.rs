//! The places of one shard's connections.

use std::task::Waker;

/// Places with a generation each, and what their tasks are to be told. Bounded by `max`; memory grows with
/// the most connections open at once.
#[derive(Debug)]
pub(crate) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
    max: u32,
}

/// What a task finds when it is woken for another reason than its socket or its timer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Signals {
    /// Another thread posted the connection.
    pub(crate) remote: bool,
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
    /// The task to wake; `None` until it first looked at its signals.
    waker: Option<Waker>,
}

impl Slots {
    pub(crate) const fn new(max: u32) -> Self {
        Self { slots: Vec::new(), free: Vec::new(), max }
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

    /// Gives a place back. Signals on their way to it are forgotten.
    pub(crate) fn give(&mut self, slot: u32) {
        let place = &mut self.slots[slot as usize];
        assert!(place.taken, "a place is given back once");
        *place = Slot { generation: place.generation.wrapping_add(1), ..Slot::default() };
        self.free.push(slot);
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
