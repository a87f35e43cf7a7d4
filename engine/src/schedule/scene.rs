//! What a schedule's peers, handlers and other threads know of each other: which messages are on their way.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use qwormhole_proto::{CloseReason, Sender, Time, Waiter};

use crate::fake_ring::net::Net;

/// The network and the ledgers of its streams.
pub(super) struct Scene {
    pub(super) net: Arc<Net>,
    books: Mutex<Books>,
}

/// What [`Scene`] guards. The network may be locked while the books are, never the other way round.
#[derive(Default)]
pub(super) struct Books {
    /// One per stream of the network.
    ledgers: Vec<Ledger>,
    /// How often each dial was answered, by `on_open` or by `failed`.
    pub(super) dials: Vec<u32>,
    /// Messages kept by handlers, and what they must hold.
    pub(super) leases: Vec<(Bytes, Text)>,
    pub(super) handlers: usize,
    /// Panics thrown on purpose.
    pub(super) panics: u64,
    /// Panics thrown by the service instead of making a handler.
    pub(super) refusals: u64,
    /// Sockets handed to the shard for adoption, not counting those its own listener accepted.
    pub(super) adopted: u64,
    pub(super) opened: u64,
    pub(super) opened_by_dial: u64,
    /// When the shutdown was asked for, and its deadline.
    pub(super) shutdown: Option<(Time, Time)>,
    /// Turns of the shard so far.
    pub(super) turn: u64,
    /// Every connection's id; none is given twice.
    pub(super) ids: BTreeSet<u64>,
    texts: u32,
}

/// The messages of one stream.
#[derive(Default)]
pub(super) struct Ledger {
    /// Frames the peer has begun to send and the handler has not seen, with the stream position of their end.
    pub(super) inbound: VecDeque<(Text, u64)>,
    /// Messages accepted for sending and not seen by the peer, by [`Author`].
    pub(super) outbound: [VecDeque<Text>; 2],
    /// What the peer wants to send and has not put on the wire.
    pub(super) unwritten: VecDeque<u8>,
    /// Bytes of all frames the peer has begun to send.
    pub(super) wire_len: u64,
    /// What the peer has read of an unfinished frame.
    pub(super) unparsed: Vec<u8>,
    /// The peer has sent something that ends the stream of messages.
    pub(super) oversize: bool,
    pub(super) opened: u32,
    pub(super) closed: u32,
    pub(super) reason: Option<CloseReason>,
    /// The handler paused in this turn, and nobody has asked to go on since.
    pub(super) paused: Option<u64>,
    /// The turn in which somebody last asked to go on; the shard has heard of it by the end of the next.
    pub(super) resumed: Option<u64>,
    /// The handler closed, aborted or panicked: it sees no further message.
    pub(super) stopped: bool,
    pub(super) aborted: bool,
    pub(super) panicked: bool,
    /// Somebody on this side asked for the end.
    pub(super) local_end: bool,
    /// The first thing that may have begun the end.
    pub(super) ending_since: Option<Time>,
    pub(super) sender: Option<Sender>,
    pub(super) flush: Option<(Waiter, u64)>,
}

/// Who sends a message to the peer. Messages of one author arrive in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Author {
    Handler,
    OtherThread,
}

/// A message told apart from all others by its content, which is made when needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Text {
    number: u32,
    author: Author,
    len: usize,
}

impl Scene {
    pub(super) fn new(net: Arc<Net>) -> Arc<Self> {
        Arc::new(Self { net, books: Mutex::default() })
    }

    pub(super) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new message of a length that the choices like: often short, sometimes longer than a buffer.
    pub(super) fn write(&self, author: Author) -> Text {
        let len = {
            let choices = &mut self.net.lock().choices;
            match choices.below(16) {
                0..=6 => choices.below(24),
                7..=12 => choices.below(200),
                13..=14 => choices.below(700),
                _ => 4000 + choices.below(5000),
            }
        };
        let mut books = self.books();
        books.texts += 1;
        // Without a first byte nobody could tell the author.
        let len = if author == Author::OtherThread { len.max(1) } else { len };
        Text { number: books.texts, author, len }
    }

    /// Something that may begin the end of a stream has happened.
    pub(super) fn note_ending(&self, stream: usize) {
        let now = self.net.lock().now;
        self.books().ledger(stream).ending_since.get_or_insert(now);
    }
}

impl Books {
    pub(super) fn ledger(&mut self, stream: usize) -> &mut Ledger {
        if self.ledgers.len() <= stream {
            self.ledgers.resize_with(stream + 1, Ledger::default);
        }
        &mut self.ledgers[stream]
    }
}

impl Ledger {
    /// The peer is about to send `text`.
    pub(super) fn send_inbound(&mut self, text: Text) {
        self.unwritten.extend((text.len as u32).to_be_bytes());
        self.unwritten.extend(text.bytes());
        self.wire_len += 4 + text.len as u64;
        if !self.oversize {
            self.inbound.push_back((text, self.wire_len));
        }
    }

    /// The peer has read `bytes`: checks the messages in them.
    pub(super) fn read_outbound(&mut self, bytes: impl Iterator<Item = u8>) -> Result<(), String> {
        self.unparsed.extend(bytes);
        let mut rest = &self.unparsed[..];
        while let Some((header, tail)) = rest.split_first_chunk::<4>() {
            let Some((payload, tail)) = tail.split_at_checked(u32::from_be_bytes(*header) as usize) else {
                break;
            };
            let author = if payload.first() == Some(&OTHER_THREAD) { 1 } else { 0 };
            match self.outbound[author].pop_front() {
                Some(text) if text.is(payload) => rest = tail,
                expected => {
                    return Err(format!("the peer read {} wrong bytes for {expected:?}", payload.len()));
                }
            }
        }
        let parsed = self.unparsed.len() - rest.len();
        self.unparsed.drain(..parsed);
        Ok(())
    }

    /// A handler saw a message: it must be the next one of the peer, and whole on the wire.
    pub(super) fn see_inbound(&mut self, payload: &[u8], written: u64) -> Result<Text, String> {
        let paused = self.paused > self.resumed.map(|turn| turn + 1);
        if paused || self.stopped || self.closed > 0 {
            return Err(format!("a message after a pause or the end ({} bytes)", payload.len()));
        }
        match self.inbound.pop_front() {
            Some((text, end)) if text.is(payload) && end <= written => Ok(text),
            expected => Err(format!("the handler saw {} wrong bytes for {expected:?}", payload.len())),
        }
    }
}

impl Text {
    /// The content.
    pub(super) fn bytes(self) -> impl Iterator<Item = u8> {
        let first = if self.author == Author::OtherThread { OTHER_THREAD } else { 0 };
        let mut state = self.number.wrapping_mul(0x9e37_79b9) | 1;
        let rest = std::iter::repeat_with(move || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (state >> 8) as u8
        });
        std::iter::once(first).chain(rest).take(self.len)
    }

    /// Whether `payload` is the content.
    pub(super) fn is(self, payload: &[u8]) -> bool {
        payload.len() == self.len && self.bytes().eq(payload.iter().copied())
    }
}

const OTHER_THREAD: u8 = 1;
