//! Simulated shards and their listeners.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use qwormhole_proto::{Config, ConnId, Endpoint, Handler, PeerInfo, Port, ShardLocal, Time, TimerWheel};

/// One shard of the simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub(crate) u8);

impl HostId {
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One listener of the simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerId(pub(crate) usize);

pub(crate) struct Host {
    pub(crate) local: ShardLocal,
    pub(crate) wheel: TimerWheel,
    /// When the next [`Event::Tick`](crate::event::Event::Tick) is scheduled.
    pub(crate) tick_at: Option<Time>,
}

impl Host {
    pub(crate) fn new(mailbox: Arc<Mailbox>) -> Self {
        let mut local = ShardLocal::new(Box::new(()), mailbox);
        local.unix_ms_at_zero = UNIX_MS_AT_ZERO;
        Self { local, wheel: TimerWheel::new(Time::ZERO), tick_at: None }
    }
}

/// Connections that were posted and not yet looked at; shared by all hosts, because an id names its shard.
#[derive(Debug, Default)]
pub(crate) struct Mailbox(Mutex<Vec<ConnId>>);

impl Mailbox {
    pub(crate) fn take(&self) -> Vec<ConnId> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Port for Mailbox {
    fn post(&self, id: ConnId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(id);
    }
}

pub(crate) struct Listener {
    pub(crate) host: HostId,
    pub(crate) endpoint: Endpoint,
    pub(crate) config: Arc<Config>,
    pub(crate) accept: Accept,
}

/// The wall clock of every simulation begins on 14 November 2023, 22:13:20 UTC.
const UNIX_MS_AT_ZERO: u64 = 1_700_000_000_000;

/// Makes the handler of an accepted connection.
type Accept = Rc<RefCell<dyn FnMut(&PeerInfo) -> Box<dyn Handler>>>;
