//! How much of one connection's output is submitted before the others get their turn.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::id::ConnId;
use crate::time::Time;

/// How the length of a slice is chosen: what one connection may submit at once. A frame is never mixed with
/// others; a slice bounds how long others wait while a large one leaves.
///
/// [`Limits::transmit_bytes_max`](crate::Limits::transmit_bytes_max) bounds every slice, whatever is chosen here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Slicing {
    /// By measurement; at present the same as [`Slicing::Aggressive`].
    #[default]
    Auto,
    /// No slices: `transmit_bytes_max` alone bounds a submission.
    Off,
    /// By measurement, from 64 to 256 KiB.
    Guarded,
    /// By measurement, from 16 to 256 KiB.
    Aggressive,
    /// As many bytes as this, at least 4,096; short messages leave by buffers of up to 64 KiB, which are not cut.
    Fixed(u32),
    /// As many frames as this, at least one, if they are not longer than `transmit_bytes_max`; without framing, no
    /// number. Each submission then copies what is short: to reproduce what another implementation sends, not for
    /// speed.
    Frames(u32),
}

impl Slicing {
    /// The bounds between which the law may choose; equal ones leave it no choice.
    const fn bounds(self) -> (usize, usize) {
        match self {
            Self::Off | Self::Frames(_) => (usize::MAX, usize::MAX),
            Self::Guarded => (GUARDED_MIN, SLICE_MAX),
            Self::Auto | Self::Aggressive => (SLICE_MIN, SLICE_MAX),
            Self::Fixed(bytes) if (bytes as usize) < FIXED_MIN => (FIXED_MIN, FIXED_MIN),
            Self::Fixed(bytes) => (bytes as usize, bytes as usize),
        }
    }
}

impl FromStr for Slicing {
    type Err = UnknownSlicing;

    fn from_str(text: &str) -> Result<Self, UnknownSlicing> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            "guarded" => Ok(Self::Guarded),
            "aggressive" => Ok(Self::Aggressive),
            _ => Err(UnknownSlicing),
        }
    }
}

/// A name that is not one of a way to slice: `off`, `guarded`, `aggressive` or `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownSlicing;

impl fmt::Display for UnknownSlicing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be one of off, guarded, aggressive, auto")
    }
}

impl std::error::Error for UnknownSlicing {}

/// The law behind [`Slicing`], one per shard. Pure: the driver tells it what was submitted and how long that took.
///
/// Who has a short message to send waits while the shard hands over one slice of every connection that has more.
/// The law keeps that round short: once a millisecond it halves the slices if a round took more than its target, and
/// doubles them if it took less than a quarter. The target is 100 µs if anybody else had something to send in the
/// last 100 ms, and 1 ms otherwise. Being measured at the goal itself, it needs no model of the machine, and its dead
/// band is wider than a step, so that it comes to rest. It is a target, not a promise: with many large senders the
/// shortest slices still add up.
///
/// Measurements that cannot be true (no time at all, or more than a second) suspend the law for a second, in which
/// slices are 128 KiB long; old ones are not used.
#[derive(Clone, Debug)]
pub struct Slicer {
    bounds: (usize, usize),
    frames_max: Option<u32>,
    bytes: usize,
    tick: Tick,
    suspended_until: Time,
    company_until: Time,
    stats: SlicerStats,
}

/// What the law has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlicerStats {
    /// Times that the length of a slice changed.
    pub changes: u64,
    /// Measurements that could not be true.
    pub doubts: u64,
}

/// What is gathered between two steps of the law.
#[derive(Clone, Debug, Default)]
struct Tick {
    begun: Time,
    /// Large submissions not handed over yet, those being handed over, and those whose time is part of `busy`.
    queued: u32,
    timed: u32,
    handed_over: u32,
    busy: Duration,
    /// Connections that had more than a slice to send, and those that had not; one bit for every 64th slot, which
    /// counts up to a few dozen well enough.
    cut: u64,
    whole: u64,
}

impl Slicer {
    /// A slicer that has not measured anything.
    pub fn new(slicing: Slicing) -> Self {
        let bounds = slicing.bounds();
        let frames_max = match slicing {
            Slicing::Frames(frames) => Some(if frames == 0 { 1 } else { frames }),
            _ => None,
        };
        Self {
            bounds,
            frames_max,
            bytes: SLICE_DEFAULT.clamp(bounds.0, bounds.1),
            tick: Tick::default(),
            suspended_until: Time::ZERO,
            company_until: Time::ZERO,
            stats: SlicerStats::default(),
        }
    }

    /// The most that one submission should carry now.
    #[inline]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The most frames that one submission may carry, if they are counted at all.
    #[inline]
    pub(crate) const fn frames_max(&self) -> Option<u32> {
        self.frames_max
    }

    /// What the law has done so far.
    pub const fn stats(&self) -> SlicerStats {
        self.stats
    }

    /// A connection submits `len` bytes; `cut` when it had more than a slice.
    #[inline]
    pub const fn note_submission(&mut self, id: ConnId, len: usize, cut: bool) {
        let bit = 1 << (id.slot() % u64::BITS);
        if cut {
            self.tick.cut |= bit;
        } else {
            self.tick.whole |= bit;
        }
        if len >= SLICE_MIN {
            self.tick.queued += 1;
        }
    }

    /// What was submitted since the last call is handed over now; whether the driver should time that. Short messages
    /// cost no clock reading.
    #[inline]
    pub const fn begin_hand_over(&mut self) -> bool {
        self.tick.timed = self.tick.queued;
        self.tick.queued = 0;
        self.tick.timed > 0 && self.bounds.0 != self.bounds.1
    }

    /// The transport takes nothing now: what was to be handed over is handed over later.
    pub const fn put_off(&mut self) {
        self.tick.queued += self.tick.timed;
        self.tick.timed = 0;
    }

    /// It has been handed over, which took `busy`.
    pub fn note_handed_over(&mut self, now: Time, busy: Duration) {
        self.tick.handed_over += std::mem::take(&mut self.tick.timed);
        self.tick.busy = self.tick.busy.saturating_add(busy);
        if now.saturating_since(self.tick.begun) >= TICK {
            self.step(now);
        }
    }

    /// One step of the law, at the end of a tick with measurements.
    fn step(&mut self, now: Time) {
        let tick = std::mem::replace(&mut self.tick, Tick { begun: now, ..Tick::default() });
        if now.saturating_since(tick.begun).saturating_sub(tick.busy) > TICK_STALE {
            return;
        }
        if tick.busy.is_zero() || tick.busy > BUSY_MAX {
            self.stats.doubts += 1;
            self.suspended_until = now + SUSPENSION;
        }
        if (tick.cut | tick.whole).count_ones() > 1 {
            self.company_until = now + COMPANY;
        }
        let wanted = if now < self.suspended_until { SLICE_DEFAULT } else { self.wanted(now, &tick) };
        self.set(wanted.clamp(self.bounds.0, self.bounds.1));
    }

    /// What the rounds of a tick ask for.
    fn wanted(&self, now: Time, tick: &Tick) -> usize {
        let senders = tick.cut.count_ones();
        let target = if now < self.company_until { TARGET_SHARED } else { TARGET_ALONE };
        let round = tick.busy.saturating_mul(senders.max(1)) / tick.handed_over.max(1);
        if round > target {
            self.bytes / 2
        } else if round < target / 4 && senders > 0 {
            self.bytes.saturating_mul(2)
        } else {
            self.bytes
        }
    }

    fn set(&mut self, wanted: usize) {
        let bytes = wanted.clamp(self.bytes / 2, self.bytes.saturating_mul(2));
        if bytes != self.bytes {
            tracing::trace!(from = self.bytes, to = bytes, "slices change");
            self.bytes = bytes;
            self.stats.changes += 1;
        }
    }
}

impl Default for Slicer {
    fn default() -> Self {
        Self::new(Slicing::default())
    }
}

/// One receive buffer of the engine: less would not shorten the wait behind a chunk of small frames.
const SLICE_MIN: usize = 16 << 10;
const GUARDED_MIN: usize = 64 << 10;
/// From here on a larger submission saves nothing, and a slow peer's progress is seen too late.
const SLICE_MAX: usize = 256 << 10;
/// Without measurements: 30 µs of a loopback socket, and within a tenth of the best rate.
const SLICE_DEFAULT: usize = 128 << 10;
/// The least that [`Limits::validate`](crate::Limits::validate) accepts of `transmit_bytes_max`, too.
const FIXED_MIN: usize = 4096;
/// How long a round may take while others have something to send: about what waking a thread and a round trip cost,
/// so that it does not show; and without others.
const TARGET_SHARED: Duration = Duration::from_micros(100);
const TARGET_ALONE: Duration = Duration::from_millis(1);
const TICK: Duration = Duration::from_millis(1);
/// Large submissions this far apart say nothing about each other.
const TICK_STALE: Duration = Duration::from_millis(50);
/// Nothing that a shard submits at once takes this long to copy.
const BUSY_MAX: Duration = Duration::from_secs(1);
const SUSPENSION: Duration = Duration::from_secs(1);
/// Who sends now and then still counts as company.
const COMPANY: Duration = Duration::from_millis(100);

#[cfg(test)]
#[path = "slicer_tests.rs"]
mod tests;
