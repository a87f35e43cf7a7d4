//! The handler of the fuzzed session: does what the input says and notes what it sees.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use qwormhole_proto::{CloseReason, Context, Handler, Message, Priority, SendErrorKind, Sender};

/// What the handler does when the next message arrives.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    Nothing,
    Pause,
    PauseAfterBatch,
    Resume,
    Reply(usize),
    Send(usize, Priority),
    SendUntilFull(usize),
    Lease,
    Close,
    Abort,
    Panic,
}

/// Everything that was accepted for sending, with its class: order holds within a class.
#[derive(Clone, Debug)]
pub(super) struct Accepted {
    pub(super) remote: bool,
    pub(super) priority: Priority,
    pub(super) payload: Vec<u8>,
}

/// What the handler saw and did.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) script: VecDeque<Act>,
    pub(super) delivered: Vec<Vec<u8>>,
    pub(super) accepted: Vec<Accepted>,
    pub(super) opened: usize,
    pub(super) closed: usize,
    pub(super) panicked: bool,
    /// A send was refused for lack of room, and no drain came since.
    pub(super) refused: bool,
    /// Something was sent, or tried, since the last drain.
    pub(super) touched: bool,
    pub(super) sender: Option<Sender>,
    pub(super) low_watermark_bytes: usize,
    pub(super) queued_bytes_max: usize,
    /// Longest message accepted.
    pub(super) longest: usize,
    /// Another thread sent something.
    pub(super) remote: bool,
    pub(super) pause_after_batch: bool,
    /// A rule that was broken inside a handler, where a panic would be contained.
    pub(super) broken: Option<&'static str>,
}

/// The handler; its notes outlive it.
pub(super) struct Player(pub(super) Rc<RefCell<Notes>>);

impl Notes {
    /// A message of `len` bytes that no other equals, if it is long enough to carry its number.
    pub(super) fn next_payload(&self, len: usize) -> Vec<u8> {
        let number = (self.accepted.len() as u32).to_be_bytes();
        number.into_iter().cycle().take(len).collect()
    }

    pub(super) fn accept(&mut self, remote: bool, priority: Priority, payload: Vec<u8>) {
        self.touched = true;
        self.remote |= remote;
        self.longest = self.longest.max(payload.len());
        self.accepted.push(Accepted { remote, priority, payload });
    }

    fn break_rule(&mut self, rule: &'static str) {
        self.broken.get_or_insert(rule);
    }

    /// Sends once; false when it was refused.
    fn send(&mut self, conn: &mut Context<'_>, len: usize, priority: Priority, reply: bool) -> bool {
        let payload = self.next_payload(len);
        let result =
            if reply { conn.reply(payload.clone()) } else { conn.send_with(priority, payload.clone()) };
        self.touched = true;
        let kind = match result {
            Ok(()) => {
                self.accept(false, priority, payload);
                self.queued_bytes_max = self.queued_bytes_max.max(conn.queued_bytes());
                return true;
            }
            Err(error) if error.payload != payload => {
                self.break_rule("a refused message came back changed");
                error.kind
            }
            Err(error) => error.kind,
        };
        if kind == SendErrorKind::Full {
            self.refused = true;
            if reply {
                self.break_rule("a reply was refused for lack of room");
            }
        }
        false
    }

    fn perform(&mut self, act: Act, conn: &mut Context<'_>) {
        match act {
            Act::Nothing | Act::Lease | Act::Panic => {}
            Act::Pause => conn.pause(),
            Act::PauseAfterBatch => self.pause_after_batch = true,
            Act::Resume => conn.resume(),
            Act::Reply(len) => {
                self.send(conn, len, Priority::DEFAULT, true);
            }
            Act::Send(len, priority) => {
                self.send(conn, len, priority, false);
            }
            Act::SendUntilFull(len) => {
                for _ in 0..16 {
                    if !self.send(conn, len, Priority::DEFAULT, false) {
                        break;
                    }
                }
            }
            Act::Close => conn.close(),
            Act::Abort => conn.abort(),
        }
    }
}

impl Handler for Player {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        let mut notes = self.0.borrow_mut();
        notes.opened += 1;
        notes.sender = Some(conn.sender());
    }

    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        let mut notes = self.0.borrow_mut();
        notes.delivered.push(message.to_vec());
        let act = notes.script.pop_front().unwrap_or(Act::Nothing);
        if let Act::Lease = act {
            let copy = message.to_vec();
            if conn.lease(message) != copy {
                notes.break_rule("a lease differs from its message");
            }
        }
        if let Act::Panic = act {
            notes.panicked = true;
            drop(notes);
            // Not `panic!`: a fuzzer's panic hook would end the process.
            std::panic::resume_unwind(Box::new("asked to"));
        }
        notes.perform(act, conn);
    }

    fn on_batch_end(&mut self, conn: &mut Context<'_>) {
        if std::mem::take(&mut self.0.borrow_mut().pause_after_batch) {
            conn.pause();
        }
    }

    fn on_drain(&mut self, conn: &mut Context<'_>) {
        let mut notes = self.0.borrow_mut();
        if conn.queued_bytes() > notes.low_watermark_bytes {
            notes.break_rule("a drain above the low watermark");
        }
        // What other threads staged reaches the outbox at a time of its own, and may cross the watermark then.
        if !notes.touched && !notes.remote {
            notes.break_rule("a second drain for one crossing");
        }
        (notes.refused, notes.touched) = (false, false);
        if let Some(Act::SendUntilFull(_) | Act::Send(..) | Act::Pause) = notes.script.front()
            && let Some(act) = notes.script.pop_front()
        {
            notes.perform(act, conn);
        }
    }

    fn on_close(&mut self, conn: &mut Context<'_>, _reason: &CloseReason) {
        let mut notes = self.0.borrow_mut();
        notes.closed += 1;
        if conn.send("").is_ok() || conn.reply("").is_ok() {
            notes.break_rule("a closed connection accepts messages");
        }
    }
}
