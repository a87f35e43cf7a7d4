//! One connection as the shard and JavaScript see it.

use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use qwormhole::{Payload, Priority, SendErrorKind, Sender};

use crate::fulfil::fulfil;
use crate::hub::Owned;
use crate::inlet::{Inlet, Kind};

/// A connection, from before it opens until JavaScript has seen its end.
#[derive(Default)]
pub(crate) struct Lane {
    /// The number by which JavaScript knows it; set on JavaScript's thread before the first record.
    pub(crate) slot: AtomicU32,
    /// Cost of what waits for JavaScript.
    pub(crate) unread: AtomicUsize,
    /// Not read because too much waits.
    pub(crate) starved: AtomicBool,
    /// JavaScript wants nothing for now; the shard stops when it next has something.
    pub(crate) paused: AtomicBool,
    /// Bytes that JavaScript may queue before the connection is cut.
    queue_bytes_max: usize,
    outgoing: Mutex<Outgoing>,
}

/// What JavaScript does before the connection opens is done when it opens, in order.
#[derive(Default)]
struct Outgoing {
    sender: Option<Sender>,
    early: Vec<Early>,
    early_bytes: usize,
    ending: Option<Ending>,
    /// Why this side cut the connection.
    fault: Option<Fault>,
}

enum Early {
    Message(Priority, Vec<u8>),
    Mark(u32),
    End,
}

/// How JavaScript ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ending {
    /// What is queued leaves first.
    Close,
    /// At once.
    Abort,
}

/// What JavaScript did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// More was queued than may be.
    QueueFull,
    /// A message is longer than a peer could accept.
    TooLarge,
}

impl Lane {
    pub(crate) fn new(queue_bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { queue_bytes_max, ..Self::default() })
    }

    /// The shard's side is open, of which JavaScript is told by `told`: what it did meanwhile is done now.
    pub(crate) fn opened(self: &Arc<Self>, inlet: &Arc<Inlet>, sender: Sender, told: String) {
        let mut outgoing = self.lock();
        outgoing.early_bytes = 0;
        let early = mem::take(&mut outgoing.early);
        outgoing.sender = Some(sender.clone());
        // Whoever hears of it finds the sender, and marks come after it.
        inlet.push_event(Some(self), Kind::Open, told);
        for step in early {
            match step {
                Early::Message(priority, message) => {
                    let refused = sender.try_send_with(priority, message).err();
                    refused.into_iter().for_each(|refused| outgoing.note(&refused.kind));
                }
                Early::Mark(mark) => self.watch(inlet, &sender, mark),
                Early::End => sender.finish(),
            }
        }
        match outgoing.ending {
            Some(Ending::Close) => sender.close(),
            Some(Ending::Abort) => sender.abort(),
            None => {}
        }
    }

    /// Sends messages in order; returns how many were accepted. One that is refused for lack of room, or because it
    /// can never be sent, ends the connection.
    pub(crate) fn send<'a>(&self, priority: Priority, messages: impl Iterator<Item = &'a [u8]>) -> u32 {
        let mut outgoing = self.lock();
        if outgoing.ending.is_some() {
            return 0;
        }
        if let Some(sender) = &outgoing.sender {
            return match sender.try_send_all(priority, messages) {
                Ok(accepted) => count(accepted),
                Err((accepted, refused)) => {
                    outgoing.note(&refused);
                    count(accepted)
                }
            };
        }
        let queue_bytes_max = self.queue_bytes_max;
        count(messages.take_while(|message| outgoing.keep(priority, message, queue_bytes_max)).count())
    }

    /// Sends memory that other connections share.
    pub(crate) fn send_shared<P: Payload>(&self, message: P) -> bool {
        let mut outgoing = self.lock();
        let Some(sender) = outgoing.sender.as_ref().filter(|_| outgoing.ending.is_none()) else {
            return false;
        };
        let refused = sender.try_send(message).err();
        refused.iter().for_each(|refused| outgoing.note(&refused.kind));
        refused.is_none()
    }

    /// Tells JavaScript when all that was sent before was handed to the kernel.
    pub(crate) fn mark(self: &Arc<Self>, inlet: &Arc<Inlet>, mark: u32) {
        let mut outgoing = self.lock();
        match outgoing.sender.clone() {
            Some(sender) => {
                drop(outgoing);
                self.watch(inlet, &sender, mark);
            }
            None => outgoing.early.push(Early::Mark(mark)),
        }
    }

    /// Ends this side's half of the stream once all that was sent has left.
    pub(crate) fn finish(&self) {
        let mut outgoing = self.lock();
        match &outgoing.sender {
            Some(sender) => sender.finish(),
            None => outgoing.early.push(Early::End),
        }
    }

    /// Ends the connection. False if there is none yet, and nothing that one would send: nobody has to wait.
    pub(crate) fn end(&self, ending: Ending) -> bool {
        let mut outgoing = self.lock();
        outgoing.ending = outgoing.ending.max(Some(ending));
        match (&outgoing.sender, ending) {
            (Some(sender), Ending::Close) => sender.close(),
            (Some(sender), Ending::Abort) => sender.abort(),
            (None, Ending::Close) => {}
            (None, Ending::Abort) => outgoing.early = Vec::new(),
        }
        outgoing.sender.is_some() || !outgoing.early.is_empty()
    }

    /// How JavaScript ended the connection, if it did.
    pub(crate) fn ending(&self) -> Option<Ending> {
        self.lock().ending
    }

    /// Why this side cut the connection, if it did.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.lock().fault
    }

    /// The sender, once the connection is open.
    pub(crate) fn sender(&self) -> Option<Sender> {
        self.lock().sender.clone()
    }

    /// JavaScript wants nothing for now.
    pub(crate) fn pause(&self) {
        self.paused.store(true, Ordering::SeqCst);
    }

    /// JavaScript wants more.
    pub(crate) fn resume(&self) {
        self.paused.store(false, Ordering::SeqCst);
        if !self.starved.load(Ordering::SeqCst) {
            self.resume_if_wanted();
        }
    }

    /// There is room again.
    pub(crate) fn resume_if_wanted(&self) {
        if !self.paused.load(Ordering::SeqCst)
            && let Some(sender) = &self.lock().sender
        {
            sender.resume();
        }
    }

    fn watch(self: &Arc<Self>, inlet: &Arc<Inlet>, sender: &Sender, mark: u32) {
        let (lane, inlet, sender) = (self.clone(), inlet.clone(), sender.clone());
        fulfil(async move {
            if sender.flush().await.is_ok() {
                inlet.push_event(Some(&lane), Kind::Flushed, mark.to_string());
            }
        });
    }

    /// Held by JavaScript's thread for the length of a batch, by the shard for the length of what was sent early.
    fn lock(&self) -> MutexGuard<'_, Outgoing> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outgoing {
    /// Keeps a message until there is a connection; false if there are too many.
    fn keep(&mut self, priority: Priority, message: &[u8], queue_bytes_max: usize) -> bool {
        self.early_bytes += message.len() + EARLY_COST;
        if self.early_bytes > queue_bytes_max {
            self.note(&SendErrorKind::Full);
            return false;
        }
        self.early.push(Early::Message(priority, message.to_vec()));
        true
    }

    /// A refused message leaves a hole in what the peer receives, so the connection ends.
    fn note(&mut self, refused: &SendErrorKind) {
        let fault = match refused {
            SendErrorKind::Full => Fault::QueueFull,
            SendErrorKind::TooLarge { .. } => Fault::TooLarge,
            _ => return,
        };
        self.fault.get_or_insert(fault);
        self.ending = Some(Ending::Abort);
        self.early = Vec::new();
        self.sender.iter().for_each(Sender::abort);
    }
}

impl Owned for Lane {
    fn cut(&self) {
        self.end(Ending::Abort);
    }
}

fn count(messages: usize) -> u32 {
    u32::try_from(messages).unwrap_or(u32::MAX)
}

/// Bookkeeping of a message that waits for its connection, in bytes.
const EARLY_COST: usize = 64;
