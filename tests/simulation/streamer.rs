//! A handler that sends random messages as fast as it may and remembers everything it saw.

use std::cell::RefCell;
use std::rc::Rc;

use fastrand::Rng;
use qwormhole_proto::{CloseReason, Context, Handler, Message, Sender, Time};

/// What one end sent and saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) opened: usize,
    pub(crate) sent: Vec<Vec<u8>>,
    pub(crate) received: Vec<Vec<u8>>,
    pub(crate) refusals: usize,
    pub(crate) drains: usize,
    pub(crate) closed: Vec<(CloseReason, Time)>,
    pub(crate) sender: Option<Sender>,
    /// A rule that the handler saw broken: a panic inside a handler would be contained.
    pub(crate) broken: Vec<String>,
}

pub(crate) type Shared = Rc<RefCell<Seen>>;

/// How an end behaves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// Messages to send.
    pub(crate) messages: usize,
    /// Close when all messages are sent and this many have arrived.
    pub(crate) close_after: Option<usize>,
    /// How often to pause when a message or a batch was delivered, in percent.
    pub(crate) pause_percent: u8,
}

/// Sends its plan's messages one by one until refused and goes on at every drain.
pub(crate) struct Streamer {
    plan: Plan,
    rng: Rng,
    next: Option<Vec<u8>>,
    seen: Shared,
}

impl Streamer {
    pub(crate) fn new(rng: &mut Rng, plan: Plan) -> (Self, Shared) {
        let seen = Shared::default();
        (Self { plan, rng: rng.fork(), next: None, seen: seen.clone() }, seen)
    }

    fn send_all(&mut self, conn: &mut Context<'_>) {
        let mut seen = self.seen.borrow_mut();
        while seen.sent.len() < self.plan.messages {
            let message = self.next.take().unwrap_or_else(|| random_message(&mut self.rng));
            match conn.send(message.clone()) {
                Ok(()) => seen.sent.push(message),
                Err(error) => {
                    if error.payload != message {
                        seen.broken.push("a refused message came back changed".into());
                    }
                    seen.refusals += usize::from(error.is_retryable());
                    self.next = Some(error.payload);
                    return;
                }
            }
        }
    }

    fn pause_sometimes(&mut self, conn: &mut Context<'_>) {
        if self.rng.u8(0..100) < self.plan.pause_percent {
            conn.pause();
        }
    }

    fn close_if_done(&self, conn: &mut Context<'_>) {
        let seen = self.seen.borrow();
        let sent_all = seen.sent.len() == self.plan.messages;
        if sent_all && self.plan.close_after.is_some_and(|count| seen.received.len() >= count) {
            conn.close();
        }
    }
}

impl Handler for Streamer {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        let sender = conn.sender();
        self.seen.borrow_mut().opened += 1;
        self.seen.borrow_mut().sender = Some(sender);
        self.send_all(conn);
        self.close_if_done(conn);
    }

    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        self.seen.borrow_mut().received.push(message.to_vec());
        self.pause_sometimes(conn);
        self.close_if_done(conn);
    }

    fn on_batch_end(&mut self, conn: &mut Context<'_>) {
        self.pause_sometimes(conn);
    }

    fn on_drain(&mut self, conn: &mut Context<'_>) {
        self.seen.borrow_mut().drains += 1;
        self.send_all(conn);
        self.pause_sometimes(conn);
        self.close_if_done(conn);
    }

    fn on_close(&mut self, conn: &mut Context<'_>, reason: &CloseReason) {
        self.seen.borrow_mut().closed.push((reason.clone(), conn.now()));
    }
}

/// Answers every message with itself.
pub(crate) struct Echo(pub(crate) Shared);

impl Handler for Echo {
    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        self.0.borrow_mut().received.push(message.to_vec());
        if let Err(error) = conn.reply(message) {
            self.0.borrow_mut().broken.push(format!("reply refused: {error}"));
        }
    }

    fn on_close(&mut self, conn: &mut Context<'_>, reason: &CloseReason) {
        self.0.borrow_mut().closed.push((reason.clone(), conn.now()));
    }
}

impl Seen {
    /// The reason of the one close.
    pub(crate) fn close_reason(&self) -> &CloseReason {
        assert_eq!(self.closed.len(), 1, "exactly one close: {:?}", self.closed);
        &self.closed[0].0
    }
}

/// Checks that `to` saw exactly what `from` sent.
pub(crate) fn assert_all_arrived(from: &Shared, to: &Shared) {
    let (from, to) = (from.borrow(), to.borrow());
    assert_eq!(to.received.len(), from.sent.len(), "messages arrived");
    assert_prefix(&from, &to);
}

/// Checks that what `to` saw is the beginning of what `from` sent.
pub(crate) fn assert_prefix(from: &Seen, to: &Seen) {
    assert_eq!((&from.broken, &to.broken), (&vec![], &vec![]));
    assert!(to.received.len() <= from.sent.len(), "messages came from nowhere");
    for (n, (sent, received)) in from.sent.iter().zip(&to.received).enumerate() {
        assert!(
            sent == received,
            "message {n} of {} bytes arrived as another of {}",
            sent.len(),
            received.len()
        );
    }
}

/// Zero to 4 KiB, now and then up to 40 KiB: both sides of every threshold of the outbox.
pub(crate) fn random_message(rng: &mut Rng) -> Vec<u8> {
    let len = match rng.u8(0..20) {
        0 => rng.usize(0..40_000),
        1..=3 => 0,
        4..=12 => rng.usize(0..64),
        _ => rng.usize(0..4096),
    };
    let mut message = vec![0; len];
    rng.fill(&mut message);
    message
}

/// The wire form of `messages`.
pub(crate) fn frames<'a>(messages: impl IntoIterator<Item = &'a Vec<u8>>) -> Vec<u8> {
    let frame = |message: &Vec<u8>| [&(message.len() as u32).to_be_bytes()[..], message].concat();
    messages.into_iter().flat_map(frame).collect()
}
