//! The handler that moves the messages of one connection into its inlet.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use qwormhole::{CloseReason, Context, Framing, Handler, Message};

use crate::facts::{Ended, Opened, to_json};
use crate::inlet::{Content, Inlet, Kind};
use crate::lane::Lane;

/// Runs on the shard. Short messages are copied back to back, because the receive buffer goes back to the kernel;
/// long ones keep the memory they were received in, within the shard's lease budget.
pub(crate) struct Feed {
    inlet: Arc<Inlet>,
    lane: Arc<Lane>,
    is_stream: bool,
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Feed {
    pub(crate) fn new(inlet: &Arc<Inlet>, lane: &Arc<Lane>, framing: Framing) -> Self {
        Self {
            inlet: inlet.clone(),
            lane: lane.clone(),
            is_stream: framing == Framing::None,
            bytes: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// Moves the batch to the inlet.
    fn hand_over(&mut self, conn: &mut Context<'_>) {
        let cost = self.bytes.len() + self.ends.len() * MESSAGE_COST;
        if cost == 0 {
            return;
        }
        let bytes = mem::take(&mut self.bytes);
        let content = if self.is_stream {
            Content::Stream(bytes)
        } else {
            Content::Messages { bytes, ends: mem::take(&mut self.ends) }
        };
        self.push(conn, content, cost);
    }

    fn push(&self, conn: &mut Context<'_>, content: Content, cost: usize) {
        // Before anybody can see that too much waits, or the resume could come first.
        conn.pause();
        let full = self.inlet.push_data(&self.lane, content, cost);
        if !full && !self.lane.paused.load(Ordering::SeqCst) {
            conn.resume();
        }
    }
}

impl Handler for Feed {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        let sender = conn.sender();
        self.lane.opened(&self.inlet, sender, to_json(&Opened::of(conn.peer())));
    }

    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        if message.len() >= SHARE_MIN {
            self.hand_over(conn);
            let cost = message.len() + MESSAGE_COST;
            let bytes = conn.lease(message);
            self.push(conn, Content::Shared { bytes, is_stream: self.is_stream }, cost);
            return;
        }
        // Empty messages take no bytes: what was noted of them must stay.
        if self.bytes.capacity() == 0 && self.ends.is_empty() {
            (self.bytes, self.ends) = self.inlet.spare();
        }
        self.bytes.extend_from_slice(&message);
        if !self.is_stream {
            // A batch is handed over long before it has 4 GiB.
            self.ends.push(self.bytes.len() as u32);
        }
        if self.bytes.len() >= BATCH_BYTES || self.ends.len() >= BATCH_MESSAGES {
            self.hand_over(conn);
        }
    }

    fn on_batch_end(&mut self, conn: &mut Context<'_>) {
        self.hand_over(conn);
    }

    fn on_peer_end(&mut self, conn: &mut Context<'_>) {
        self.hand_over(conn);
        self.inlet.push_event(Some(&self.lane), Kind::PeerEnd, String::new());
    }

    fn on_close(&mut self, conn: &mut Context<'_>, reason: &CloseReason) {
        self.hand_over(conn);
        let ended = Ended::of(reason, self.lane.fault());
        self.inlet.push_event(Some(&self.lane), Kind::Close, to_json(&ended));
    }
}

/// Bookkeeping of a message, in bytes; also what bounds empty ones.
const MESSAGE_COST: usize = 16;
/// From here on sharing memory is cheaper than copying it.
const SHARE_MIN: usize = 16 << 10;
/// As much as a receive buffer usually has.
const BATCH_BYTES: usize = 64 << 10;
const BATCH_MESSAGES: usize = 4096;
