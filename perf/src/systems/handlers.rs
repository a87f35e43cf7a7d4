//! The handlers with which qwormhole plays its scenarios: what its documentation shows, and counting.

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use qwormhole::{CloseReason, Context, Handler, Message, Sender};

use crate::hello::{check_answer, check_hello, hello};
use crate::pattern::Sequence;
use crate::tally::Tally;
use crate::think::think;

/// Sends every message back.
pub(super) struct Echo {
    /// Until the peer has shown it.
    pub(super) token: Option<Arc<str>>,
    /// What it works on each message.
    pub(super) think: Duration,
}

impl Handler for Echo {
    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        if let Some(token) = self.token.take()
            && let Err(refusal) = check_hello(&message, &token)
        {
            let _ = conn.reply(refusal);
            conn.close();
            return;
        }
        think(self.think);
        // Refused only while closing.
        let _ = conn.reply(message);
    }
}

/// Checks and counts.
pub(super) struct Sink {
    pub(super) expected: Sequence,
    /// Of the receive buffer at hand.
    pub(super) received: u64,
    pub(super) corrupt: u64,
    pub(super) tally: Arc<Tally>,
}

impl Sink {
    fn count(&mut self) {
        self.tally.add_received(std::mem::take(&mut self.received));
        self.tally.add_corrupt(std::mem::take(&mut self.corrupt));
    }
}

impl Handler for Sink {
    #[inline]
    fn on_message(&mut self, _conn: &mut Context<'_>, message: Message<'_>) {
        self.corrupt += u64::from(!self.expected.accept(&message));
        self.received += 1;
    }

    fn on_batch_end(&mut self, _conn: &mut Context<'_>) {
        self.count();
    }

    fn on_close(&mut self, _conn: &mut Context<'_>, _reason: &CloseReason) {
        self.count();
    }
}

/// Sends a message, waits for it to come back, sends the next.
pub(super) struct PingPong {
    /// Until the server has accepted it.
    pub(super) token: Option<Arc<str>>,
    pub(super) messages: Sequence,
    pub(super) asked: Instant,
    pub(super) tally: Arc<Tally>,
}

impl PingPong {
    fn ask(&mut self, conn: &mut Context<'_>, now: Instant) {
        self.asked = now;
        if conn.send(self.messages.current()).is_ok() {
            self.tally.add_sent(1);
        }
    }
}

impl Handler for PingPong {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        match &self.token {
            // Refused only while closing, and then `on_close` tells.
            Some(token) => drop(conn.send(hello(token))),
            None => self.ask(conn, Instant::now()),
        }
    }

    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        let now = Instant::now();
        if let Some(token) = self.token.take() {
            if let Err(reason) = check_answer(&message, &token) {
                self.tally.fail(reason);
                return conn.abort();
            }
            return self.ask(conn, now);
        }
        if !self.messages.accept(&message) {
            self.tally.add_corrupt(1);
        }
        self.tally.add_received(1);
        if self.tally.is_measuring() {
            self.tally.round_trips().record(now - self.asked);
        }
        if self.tally.is_stopping() { conn.close() } else { self.ask(conn, now) }
    }

    fn on_close(&mut self, _conn: &mut Context<'_>, reason: &CloseReason) {
        ended(&self.tally, reason);
    }
}

/// Sends message by message while the connection wants more, and goes on when it does again.
pub(super) struct Source {
    pub(super) messages: Sequence,
    pub(super) tally: Arc<Tally>,
}

impl Source {
    fn send(&mut self, conn: &mut Context<'_>) {
        let mut sent = 0;
        while conn.is_writable() && !self.tally.is_stopping() {
            let accepted = if self.messages.current().len() < SHARED_MIN {
                conn.send(self.messages.current()).is_ok()
            } else {
                conn.send(self.messages.current_shared()).is_ok()
            };
            // Not even one fits, and `on_drain` follows; or it is over, and `on_close` tells why.
            if !accepted {
                break;
            }
            sent += 1;
            self.messages.advance();
        }
        self.tally.add_sent(sent);
        if self.tally.is_stopping() {
            conn.close();
        }
    }
}

impl Handler for Source {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        self.send(conn);
    }

    fn on_message(&mut self, _conn: &mut Context<'_>, _message: Message<'_>) {}

    fn on_drain(&mut self, conn: &mut Context<'_>) {
        self.send(conn);
    }

    fn on_close(&mut self, _conn: &mut Context<'_>, reason: &CloseReason) {
        ended(&self.tally, reason);
    }
}

/// Tells the publisher that it is there, and ignores what it says.
pub(super) struct Subscriber {
    pub(super) opened: mpsc::Sender<Sender>,
}

impl Handler for Subscriber {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        // A publisher that is gone publishes nothing.
        let _ = self.opened.send(conn.sender());
    }

    fn on_message(&mut self, _conn: &mut Context<'_>, _message: Message<'_>) {}
}

/// Leaves the sending to another thread.
pub(super) struct Quiet {
    pub(super) tally: Arc<Tally>,
}

impl Handler for Quiet {
    fn on_message(&mut self, _conn: &mut Context<'_>, _message: Message<'_>) {}

    fn on_close(&mut self, _conn: &mut Context<'_>, reason: &CloseReason) {
        ended(&self.tally, reason);
    }
}

/// A client's connection is over; before the stop that is a failure.
pub(super) fn ended(tally: &Tally, reason: &CloseReason) {
    if tally.is_stopping() {
        tally.finish();
    } else {
        tally.fail(format!("the connection ended: {reason}"));
    }
}

/// From here on a message is handed over shared instead of being copied.
pub(super) const SHARED_MIN: usize = 4 << 10;
