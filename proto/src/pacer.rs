//! When the next frame of a rate-limited connection may leave.

use crate::time::Time;
use crate::token_bucket::{RateLimit, TokenBucket};

/// The token bucket of one outbox and the deadline of the frame that waits for it.
///
/// Bytes are charged when the kernel has taken them, not when they are chosen: a submission that the kernel
/// sits on does not let the next one follow with a second burst.
#[derive(Debug)]
pub(crate) struct Pacer {
    bucket: TokenBucket,
    burst: u64,
    /// What the last frame that had to wait needs. The bucket may hold this much more than the burst, so that
    /// a deadline met late or a slow completion costs no rate.
    waited_for: u64,
    wakes_at: Option<Time>,
}

impl Pacer {
    pub(crate) fn new(limit: RateLimit) -> Self {
        Self {
            bucket: TokenBucket::new(limit),
            burst: limit.burst_bytes.max(1),
            waited_for: 0,
            wakes_at: None,
        }
    }

    /// When the frame that waits may leave.
    pub(crate) const fn wakes_at(&self) -> Option<Time> {
        self.wakes_at
    }

    /// The deadline was met; the next choice sets another if it must.
    pub(crate) const fn wake(&mut self) {
        self.wakes_at = None;
    }

    /// What may be chosen now.
    pub(crate) fn allowance(&mut self, now: Time) -> Allowance {
        self.bucket.refill_to(now, self.waited_for);
        Allowance { tokens: self.bucket.available(), burst: self.burst, ..Allowance::default() }
    }

    /// The choice was made; `needs` is what the first frame left behind lacks tokens for, and nothing was
    /// chosen when `waits`.
    pub(crate) fn note_choice(&mut self, refused: Option<u64>, waits: bool) {
        self.waited_for = refused.unwrap_or(self.waited_for);
        self.wakes_at = refused.filter(|_| waits).map(|needs| self.bucket.available_at(needs));
    }

    /// Nothing waits: from now on the bucket fills to its burst only.
    pub(crate) const fn rest(&mut self) {
        self.waited_for = 0;
        self.wakes_at = None;
    }

    /// The kernel took `bytes`.
    pub(crate) fn charge(&mut self, now: Time, bytes: usize) {
        self.bucket.refill_to(now, self.waited_for);
        self.bucket.charge(bytes as u64);
    }
}

/// Tokens for one submission.
#[derive(Debug)]
pub(crate) struct Allowance {
    tokens: u64,
    burst: u64,
    frames: u32,
    /// What the first frame without enough tokens needs.
    refused: Option<u64>,
}

impl Allowance {
    /// The same for at most `frames` frames.
    pub(crate) const fn with_frames(self, frames: u32) -> Self {
        Self { frames, ..self }
    }

    /// Takes the tokens of a whole frame. One above the burst needs a full bucket and leaves a debt.
    pub(crate) fn take_frame(&mut self, bytes: usize) -> bool {
        let Some(frames) = self.frames.checked_sub(1) else { return false };
        let needs = (bytes as u64).min(self.burst);
        let enough = self.tokens >= needs;
        if enough {
            self.frames = frames;
            self.tokens = self.tokens.saturating_sub(bytes as u64);
        } else {
            self.refused = Some(needs);
        }
        enough
    }

    /// Takes tokens for a part of `bytes` that may be cut anywhere; zero when there are too few to bother.
    pub(crate) fn take_part(&mut self, bytes: usize) -> usize {
        let needs = (bytes as u64).min(self.burst).min(PART_MIN);
        if self.tokens < needs {
            self.refused = Some(needs);
            return 0;
        }
        let part = self.tokens.min(bytes as u64);
        self.tokens -= part;
        part as usize
    }

    pub(crate) const fn refused(&self) -> Option<u64> {
        self.refused
    }
}

/// Everything may leave.
impl Default for Allowance {
    fn default() -> Self {
        Self { tokens: u64::MAX, burst: u64::MAX, frames: u32::MAX, refused: None }
    }
}

/// Without framing a wake-up should be worth a system call.
const PART_MIN: u64 = 4096;

#[cfg(test)]
#[path = "pacing_tests.rs"]
mod tests;
