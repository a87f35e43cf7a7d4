//! What the kernel took from the fuzzed session, checked against what was accepted.

use std::collections::{BTreeMap, BTreeSet};

use qwormhole_proto::{Framing, Priority, Transmit};

use super::player::{Accepted, Notes};

/// The outgoing wire as the peer would see it.
#[derive(Default)]
pub(super) struct Kernel {
    pub(super) in_flight: Option<Transmit>,
    /// Bytes of the frame that is not complete.
    partial: Vec<u8>,
    bytes: usize,
    /// Numbers of the messages that have left.
    left: BTreeSet<usize>,
    /// How many messages too short for a number have left, by length.
    short_left: BTreeMap<usize, usize>,
    /// The last message of each class.
    last: BTreeMap<(bool, Priority), usize>,
}

impl Kernel {
    /// The kernel takes `bytes`.
    pub(super) fn take(&mut self, bytes: &[u8], framing: Framing, notes: &Notes) {
        self.bytes += bytes.len();
        if framing == Framing::None {
            let accepted: usize = notes.accepted.iter().map(|message| message.payload.len()).sum();
            assert!(self.bytes <= accepted, "more bytes left than were accepted");
            return;
        }
        self.partial.extend_from_slice(bytes);
        while let Some((header, rest)) = self.partial.split_first_chunk::<4>() {
            let len = u32::from_be_bytes(*header) as usize;
            let Some(payload) = rest.get(..len) else { return };
            let payload = payload.to_vec();
            self.partial.drain(..4 + len);
            self.note_frame(&payload, &notes.accepted);
        }
    }

    fn note_frame(&mut self, payload: &[u8], accepted: &[Accepted]) {
        let Some((number, _)) = payload.split_first_chunk::<4>() else {
            let left = self.short_left.entry(payload.len()).or_default();
            *left += 1;
            let sent = accepted.iter().filter(|message| message.payload.len() == payload.len()).count();
            assert!(*left <= sent, "a short message left that was never accepted");
            return;
        };
        let number = u32::from_be_bytes(*number) as usize;
        let message = accepted.get(number).expect("a message left that was never accepted");
        assert!(message.payload == payload, "message {number} left changed");
        assert!(self.left.insert(number), "message {number} left twice");
        let last = self.last.insert((message.remote, message.priority), number);
        assert!(last < Some(number), "message {number} left after {last:?} of its class");
    }

    /// Checks that every message of `accepted` before `upto` has left; `remote` includes those of other threads.
    pub(super) fn assert_left(&self, accepted: &[Accepted], upto: usize, remote: bool) {
        for (number, message) in accepted.iter().enumerate().take(upto) {
            if message.payload.len() >= 4 && (remote || !message.remote) {
                assert!(self.left.contains(&number), "message {number} was accepted and never left");
            }
        }
    }
}
