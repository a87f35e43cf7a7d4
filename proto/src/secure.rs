//! The TLS side of one connection: what the outbox yields leaves as records, records become input.

use crate::chunk::ChunkPool;
use crate::local::ShardLocal;
use crate::outbox::Outbox;
use crate::tls::TlsFilter;
use crate::transmit::{Segment, Transmit};

/// A TLS connection between the outbox and the driver.
///
/// At most one submission is in flight, as without TLS. The outbox gets its plaintext back when all of its
/// ciphertext was taken, so its bounds and drains mean the same as without TLS.
///
/// Memory while something is being sent: the plaintext (at most [`PLAIN_MAX`] or one chunk) and its ciphertext.
#[derive(Debug)]
pub(crate) struct Secure {
    pub(crate) filter: TlsFilter,
    /// The plaintext whose ciphertext is on its way.
    plain: Option<Transmit>,
    /// The rest of a short submission.
    unsent: Option<Transmit>,
    in_flight: bool,
    /// Nothing follows any more: `close_notify` or a fatal alert was queued.
    ended: bool,
}

impl Secure {
    pub(crate) const fn new(filter: TlsFilter) -> Self {
        Self { filter, plain: None, unsent: None, in_flight: false, ended: false }
    }

    /// The next submission. When the connection is `ending` and everything has left, `close_notify` follows.
    pub(crate) fn poll_transmit(
        &mut self,
        outbox: &mut Outbox,
        bytes_max: usize,
        ending: bool,
        local: &mut ShardLocal,
    ) -> Option<Transmit> {
        if self.in_flight {
            return None;
        }
        if let Some(rest) = self.unsent.take() {
            self.in_flight = true;
            return Some(rest);
        }
        if !self.ended && !self.filter.is_handshaking() {
            self.plain = outbox.poll_transmit(bytes_max.min(PLAIN_MAX), local);
        }
        if ending && self.plain.is_none() && outbox.is_idle() && !self.ended {
            self.ended = true;
            self.filter.close_notify();
        }
        if self.plain.is_none() && !self.filter.wants_write() {
            return None;
        }
        let plain_len = self.plain.as_ref().map_or(0, Transmit::len);
        let mut records = local.pool.take(plain_len + plain_len / RECORD_LEN * RECORD_OVERHEAD + ROOM);
        if !self.encrypt(&mut records) {
            self.ended = true;
            if let Some(lost) = self.plain.take() {
                outbox.handle_transmitted(lost, 0, local);
            }
            outbox.clear(local);
        }
        if records.is_empty() {
            local.pool.give(records);
            return None;
        }
        let mut transmit = local.take_transmit();
        transmit.push(Segment::Chunk { buf: records, start: 0 });
        self.in_flight = true;
        Some(transmit)
    }

    /// The kernel took the first `n` bytes of the submission in flight.
    pub(crate) fn handle_transmitted(
        &mut self,
        outbox: &mut Outbox,
        mut transmit: Transmit,
        n: usize,
        local: &mut ShardLocal,
    ) {
        self.in_flight = false;
        transmit.advance(n);
        if !transmit.is_empty() {
            self.unsent = Some(transmit);
            return;
        }
        local.give_transmit(transmit);
        if let Some(plain) = self.plain.take() {
            let len = plain.len();
            outbox.handle_transmitted(plain, len, local);
        }
    }

    /// Nothing more is to be said: the fault's alert still leaves, `close_notify` does not follow it.
    pub(crate) const fn note_fault(&mut self) {
        self.ended = true;
    }

    /// Whether nothing of the outbox will leave any more.
    pub(crate) const fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether everything has left, the end included.
    pub(crate) fn is_flushed(&self) -> bool {
        self.ended
            && !self.in_flight
            && self.unsent.is_none()
            && self.plain.is_none()
            && !self.filter.wants_write()
    }

    /// Gives buffers back; a submission in flight is the driver's.
    pub(crate) fn clear(&mut self, local: &mut ShardLocal) {
        for transmit in [self.plain.take(), self.unsent.take()].into_iter().flatten() {
            local.give_transmit(transmit);
        }
    }

    /// Moves the plaintext through the cipher, and whatever else is to be said. False when the filter takes no
    /// more because of a fault of its own: the last it said is among the records.
    fn encrypt(&mut self, records: &mut Vec<u8>) -> bool {
        for segment in self.plain.iter().flat_map(Transmit::segments) {
            let mut rest = segment.as_slice();
            while !rest.is_empty() {
                let taken = self.filter.write(rest);
                self.filter.write_tls(records);
                if taken == 0 {
                    return false;
                }
                rest = rest.get(taken..).unwrap_or_default();
            }
        }
        self.filter.write_tls(records);
        true
    }
}

/// Plaintext of one submission: with its records it fits the largest recycled buffer.
const PLAIN_MAX: usize = ChunkPool::LARGEST / 2;
/// Longest plaintext of one TLS record (RFC 8446, section 5.1).
const RECORD_LEN: usize = 16 << 10;
/// What a record adds to its plaintext, at most: header, explicit nonce, padding, tag.
const RECORD_OVERHEAD: usize = 64;
/// Handshake flights, alerts and the last, shorter record.
const ROOM: usize = 1 << 10;

#[cfg(test)]
#[path = "secure_tests.rs"]
mod tests;
