//! What will happen, in the order of virtual time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use qwormhole_proto::Time;

use crate::host::HostId;

/// One end of a simulated connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub(crate) u32);

impl PeerId {
    /// The other end of the same connection.
    pub const fn other(self) -> Self {
        Self(self.0 ^ 1)
    }

    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    /// The connection's transport is established.
    Establish(PeerId),
    /// The kernel of this end puts its next segment under way.
    Depart(PeerId),
    /// The oldest segment under way from this end reaches the other.
    Arrive(PeerId),
    /// A reset sent by this end reaches the other.
    ResetArrives(PeerId),
    /// A receive of this end completes.
    Read(PeerId),
    /// A send of this end completes.
    Sent(PeerId),
    /// The shard looks at a connection that another thread posted.
    Remote(PeerId),
    /// The timer wheel of a host asked to be looked at.
    Tick(HostId),
    /// An action of the scenario.
    Script(usize),
}

/// Events by time; those of the same time in the order in which they were scheduled.
#[derive(Debug, Default)]
pub(crate) struct EventQueue {
    heap: BinaryHeap<Reverse<(Time, u64, Event)>>,
    scheduled: u64,
}

impl EventQueue {
    pub(crate) fn push(&mut self, at: Time, event: Event) {
        self.scheduled += 1;
        self.heap.push(Reverse((at, self.scheduled, event)));
    }

    pub(crate) fn next_at(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse((at, _, _))| *at)
    }

    pub(crate) fn pop(&mut self) -> Option<(Time, Event)> {
        self.heap.pop().map(|Reverse((at, _, event))| (at, event))
    }
}
