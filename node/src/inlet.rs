//! What arrived for one client or server and was not pulled by JavaScript yet.

use std::collections::VecDeque;
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::hub::Hub;
use crate::lane::Lane;

/// What a record is about. JavaScript has the same numbers (`js/loop.js`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Kind {
    /// A message, or bytes of a stream.
    Data = 0,
    /// A connection is open; its facts as JSON.
    Open = 1,
    /// A connection is over; why, as JSON. The last record of its connection.
    Close = 2,
    /// The peer ended its side.
    PeerEnd = 3,
    /// A mark was reached; its number as text.
    Flushed = 4,
    /// A server listens; where, as JSON.
    Listening = 5,
    /// A server could not listen; why, as text.
    Failed = 6,
    /// A server is over.
    Stopped = 7,
    /// A connection ended before it was open; why, as JSON.
    Rejected = 8,
}

/// One thing, or several messages of one connection, in the order of their arrival.
pub(crate) struct Part {
    pub(crate) lane: Option<Arc<Lane>>,
    pub(crate) content: Content,
    /// What it counts for against the bounds.
    pub(crate) cost: usize,
}

pub(crate) enum Content {
    /// Messages back to back, and where each ends.
    Messages { bytes: Vec<u8>, ends: Vec<u32> },
    /// Bytes of a stream.
    Stream(Vec<u8>),
    /// One long message, or piece of a stream, that shares the memory it was received in.
    Shared { bytes: Bytes, is_stream: bool },
    /// Anything but data.
    Event(Kind, String),
}

/// A queue from shards to one JavaScript environment.
///
/// Bounded: a connection stops being read while `lane_bytes` of it, or `total_bytes` of all, wait here. What shards had
/// received by then still comes in: one receive buffer per connection.
pub(crate) struct Inlet {
    id: u32,
    hub: Arc<Hub>,
    lane_bytes: usize,
    total: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    parts: VecDeque<Part>,
    /// JavaScript has seen the queue empty, or may see it for the first time, and is to be woken.
    armed: bool,
    /// Connections that are not read because too much waits.
    starved: Vec<Arc<Lane>>,
    spare_bytes: Vec<Vec<u8>>,
    spare_ends: Vec<Vec<u32>>,
}

impl Part {
    /// Whether somebody who learns of it may want to hear what comes behind it, and must be given the time to say so.
    /// A client without framing that shook hands counts as connected when its first mark is reached.
    pub(crate) fn is_beginning(&self) -> bool {
        match &self.content {
            Content::Event(Kind::Open | Kind::Listening, _) => true,
            Content::Event(Kind::Flushed, mark) => mark == FIRST_MARK,
            _ => false,
        }
    }
}

impl Inlet {
    /// Of a client.
    pub(crate) fn new(hub: &Arc<Hub>, lane_bytes: usize) -> Arc<Self> {
        Self::with_state(hub, lane_bytes, State { armed: true, ..State::default() })
    }

    /// Of a server: connections may come before the thread that starts it can tell that it listens, so JavaScript is not
    /// woken until [`Inlet::begin`].
    pub(crate) fn of_server(hub: &Arc<Hub>, lane_bytes: usize) -> Arc<Self> {
        Self::with_state(hub, lane_bytes, State::default())
    }

    fn with_state(hub: &Arc<Hub>, lane_bytes: usize, state: State) -> Arc<Self> {
        let id = hub.next_id();
        let state = Mutex::new(state);
        Arc::new(Self { id, hub: hub.clone(), lane_bytes, total: AtomicUsize::new(0), state })
    }

    pub(crate) const fn id(&self) -> u32 {
        self.id
    }

    /// Appends something that is no data. Few of them exist per connection.
    pub(crate) fn push_event(&self, lane: Option<&Arc<Lane>>, kind: Kind, text: String) {
        let part = Part { lane: lane.cloned(), content: Content::Event(kind, text), cost: 0 };
        self.push(part, None);
    }

    /// Tells what became of a server's start, once: that it listens comes before all that its connections have brought
    /// already, its end after it.
    pub(crate) fn begin(&self, kind: Kind, text: String) {
        let part = Part { lane: None, content: Content::Event(kind, text), cost: 0 };
        let mut state = self.lock();
        match kind {
            Kind::Listening => state.parts.push_front(part),
            _ => state.parts.push_back(part),
        }
        drop(state);
        self.hub.post(self.id);
    }

    /// Appends data of `lane`. True when the connection must not be read for now: too much waits, and the caller
    /// stops reading **before** anything else happens to the connection; [`Inlet::release`] resumes.
    pub(crate) fn push_data(&self, lane: &Arc<Lane>, content: Content, cost: usize) -> bool {
        let waiting = lane.unread.fetch_add(cost, Ordering::Relaxed) + cost;
        let total = self.total.fetch_add(cost, Ordering::Relaxed) + cost;
        let full = waiting >= self.lane_bytes || total >= TOTAL_BYTES;
        let part = Part { lane: Some(lane.clone()), content, cost };
        self.push(part, full.then_some(lane));
        full
    }

    fn push(&self, part: Part, starved: Option<&Arc<Lane>>) {
        let mut state = self.lock();
        state.parts.push_back(part);
        if let Some(lane) = starved
            && !lane.starved.swap(true, Ordering::Relaxed)
        {
            state.starved.push(lane.clone());
        }
        let wake = mem::take(&mut state.armed);
        drop(state);
        if wake {
            self.hub.post(self.id);
        }
    }

    /// Empty memory for a batch, used before if possible.
    pub(crate) fn spare(&self) -> (Vec<u8>, Vec<u32>) {
        let mut state = self.lock();
        (state.spare_bytes.pop().unwrap_or_default(), state.spare_ends.pop().unwrap_or_default())
    }

    /// Moves everything that waits to `taken`, which is empty. False, and the next arrival wakes JavaScript, when
    /// nothing waits.
    pub(crate) fn take(&self, taken: &mut VecDeque<Part>) -> bool {
        let mut state = self.lock();
        mem::swap(&mut state.parts, taken);
        state.armed = taken.is_empty();
        !taken.is_empty()
    }

    /// JavaScript has pulled a part of `lane`.
    pub(crate) fn release(&self, lane: &Lane, part_cost: usize, content: Content) {
        lane.unread.fetch_sub(part_cost, Ordering::Relaxed);
        self.total.fetch_sub(part_cost, Ordering::Relaxed);
        let (mut bytes, mut ends) = match content {
            Content::Messages { bytes, ends } => (bytes, ends),
            Content::Stream(bytes) => (bytes, Vec::new()),
            Content::Shared { .. } | Content::Event(..) => return,
        };
        if bytes.capacity() > SPARE_BYTES {
            return;
        }
        bytes.clear();
        ends.clear();
        let mut state = self.lock();
        if state.spare_bytes.len() < SPARES_MAX {
            state.spare_bytes.push(bytes);
        }
        if ends.capacity() > 0 && state.spare_ends.len() < SPARES_MAX {
            state.spare_ends.push(ends);
        }
    }

    /// Goes on reading the connections that have room again.
    pub(crate) fn resume_starved(&self) {
        let has_total = self.total.load(Ordering::Relaxed) <= TOTAL_BYTES / 2;
        let mut state = self.lock();
        if !has_total || state.starved.is_empty() {
            return;
        }
        let mut fed = Vec::new();
        state.starved.retain(|lane| {
            let is_fed = lane.unread.load(Ordering::Relaxed) <= self.lane_bytes / 2;
            if is_fed {
                lane.starved.store(false, Ordering::Relaxed);
                fed.push(lane.clone());
            }
            !is_fed
        });
        drop(state);
        fed.iter().for_each(|lane| lane.resume_if_wanted());
    }

    /// Held for the length of a move only.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// By which number JavaScript asks first; see `js/connection.js`.
const FIRST_MARK: &str = "1";
/// What may wait for JavaScript of all connections of one server, in bytes.
const TOTAL_BYTES: usize = 16 << 20;
/// Memory kept for reuse: 8 batches of at most 128 KiB.
const SPARES_MAX: usize = 8;
const SPARE_BYTES: usize = 128 << 10;
