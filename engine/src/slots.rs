//! The connections of a shard, by slot and generation.

use std::sync::Arc;

use qwormhole_proto::{Admission, ConnId, ConnectRace, Dial, Session, Time};

use crate::ring::{OpId, Ring};

/// A table of connections. A slot is free again only when the kernel has confirmed the end of every operation
/// of its connection; its generation then moves on, so nothing late can reach the next one.
pub(crate) struct Slots<R: Ring, H> {
    slots: Vec<Slot<R, H>>,
    free: Vec<u32>,
    slots_max: u32,
    shard: u8,
    used: usize,
}

struct Slot<R: Ring, H> {
    generation: u32,
    state: State<R, H>,
}

/// What a slot holds.
pub(crate) enum State<R: Ring, H> {
    /// Nothing.
    Free,
    /// A connection being made.
    Dialing(Box<Dialing<R, H>>),
    /// An established connection.
    Open(Box<Open<R, H>>),
    /// A connection that is over; operations are still in flight.
    Ending(Ending),
}

/// A connection being made.
pub(crate) struct Dialing<R: Ring, H> {
    pub(crate) dial: Dial<H, R::Addr, R::Socket>,
    pub(crate) race: ConnectRace<R::Addr>,
    /// Attempts by number; `None` when that attempt has ended.
    pub(crate) attempts: Vec<Option<Attempt<R>>>,
    pub(crate) deadline: Option<Time>,
    pub(crate) last_error: Option<std::io::Error>,
}

/// One attempt of a race.
pub(crate) struct Attempt<R: Ring> {
    pub(crate) op: OpId,
    pub(crate) socket: Arc<R::Socket>,
}

/// An established connection.
pub(crate) struct Open<R: Ring, H> {
    pub(crate) session: Session<H>,
    pub(crate) socket: Arc<R::Socket>,
    pub(crate) recv: Option<OpId>,
    /// The receive was told to end and has not yet.
    pub(crate) recv_cancelled: bool,
    /// The receive ended for lack of buffers and waits in the shard's list.
    pub(crate) starved: bool,
    pub(crate) send: Option<OpId>,
    /// Connection attempts that lost the race and have not ended.
    pub(crate) losers: u32,
    /// In the shard's list of connections to look at in this turn.
    pub(crate) dirty: bool,
    /// What the timer wheel holds for this slot.
    pub(crate) timer: Option<Time>,
    /// The place at the listener's admission; freed with the connection.
    pub(crate) _admission: Option<Admission>,
}

/// Operations whose end the kernel has not confirmed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) recv: bool,
    pub(crate) send: bool,
    pub(crate) connects: u32,
}

impl Ending {
    pub(crate) fn is_over(self) -> bool {
        self == Self::default()
    }
}

impl<R: Ring, H> Slots<R, H> {
    pub(crate) fn new(shard: u8, slots_max: u32) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            slots_max: slots_max.min(ConnId::SLOTS_MAX),
            shard,
            used: 0,
        }
    }

    /// Reserves a slot; `None` when all are used. Fill it with [`Slots::put`].
    pub(crate) fn reserve(&mut self) -> Option<ConnId> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if (self.slots.len() as u32) < self.slots_max => {
                self.slots.push(Slot { generation: 0, state: State::Free });
                self.slots.len() as u32 - 1
            }
            None => return None,
        };
        self.used += 1;
        Some(ConnId::new(self.shard, slot, self.slots[slot as usize].generation))
    }

    /// Replaces what the slot of `id` holds and returns what it held.
    pub(crate) fn put(&mut self, id: ConnId, state: State<R, H>) -> State<R, H> {
        let slot = &mut self.slots[id.slot() as usize];
        debug_assert_eq!(slot.generation, id.generation(), "a slot is filled by its owner only");
        std::mem::replace(&mut slot.state, state)
    }

    /// What the slot of `id` holds; [`State::Free`]'s stand-in `None` when the id is stale.
    pub(crate) fn get(&mut self, id: ConnId) -> Option<&mut State<R, H>> {
        let slot = self.slots.get_mut(id.slot() as usize)?;
        (slot.generation == id.generation()).then_some(&mut slot.state)
    }

    /// The established connection `id`, if it is one.
    pub(crate) fn open(&mut self, id: ConnId) -> Option<&mut Open<R, H>> {
        match self.get(id)? {
            State::Open(open) => Some(open),
            _ => None,
        }
    }

    /// The present id of a slot by number.
    pub(crate) fn id_of(&self, slot: u32) -> Option<ConnId> {
        let generation = self.slots.get(slot as usize)?.generation;
        Some(ConnId::new(self.shard, slot, generation))
    }

    /// Frees the slot of `id`: from now on the id is stale.
    pub(crate) fn release(&mut self, id: ConnId) {
        let slot = &mut self.slots[id.slot() as usize];
        slot.generation = slot.generation.wrapping_add(1);
        slot.state = State::Free;
        self.free.push(id.slot());
        self.used -= 1;
    }

    /// Ids of all slots that hold something.
    pub(crate) fn ids(&self) -> Vec<ConnId> {
        let held = self.slots.iter().enumerate().filter(|(_, slot)| !matches!(slot.state, State::Free));
        held.map(|(index, slot)| ConnId::new(self.shard, index as u32, slot.generation)).collect()
    }

    /// How many slots there are, used or not.
    pub(crate) fn len(&self) -> u32 {
        self.slots.len() as u32
    }

    /// How many slots are used.
    pub(crate) fn used(&self) -> usize {
        self.used
    }
}
