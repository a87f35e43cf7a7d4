//! The protocol state of one connection, without the handler that owns its messages.

use std::sync::Arc;
use std::time::Duration;

use crate::close::{Action, CloseReason, Phase};
use crate::config::{Config, OverflowPolicy};
use crate::decoder::Decoder;
use crate::error::{SendError, SendErrorKind};
use crate::finishing::WriteEnd;
use crate::heartbeat::Pulse;
use crate::held::Held;
use crate::id::ConnId;
use crate::local::ShardLocal;
use crate::outbox::Outbox;
use crate::peer::PeerInfo;
use crate::priority::Priority;
use crate::remote::{Port, Remote};
use crate::secure::Secure;
use crate::stats::ConnectionStats;
use crate::time::Time;
use crate::transmit::Transmit;

/// Protocol state of one connection: decoder, outbox, limits, clocks and the way it ends.
///
/// Drivers own it through a [`Session`](crate::Session), handlers see it through a
/// [`Context`](crate::Context).
#[derive(Debug)]
pub struct Connection {
    pub(crate) id: ConnId,
    pub(crate) peer: PeerInfo,
    pub(crate) config: Arc<Config>,
    pub(crate) decoder: Decoder,
    pub(crate) outbox: Outbox,
    /// Between the outbox and the driver, with TLS.
    pub(crate) secure: Option<Box<Secure>>,
    pub(crate) held: Held,
    pub(crate) stats: ConnectionStats,
    pub(crate) remote: Option<Arc<Remote>>,
    /// Other threads staged messages that wait for the outbox to drain.
    pub(crate) remote_waits: bool,
    /// Other threads were told that the end has begun.
    pub(crate) remote_ended: bool,
    /// The last flush mark that other threads were told about.
    pub(crate) flushed_told: u64,
    phase: Phase,
    reason: Option<CloseReason>,
    /// Why reading is paused; zero means it is not.
    pauses: u8,
    eof: bool,
    /// The handler was told of the end of input and keeps its own side.
    half_open: bool,
    /// How far this side's half is from its end, while the connection is open.
    pub(crate) write_end: WriteEnd,
    discarded_bytes: u64,
    frame_clock: Option<FrameClock>,
    stalled_since: Option<Time>,
    /// When a byte last moved; `None` before the connection opened.
    active_at: Option<Time>,
    pulse: Option<Pulse>,
}

/// When the unfinished frame began and last grew.
#[derive(Clone, Copy, Debug)]
struct FrameClock {
    started: Time,
    last_byte: Time,
}

impl Connection {
    /// A connection whose transport is established.
    pub fn new(id: ConnId, peer: PeerInfo, config: Arc<Config>) -> Self {
        let decoder = Decoder::new(config.framing, config.limits.max_frame_len);
        let outbox = Outbox::new(&config);
        Self {
            id,
            peer,
            config,
            decoder,
            outbox,
            secure: None,
            held: Held::default(),
            stats: ConnectionStats::default(),
            remote: None,
            remote_waits: false,
            remote_ended: false,
            flushed_told: 0,
            phase: Phase::Open,
            reason: None,
            pauses: 0,
            eof: false,
            half_open: false,
            write_end: WriteEnd::Open,
            discarded_bytes: 0,
            frame_clock: None,
            stalled_since: None,
            active_at: None,
            pulse: None,
        }
    }

    /// The connection opens: it can be idle from now on, and heartbeats begin.
    pub(crate) fn start_clocks(&mut self, now: Time) {
        self.active_at = Some(now);
        let heartbeat = self.config.heartbeat.as_ref();
        self.pulse = heartbeat.map(|heartbeat| Pulse { due: now + heartbeat.interval, unsent: false });
    }

    /// The connection's id.
    pub const fn id(&self) -> ConnId {
        self.id
    }

    /// Counters since the connection opened.
    pub const fn stats(&self) -> &ConnectionStats {
        &self.stats
    }

    /// Wire bytes accepted and not yet taken by the kernel.
    pub fn queued_bytes(&self) -> usize {
        self.outbox.bytes()
    }

    /// Why the connection ends, once it does.
    pub const fn close_reason(&self) -> Option<&CloseReason> {
        self.reason.as_ref()
    }

    /// Whether messages flow, that is, no end has begun.
    pub const fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// Whether the handler was told of the peer's end and keeps this side's half.
    pub(crate) const fn is_half_open(&self) -> bool {
        self.half_open && self.is_open()
    }

    /// Whether messages may be handed to the handler now.
    #[inline]
    pub(crate) const fn is_delivering(&self) -> bool {
        self.pauses == 0 && self.is_open()
    }

    /// Whether the driver should read from the transport.
    pub const fn wants_read(&self) -> bool {
        match self.phase {
            Phase::Open => self.pauses == 0 && !self.eof,
            Phase::Flushing { .. } | Phase::Lingering { .. } => !self.eof,
            Phase::Closed | Phase::Reported => false,
        }
    }

    pub(crate) fn pause(&mut self, why: u8) {
        self.pauses |= why;
        self.frame_clock = None;
    }

    pub(crate) fn resume(&mut self, why: u8, now: Time) {
        self.pauses &= !why;
        self.note_activity(now);
    }

    /// A byte moved, or this side no longer keeps it from moving.
    pub(crate) const fn note_activity(&mut self, now: Time) {
        if self.active_at.is_some() {
            self.active_at = Some(now);
        }
    }

    /// Begins a lingering close: what is queued still leaves, within `close_flush_timeout`.
    pub(crate) fn begin_close(&mut self, now: Time, reason: CloseReason) {
        if self.is_open() {
            self.reason = Some(reason);
            let deadline = now + self.config.limits.close_flush_timeout;
            self.phase = Phase::Flushing { deadline };
            self.outbox.seal();
            self.frame_clock = None;
            self.stalled_since = None;
        }
    }

    /// Ends the connection at once; what is queued is lost.
    pub(crate) fn abort(&mut self, reason: CloseReason) {
        if !matches!(self.phase, Phase::Closed | Phase::Reported) {
            self.reason.get_or_insert(reason);
            self.phase = Phase::Closed;
            self.outbox.seal();
            self.frame_clock = None;
            self.stalled_since = None;
        }
    }

    /// What a refused message means: with [`OverflowPolicy::Close`] a full outbox ends the connection.
    #[cold]
    pub(crate) fn refuse<P>(&mut self, refused: SendError<P>) -> SendError<P> {
        if self.config.overflow != OverflowPolicy::Close || !refused.is_retryable() {
            return refused;
        }
        self.abort(CloseReason::Backpressure);
        SendError { kind: SendErrorKind::Closed(CloseReason::Backpressure), ..refused }
    }

    /// Input that arrived while the connection is ending is counted and dropped.
    pub(crate) fn discard(&mut self, len: usize) {
        self.discarded_bytes += len as u64;
        if self.discarded_bytes > self.config.limits.linger_bytes_max {
            self.abort(CloseReason::PeerClosed);
        }
    }

    /// The peer ended its stream: the connection has to end too, once held data is delivered.
    pub(crate) fn note_eof(&mut self) {
        self.eof = true;
        if matches!(self.phase, Phase::Lingering { .. }) {
            self.phase = Phase::Closed;
        }
    }

    /// A connection whose peer has ended and whose data is all delivered ends too, `truncated` or not. True once
    /// instead, when it `may_stay` half open.
    pub(crate) fn settle_eof(&mut self, now: Time, may_stay: bool, truncated: bool) -> bool {
        if self.eof && self.is_open() && self.held.is_empty() {
            let cut = self.secure.as_ref().and_then(|secure| secure.filter.handle_eof().err());
            let reason = match cut {
                Some(fault) => CloseReason::Tls(fault),
                None if truncated || self.decoder.is_mid_frame() => CloseReason::PeerTruncated,
                None if may_stay && self.write_end == WriteEnd::Open => {
                    return !std::mem::replace(&mut self.half_open, true);
                }
                None => CloseReason::PeerClosed,
            };
            self.begin_close(now, reason);
        }
        false
    }

    /// What the driver must do next to end the connection, each action once.
    pub(crate) fn poll_action(&mut self, now: Time) -> Option<Action> {
        match self.phase {
            Phase::Open => self.take_finish().then_some(Action::ShutdownWrite),
            Phase::Flushing { .. } if self.is_flushed() && self.eof => {
                self.phase = Phase::Reported;
                Some(Action::Close)
            }
            Phase::Flushing { .. } if self.is_flushed() => {
                self.phase = Phase::Lingering { deadline: now + self.config.limits.linger_timeout };
                (self.write_end != WriteEnd::Told).then_some(Action::ShutdownWrite)
            }
            Phase::Closed => {
                self.phase = Phase::Reported;
                Some(Action::Close)
            }
            _ => None,
        }
    }

    /// Keeps the clock of an unfinished frame after input was decoded; `new_frame` when at least one frame
    /// was completed, so that the unfinished one is another.
    pub(crate) fn note_input(&mut self, now: Time, new_frame: bool) {
        if !self.decoder.is_mid_frame() || !self.is_delivering() {
            self.frame_clock = None;
            return;
        }
        let started = self.frame_clock.filter(|_| !new_frame).map_or(now, |clock| clock.started);
        self.frame_clock = Some(FrameClock { started, last_byte: now });
    }

    /// Starts the clock of an unfinished frame whose delivery was paused and goes on.
    pub(crate) fn restart_frame_clock(&mut self, now: Time) {
        if self.frame_clock.is_none() {
            self.note_input(now, false);
        }
    }

    /// Keeps the clocks after the outbox changed; `progress` when the kernel took bytes. What waits for our own
    /// rate limit is not the peer's fault.
    pub(crate) fn note_output(&mut self, now: Time, progress: bool) {
        if progress {
            self.note_activity(now);
            if let Some(pulse) = &mut self.pulse {
                pulse.unsent = pulse.unsent && self.outbox.holds(Priority::HEARTBEAT);
            }
        }
        if !self.outbox.is_backed_up() || !self.is_open() || self.outbox.wakes_at().is_some() {
            self.stalled_since = None;
        } else if progress || self.stalled_since.is_none() {
            self.stalled_since = Some(now);
        }
    }

    /// The next submission, at most one in flight; `None` once the connection was cut.
    pub(crate) fn poll_transmit(&mut self, local: &mut ShardLocal) -> Option<Transmit> {
        if matches!(self.phase, Phase::Closed | Phase::Reported | Phase::Lingering { .. }) {
            return None;
        }
        let bytes_max = self.config.limits.transmit_bytes_max.min(local.slicer.bytes());
        let ending = self.is_write_ending();
        let transmit = match &mut self.secure {
            None => self.outbox.poll_transmit(bytes_max, local),
            Some(secure) => secure.poll_transmit(&mut self.outbox, bytes_max, ending, local),
        };
        if self.is_open()
            && let Some(fault) = self.secure.as_ref().and_then(|secure| secure.filter.fault())
        {
            // Keys that are used up: it shows while writing.
            let reason = CloseReason::Tls(fault.clone());
            self.begin_close(local.now, reason);
        }
        if self.outbox.is_paced() {
            self.note_output(local.now, false);
        }
        if let Some(transmit) = &transmit {
            let cut = transmit.len() >= bytes_max && self.outbox.has_queued();
            local.slicer.note_submission(self.id, transmit.len(), cut);
        }
        transmit
    }

    /// The kernel took the first `n` bytes of the submission in flight.
    pub(crate) fn handle_transmitted(&mut self, transmit: Transmit, n: usize, local: &mut ShardLocal) {
        match &mut self.secure {
            None => self.outbox.handle_transmitted(transmit, n, local),
            Some(secure) => secure.handle_transmitted(&mut self.outbox, transmit, n, local),
        }
    }

    /// What other threads share with this connection; made by the first who asks.
    pub(crate) fn remote(&mut self, port: &Arc<dyn Port>) -> Arc<Remote> {
        let make = || Remote::new(self.id, port.clone(), &self.config);
        self.remote.get_or_insert_with(make).clone()
    }

    pub(crate) fn is_flushed(&self) -> bool {
        self.outbox.is_idle() && self.secure.as_ref().is_none_or(|secure| secure.is_flushed())
    }

    /// The earliest deadline of the connection.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        let limits = &self.config.limits;
        let stall = enabled(limits.stall_timeout).zip(self.stalled_since).map(|(limit, since)| since + limit);
        let frame = enabled(limits.frame_timeout).zip(self.frame_clock).map(|(limit, clock)| {
            let idle = clock.last_byte + limit;
            idle.min(self.slow_frame_deadline(clock, limit))
        });
        [
            self.phase.deadline(),
            stall,
            frame,
            self.wake_deadline(),
            self.pulse_deadline(),
            self.idle_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// When the rate limit lets the next frame leave.
    fn wake_deadline(&self) -> Option<Time> {
        let flows = matches!(self.phase, Phase::Open | Phase::Flushing { .. });
        self.outbox.wakes_at().filter(|_| flows)
    }

    fn pulse_deadline(&self) -> Option<Time> {
        self.pulse.filter(|_| self.is_open()).map(|pulse| pulse.due)
    }

    fn idle_deadline(&self) -> Option<Time> {
        let limit = enabled(self.config.limits.idle_timeout)?;
        let held_back = self.pauses & PAUSE_USER != 0 || self.outbox.wakes_at().is_some();
        self.active_at.filter(|_| self.is_open() && !held_back).map(|since| since + limit)
    }

    /// Acts on every deadline that has passed, those included that only come of another one's action.
    pub(crate) fn handle_timeout(&mut self, local: &mut ShardLocal) {
        while self.poll_timeout().is_some_and(|deadline| deadline <= local.now) {
            self.expire(local);
        }
    }

    /// Acts on one deadline that has passed; none of them is asked for again.
    fn expire(&mut self, local: &mut ShardLocal) {
        let now = local.now;
        let due = |deadline: Option<Time>| deadline.is_some_and(|deadline| deadline <= now);
        if due(self.phase.deadline()) {
            // The reason that began the close stands; the flush or the peer's FIN is given up.
            self.phase = Phase::Closed;
            return;
        }
        let stall = enabled(self.config.limits.stall_timeout).zip(self.stalled_since);
        if stall.is_some_and(|(limit, since)| since + limit <= now) {
            // The peer takes no bytes, so a flush could only wait for another deadline.
            self.abort(CloseReason::Stalled);
        } else if due(self.wake_deadline()) {
            // The driver asks for a submission next and finds the frame.
            self.outbox.wake();
            self.note_activity(now);
        } else if due(self.pulse_deadline()) {
            self.beat(local);
        } else if due(self.idle_deadline()) {
            self.begin_close(now, CloseReason::IdleTimeout);
        } else {
            self.begin_close(now, CloseReason::FrameTimeout);
        }
    }

    /// Queues a heartbeat, unless the last one still waits or there is no room for it.
    fn beat(&mut self, local: &mut ShardLocal) {
        let config = self.config.clone();
        let (Some(heartbeat), Some(pulse)) = (&config.heartbeat, &mut self.pulse) else { return };
        pulse.advance(local.now, heartbeat.interval);
        if pulse.unsent || self.write_end != WriteEnd::Open {
            return;
        }
        let accepted = heartbeat.payload.with_bytes(local.unix_ms(), |payload| {
            self.outbox.has_room(&config.limits, payload.len())
                && self.outbox.push(&config, Priority::HEARTBEAT, payload, local).is_ok()
        });
        if accepted {
            pulse.unsent = true;
            self.stats.messages_out += 1;
            local.stats.messages_out += 1;
            self.note_output(local.now, false);
        }
    }

    /// When the frame will be older than the limit and slower than the least rate, at its present size.
    fn slow_frame_deadline(&self, clock: FrameClock, limit: Duration) -> Time {
        let rate = u64::from(self.config.limits.frame_bytes_per_s_min);
        let Some(earned_ms) = (self.decoder.partial_len() as u64 * 1000).checked_div(rate) else {
            return Time::from_nanos(u64::MAX);
        };
        clock.started + limit.max(Duration::from_millis(earned_ms))
    }
}

/// `Duration::ZERO` switches a timeout off.
fn enabled(timeout: Duration) -> Option<Duration> {
    (timeout != Duration::ZERO).then_some(timeout)
}

/// The user, or the async handle, asked for a pause.
pub(crate) const PAUSE_USER: u8 = 1;
/// Replies filled the outbox; lifted by the drain.
pub(crate) const PAUSE_REPLY: u8 = 2;
/// The connection is not open yet, and nothing more is to be read until it is.
pub(crate) const PAUSE_OPENING: u8 = 4;
