//! What a connection has accepted and not yet handed to the kernel.

use std::mem;

use bytes::Bytes;

use crate::config::{Config, Framing};
use crate::encoder::FRAME_HEADER_LEN;
use crate::error::{SendError, SendErrorKind};
use crate::limits::Limits;
use crate::local::ShardLocal;
use crate::pacer::Pacer;
use crate::payload::Payload;
use crate::priority::Priority;
use crate::queue::{COPY_MAX, FrameQueue};
use crate::time::Time;
use crate::transmit::Transmit;

/// Outbound frames of one connection: bounded, in priority order, at most one submission in flight.
///
/// Watermarks: whoever pushed the outbox to its high watermark or was refused is owed exactly one drain,
/// reported by [`Outbox::take_drain`] when enough has left.
#[derive(Debug, Default)]
pub struct Outbox {
    queue: FrameQueue,
    /// The rest of a short submission; leaves before anything else.
    unsent: Option<Transmit>,
    in_flight_bytes: usize,
    in_flight: bool,
    /// A drain is owed once the outbox holds at most this much.
    drain_at: Option<usize>,
    /// Wire bytes that may be accepted before a bound or a watermark has to be looked at again.
    quick: usize,
    /// Highest flush mark inside the submission in flight or its unsent rest.
    mark_in_flight: Option<u64>,
    flushed: u64,
    framing: Framing,
    /// Only with a rate limit.
    pacer: Option<Box<Pacer>>,
}

impl Outbox {
    /// An empty outbox for a connection with `config`; `Outbox::default()` is one with length prefixes and without a
    /// rate limit.
    pub fn new(config: &Config) -> Self {
        let pacer = config.rate_limit.map(|limit| Box::new(Pacer::new(limit)));
        Self { framing: config.framing, pacer, ..Self::default() }
    }

    /// Wire bytes accepted and not yet taken by the kernel.
    pub fn bytes(&self) -> usize {
        self.queue.bytes() + self.in_flight_bytes
    }

    /// Whether nothing waits and nothing is in flight.
    pub fn is_idle(&self) -> bool {
        self.in_flight_bytes == 0 && !self.in_flight && self.queue.is_empty()
    }

    /// Whether anything waits behind what is in flight.
    pub(crate) fn has_queued(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Whether a drain is owed.
    pub const fn is_backed_up(&self) -> bool {
        self.drain_at.is_some()
    }

    /// Accepts one short message behind the last one if nothing has to be looked at for it: a few dozen
    /// instructions. False when nothing happened; [`Outbox::push`] and [`Outbox::push_over`] then decide.
    #[inline]
    pub fn push_quick(&mut self, payload: &[u8]) -> bool {
        let fits = payload.len() <= COPY_MAX && FRAME_HEADER_LEN + payload.len() <= self.quick;
        let accepted = fits && self.queue.push_quick(payload);
        if accepted {
            self.quick -= FRAME_HEADER_LEN + payload.len();
        }
        accepted
    }

    /// Until the next message is accepted in another way, none is accepted by [`Outbox::push_quick`]. Whoever may accept
    /// no more calls this once and asks before any other way.
    pub(crate) const fn seal(&mut self) {
        self.quick = 0;
    }

    /// Accepts one message within the bounds of `config`.
    ///
    /// # Errors
    ///
    /// Gives the message back when it is too large or the outbox is full; a full outbox owes a drain.
    pub fn push<P: Payload>(
        &mut self,
        config: &Config,
        priority: Priority,
        payload: P,
        local: &mut ShardLocal,
    ) -> Result<(), SendError<P>> {
        let limits = &config.limits;
        let len = payload.as_bytes().len();
        if let Err(kind) = check_len(limits.max_send_frame_len, len) {
            return Err(SendError { kind, payload });
        }
        let cost = self.cost();
        if cost + len + FRAME_HEADER_LEN > limits.max_backpressure_bytes && !self.is_idle() {
            self.quick = 0;
            let is_new = self.owe_drain(limits.low_watermark_bytes.min(cost / 2));
            local.stats.backpressure_events += u64::from(is_new);
            return Err(SendError { kind: SendErrorKind::Full, payload });
        }
        self.accept(config, priority, payload, local);
        Ok(())
    }

    /// Accepts one message whatever the outbox holds. The caller bounds how often: it stops reading the input
    /// that makes it send.
    ///
    /// # Errors
    ///
    /// Gives the message back when it is longer than `max_send_frame_len`.
    pub fn push_over<P: Payload>(
        &mut self,
        config: &Config,
        priority: Priority,
        payload: P,
        local: &mut ShardLocal,
    ) -> Result<(), SendError<P>> {
        match check_len(config.limits.max_send_frame_len, payload.as_bytes().len()) {
            Ok(()) => self.accept(config, priority, payload, local),
            Err(kind) => return Err(SendError { kind, payload }),
        }
        Ok(())
    }

    /// By how much a frame of `len` wire bytes is too much for the bound now; 0 when it has room.
    pub(crate) fn excess(&self, limits: &Limits, len: usize) -> usize {
        if self.is_idle() { 0 } else { (self.cost() + len).saturating_sub(limits.max_backpressure_bytes) }
    }

    /// Accepts one frame that is shared with other connections; the caller has looked at
    /// [`Outbox::excess`].
    pub(crate) fn push_shared(
        &mut self,
        config: &Config,
        priority: Priority,
        frame: Bytes,
        local: &mut ShardLocal,
    ) {
        self.queue.push_shared(priority, frame);
        self.quick = 0;
        local.stats.backpressure_events += u64::from(self.note_level(&config.limits));
    }

    /// Drops shared frames that wait, as [`FrameQueue::drop_shared`] says. Returns how many.
    pub(crate) fn drop_shared(&mut self, priority: Priority, excess: usize) -> u64 {
        self.queue.drop_shared(priority, excess)
    }

    /// Makes room for one frame, so that the first broadcast finds it.
    pub(crate) fn stock(&mut self) {
        self.queue.stock();
    }

    /// Takes over what other threads staged; the caller looks whether the outbox is backed up since.
    pub(crate) fn append(&mut self, staged: &mut FrameQueue, limits: &Limits) {
        if !staged.is_empty() {
            self.queue.append(staged);
            self.quick = 0;
        }
        self.note_level(limits);
    }

    /// Asks that [`Outbox::flushed`] reaches `mark` when everything accepted so far was taken by the kernel.
    pub(crate) fn mark(&mut self, mark: u64) {
        if !self.queue.is_empty() {
            self.queue.mark(mark);
            self.quick = 0;
        } else if self.in_flight || self.unsent.is_some() {
            self.mark_in_flight = Some(mark);
        } else {
            self.flushed = mark;
        }
    }

    /// The highest mark before which everything was taken by the kernel.
    pub(crate) const fn flushed(&self) -> u64 {
        self.flushed
    }

    /// The next submission of at most about `bytes_max` bytes (a chunk of up to 64 KiB is not split), or
    /// `None` while one is in flight, nothing waits or the rate limit allows nothing yet ([`Outbox::wakes_at`]).
    pub fn poll_transmit(&mut self, bytes_max: usize, local: &mut ShardLocal) -> Option<Transmit> {
        if self.in_flight {
            return None;
        }
        let transmit = match self.unsent.take() {
            Some(rest) => rest,
            None if self.pacer.is_some() || local.slicer.frames_max().is_some() => {
                self.choose_within(bytes_max, local)?
            }
            None if self.queue.is_empty() => return None,
            None => {
                let mut transmit = local.take_transmit();
                self.mark_in_flight = self.mark_in_flight.max(self.queue.pop_into(&mut transmit, bytes_max));
                self.in_flight_bytes = transmit.len();
                transmit
            }
        };
        self.in_flight = true;
        Some(transmit)
    }

    /// The kernel took the first `n` bytes of the submission in flight; the rest goes out next.
    pub fn handle_transmitted(&mut self, mut transmit: Transmit, n: usize, local: &mut ShardLocal) {
        self.in_flight = false;
        if let Some(pacer) = &mut self.pacer {
            pacer.charge(local.now, n.min(transmit.len()));
        }
        transmit.advance(n);
        self.in_flight_bytes = transmit.len();
        if transmit.is_empty() {
            local.give_transmit(transmit);
            self.settle_marks();
        } else {
            self.unsent = Some(transmit);
        }
    }

    /// When the rate limit lets the next frame leave; `None` when nothing waits for it. The driver's next
    /// [`Outbox::poll_transmit`] after that moment finds the frame.
    pub fn wakes_at(&self) -> Option<Time> {
        self.pacer.as_ref().and_then(|pacer| pacer.wakes_at())
    }

    /// The moment of [`Outbox::wakes_at`] has come.
    pub(crate) fn wake(&mut self) {
        if let Some(pacer) = &mut self.pacer {
            pacer.wake();
        }
    }

    /// Whether a rate limit applies.
    pub(crate) const fn is_paced(&self) -> bool {
        self.pacer.is_some()
    }

    /// Whether a message of `len` bytes would be accepted now.
    pub(crate) fn has_room(&self, limits: &Limits, len: usize) -> bool {
        self.is_idle() || self.cost() + len + FRAME_HEADER_LEN <= limits.max_backpressure_bytes
    }

    /// Whether frames of `priority`, which is not the default, have not left completely.
    pub(crate) fn holds(&self, priority: Priority) -> bool {
        self.in_flight || self.unsent.is_some() || self.queue.has_lane(priority)
    }

    /// True exactly once per crossing back under the low watermark (or after a refusal).
    pub fn take_drain(&mut self) -> bool {
        let due = self.drain_at.is_some_and(|level| self.cost() <= level);
        if due {
            self.drain_at = None;
            self.quick = 0;
        }
        due
    }

    /// Drops everything that is not in flight.
    pub fn clear(&mut self, local: &mut ShardLocal) {
        self.queue.clear(&mut local.pool);
        if let Some(rest) = self.unsent.take() {
            local.give_transmit(rest);
        }
        self.in_flight_bytes = 0;
        self.drain_at = None;
        self.quick = 0;
    }

    pub(crate) fn cost(&self) -> usize {
        self.queue.cost() + self.in_flight_bytes
    }

    fn accept<P: Payload>(
        &mut self,
        config: &Config,
        priority: Priority,
        payload: P,
        local: &mut ShardLocal,
    ) {
        self.queue.push(config.framing, priority, payload, &mut local.pool);
        local.stats.backpressure_events += u64::from(self.note_level(&config.limits));
        self.quick = self.quick_bytes(config);
    }

    /// How much can be accepted without a look: up to the next bound, and nothing where each frame needs one.
    fn quick_bytes(&self, config: &Config) -> usize {
        let limits = &config.limits;
        let plain = config.framing == Framing::LengthPrefixed && self.pacer.is_none();
        if !plain || (limits.max_send_frame_len as usize) < COPY_MAX {
            return 0;
        }
        // Reaching the high watermark is a crossing; the bound itself may be reached.
        let bound = match self.drain_at {
            None => limits.high_watermark_bytes - 1,
            Some(_) => limits.max_backpressure_bytes,
        };
        bound.saturating_sub(self.cost())
    }

    /// True when the high watermark is reached and no drain was owed before.
    fn note_level(&mut self, limits: &Limits) -> bool {
        let crossed = self.drain_at.is_none() && self.cost() >= limits.high_watermark_bytes;
        if crossed {
            self.drain_at = Some(limits.low_watermark_bytes);
        }
        crossed
    }

    /// The next submission where tokens or the number of frames are limited.
    fn choose_within(&mut self, bytes_max: usize, local: &mut ShardLocal) -> Option<Transmit> {
        if self.queue.is_empty() {
            self.pacer.iter_mut().for_each(|pacer| pacer.rest());
            return None;
        }
        let mut transmit = local.take_transmit();
        let allowance = self.pacer.as_mut().map(|pacer| pacer.allowance(local.now)).unwrap_or_default();
        let mut allowance = allowance.with_frames(local.slicer.frames_max().unwrap_or(u32::MAX));
        let mark =
            self.queue.pop_within(self.framing, &mut transmit, bytes_max, &mut allowance, &mut local.pool);
        if let Some(pacer) = &mut self.pacer {
            pacer.note_choice(allowance.refused(), transmit.is_empty());
        }
        self.mark_in_flight = self.mark_in_flight.max(mark);
        self.in_flight_bytes = transmit.len();
        if transmit.is_empty() {
            local.give_transmit(transmit);
            self.settle_marks();
            return None;
        }
        Some(transmit)
    }

    /// True when no drain was owed before.
    fn owe_drain(&mut self, level: usize) -> bool {
        let is_new = self.drain_at.is_none();
        self.drain_at = Some(self.drain_at.map_or(level, |owed| owed.min(level)));
        is_new
    }

    fn settle_marks(&mut self) {
        if let Some(mark) = mem::take(&mut self.mark_in_flight) {
            self.flushed = self.flushed.max(mark);
        }
    }
}

/// Checks a payload against the sender's own limit.
pub(crate) fn check_len(limit: u32, len: usize) -> Result<(), SendErrorKind> {
    if len > limit as usize {
        return Err(SendErrorKind::TooLarge { len, limit });
    }
    Ok(())
}

/// Wire bytes of a payload.
pub(crate) const fn wire_len(framing: Framing, len: usize) -> usize {
    match framing {
        Framing::LengthPrefixed => FRAME_HEADER_LEN + len,
        Framing::None => len,
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
