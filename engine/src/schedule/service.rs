//! The service under test: handlers that check what they see and do anything a user might.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use qwormhole_proto::{CloseReason, Context, Handler, Message, Payload, PeerInfo, SendErrorKind, Service};

use crate::fake_ring::net::stream_of;
use crate::schedule::scene::{Author, Scene, Text};

/// Makes a [`Script`] per connection, or panics.
pub(super) struct Scripts {
    scene: Arc<Scene>,
}

impl Scripts {
    pub(super) fn new(scene: Arc<Scene>) -> Self {
        Self { scene }
    }
}

impl Service for Scripts {
    type Handler = Script;

    fn accept(&mut self, _peer: &PeerInfo) -> Script {
        if self.scene.net.lock().choices.one_in(64) {
            self.scene.books().refusals += 1;
            self.scene.books().panics += 1;
            resume_unwind(Box::new("a service that panics"));
        }
        Script::new(self.scene.clone(), None)
    }
}

/// A handler that follows the choices.
pub(super) struct Script {
    scene: Arc<Scene>,
    stream: usize,
    /// The dial it was made for.
    dial: Option<usize>,
}

impl Script {
    pub(super) fn new(scene: Arc<Scene>, dial: Option<usize>) -> Self {
        scene.books().handlers += 1;
        Self { scene, stream: usize::MAX, dial }
    }

    /// Sends `text`; a refusal must have a reason.
    fn send(&self, conn: &mut Context<'_>, text: Text, payload: impl Payload, as_reply: bool) {
        let sent = if as_reply { conn.reply(payload) } else { conn.send(payload) };
        let mut books = self.scene.books();
        let ledger = books.ledger(self.stream);
        match sent.map_err(|refused| refused.kind) {
            Ok(()) => ledger.outbound[Author::Handler as usize].push_back(text),
            Err(SendErrorKind::Full) if !as_reply => {}
            Err(SendErrorKind::Closed(_)) if ledger.stopped => {}
            Err(kind) => self.scene.net.fail(format!("a message was refused: {kind}")),
        }
    }

    fn send_unasked(&self, conn: &mut Context<'_>) {
        for _ in 0..1 + self.scene.net.choose(4) {
            let text = self.scene.write(Author::Handler);
            self.send(conn, text, text.bytes().collect::<Vec<u8>>(), false);
        }
    }

    /// Keeps a message beyond the call, one way or the other.
    fn keep(&self, conn: &mut Context<'_>, message: Message<'_>, text: Text) {
        let lease = if self.scene.net.choose(2) == 0 {
            conn.lease(message)
        } else {
            message.into_shared().unwrap_or_else(|message| Bytes::copy_from_slice(&message))
        };
        if self.scene.net.choose(2) == 0 {
            self.send(conn, text, lease.clone(), true);
        }
        self.scene.books().leases.push((lease, text));
    }

    fn pause(&self, conn: &mut Context<'_>) {
        let mut books = self.scene.books();
        let turn = books.turn;
        let ledger = books.ledger(self.stream);
        // Without a sender nobody could undo it.
        if ledger.sender.is_some() && !ledger.stopped {
            ledger.paused = Some(turn);
            conn.pause();
        }
    }

    /// Ends the connection in one of the ways a handler can.
    fn end(&self, conn: &mut Context<'_>) {
        let way = self.scene.net.choose(4);
        let stopped = std::mem::replace(&mut self.scene.books().ledger(self.stream).stopped, true);
        if stopped {
            return;
        }
        self.scene.note_ending(self.stream);
        let mut books = self.scene.books();
        books.ledger(self.stream).local_end = way < 3;
        match way {
            0 | 1 => conn.close(),
            2 => {
                books.ledger(self.stream).aborted = true;
                conn.abort();
            }
            _ => {
                books.ledger(self.stream).panicked = true;
                books.panics += 1;
                drop(books);
                resume_unwind(Box::new("a handler that panics"));
            }
        }
    }
}

impl Handler for Script {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        let Some(stream) = stream_of(conn.peer()) else {
            return self.scene.net.fail("opened without a stream");
        };
        self.stream = stream;
        let keep_sender = self.scene.net.choose(4) != 3;
        {
            let mut books = self.scene.books();
            books.opened += 1;
            if !books.ids.insert(conn.id().as_u64()) {
                self.scene.net.fail(format!("the id {} was used before", conn.id()));
            }
            if let Some(dial) = self.dial.take() {
                books.opened_by_dial += 1;
                books.dials[dial] += 1;
            }
            let ledger = books.ledger(stream);
            ledger.opened += 1;
            if ledger.opened > 1 || ledger.closed > 0 {
                self.scene.net.fail(format!("stream {stream} was opened twice"));
            }
            if keep_sender {
                ledger.sender = Some(conn.sender());
            }
        }
        match self.scene.net.choose(24) {
            12..=18 => self.send_unasked(conn),
            19..=20 => self.pause(conn),
            23 => self.end(conn),
            _ => {}
        }
    }

    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        let written = self.scene.net.lock().streams[self.stream].written;
        let seen = self.scene.books().ledger(self.stream).see_inbound(&message, written);
        let text = match seen {
            Ok(text) => text,
            Err(wrong) => return self.scene.net.fail(format!("stream {}: {wrong}", self.stream)),
        };
        match self.scene.net.choose(48) {
            0..=15 => self.send(conn, text, message, true),
            16..=21 => self.send(conn, text, message, false),
            22..=27 => self.send_unasked(conn),
            28..=36 => self.keep(conn, message, text),
            37..=40 => self.pause(conn),
            47 => self.end(conn),
            _ => {}
        }
    }

    fn on_drain(&mut self, conn: &mut Context<'_>) {
        match self.scene.net.choose(8) {
            1..=3 => self.send_unasked(conn),
            7 => self.end(conn),
            _ => {}
        }
    }

    fn on_close(&mut self, _conn: &mut Context<'_>, reason: &CloseReason) {
        let mut books = self.scene.books();
        let ledger = books.ledger(self.stream);
        ledger.closed += 1;
        ledger.reason = Some(reason.clone());
        let mut net = self.scene.net.lock();
        net.trace(|| format!("stream {} is over: {reason}", self.stream));
        if ledger.opened != 1 || ledger.closed != 1 {
            net.fail("on_close without on_open, or twice");
        }
        net.streams[self.stream].session_over = true;
        if net.choices.one_in(32) {
            books.panics += 1;
            drop((net, books));
            resume_unwind(Box::new("a handler that panics while it is closed"));
        }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let mut books = self.scene.books();
        books.handlers -= 1;
        if !thread::panicking() && self.scene.net.lock().choices.one_in(64) {
            books.panics += 1;
            drop(books);
            resume_unwind(Box::new("a handler that panics when it is dropped"));
        }
    }
}
