//! The protocol state of one connection, without the handler that owns its messages.

use std::sync::Arc;
use std::time::Duration;

use crate::close::{Action, CloseReason, Phase};
use crate::config::Config;
use crate::decoder::Decoder;
use crate::held::Held;
use crate::id::ConnId;
use crate::local::ShardLocal;
use crate::outbox::Outbox;
use crate::peer::PeerInfo;
use crate::remote::Remote;
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
    discarded_bytes: u64,
    frame_clock: Option<FrameClock>,
    stalled_since: Option<Time>,
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
        Self {
            id,
            peer,
            config,
            decoder,
            outbox: Outbox::default(),
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
            discarded_bytes: 0,
            frame_clock: None,
            stalled_since: None,
        }
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

    pub(crate) fn resume(&mut self, why: u8) {
        self.pauses &= !why;
    }

    /// Begins a lingering close: what is queued still leaves, within `close_flush_timeout`.
    pub(crate) fn begin_close(&mut self, now: Time, reason: CloseReason) {
        if self.is_open() {
            self.reason = Some(reason);
            let deadline = now + self.config.limits.close_flush_timeout;
            self.phase = Phase::Flushing { deadline };
            self.frame_clock = None;
            self.stalled_since = None;
        }
    }

    /// Ends the connection at once; what is queued is lost.
    pub(crate) fn abort(&mut self, reason: CloseReason) {
        if !matches!(self.phase, Phase::Closed | Phase::Reported) {
            self.reason.get_or_insert(reason);
            self.phase = Phase::Closed;
            self.frame_clock = None;
            self.stalled_since = None;
        }
    }

    /// Input that arrived while the connection is ending is counted and dropped.
    pub(crate) fn discard(&mut self, len: usize) {
        self.discarded_bytes += len as u64;
        if self.discarded_bytes > self.config.limits.linger_bytes_max {
            self.abort(CloseReason::PeerClosed);
        }
    }

    /// The peer ended its stream. True when an open connection now has to end, once held data is delivered.
    pub(crate) fn note_eof(&mut self) {
        self.eof = true;
        if matches!(self.phase, Phase::Lingering { .. }) {
            self.phase = Phase::Closed;
        }
    }

    /// An open connection whose peer has ended and whose data is all delivered ends too. True once instead, when
    /// the handler is to be asked because half open connections are allowed.
    pub(crate) fn settle_eof(&mut self, now: Time) -> bool {
        if self.eof && self.is_open() && self.held.is_empty() {
            let truncated = self.decoder.is_mid_frame();
            if self.config.allow_half_open && !truncated {
                return !std::mem::replace(&mut self.half_open, true);
            }
            self.begin_close(
                now,
                if truncated { CloseReason::PeerTruncated } else { CloseReason::PeerClosed },
            );
        }
        false
    }

    /// What the driver must do next to end the connection, each action once.
    pub(crate) fn poll_action(&mut self, now: Time) -> Option<Action> {
        match self.phase {
            Phase::Flushing { .. } if self.outbox.is_idle() && self.eof => {
                self.phase = Phase::Reported;
                Some(Action::Close)
            }
            Phase::Flushing { .. } if self.outbox.is_idle() => {
                self.phase = Phase::Lingering { deadline: now + self.config.limits.linger_timeout };
                Some(Action::ShutdownWrite)
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

    /// Keeps the stall clock after the outbox changed; `progress` when the kernel took bytes.
    pub(crate) fn note_output(&mut self, now: Time, progress: bool) {
        if !self.outbox.is_backed_up() || !self.is_open() {
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
        self.outbox.poll_transmit(self.config.limits.transmit_bytes_max, local)
    }

    /// The earliest deadline of the connection.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        let limits = &self.config.limits;
        let stall = enabled(limits.stall_timeout).zip(self.stalled_since).map(|(limit, since)| since + limit);
        let frame = enabled(limits.frame_timeout).zip(self.frame_clock).map(|(limit, clock)| {
            let idle = clock.last_byte + limit;
            idle.min(self.slow_frame_deadline(clock, limit))
        });
        [self.phase.deadline(), stall, frame].into_iter().flatten().min()
    }

    /// Acts on every deadline that has passed, those included that only come of another one's action.
    pub(crate) fn handle_timeout(&mut self, now: Time) {
        while self.poll_timeout().is_some_and(|deadline| deadline <= now) {
            self.expire(now);
        }
    }

    /// Acts on one deadline that has passed; none of them is asked for again.
    fn expire(&mut self, now: Time) {
        if self.phase.deadline().is_some_and(|deadline| deadline <= now) {
            // The reason that began the close stands; the flush or the peer's FIN is given up.
            self.phase = Phase::Closed;
            return;
        }
        let stall = enabled(self.config.limits.stall_timeout).zip(self.stalled_since);
        if stall.is_some_and(|(limit, since)| since + limit <= now) {
            // The peer takes no bytes, so a flush could only wait for another deadline.
            self.abort(CloseReason::Stalled);
        } else {
            self.begin_close(now, CloseReason::FrameTimeout);
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
