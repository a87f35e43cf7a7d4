//! What the threads of one child share: counts, the phase of the round, round trips.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::job::{Outcome, Report, Snapshot};
use crate::metric::Metrics;
use crate::pace::Pace;
use crate::record::Recorder;

/// Counts of one process and the phase it is in. Cheap enough to be touched per batch of messages by the
/// threads that move them; the control thread reads it.
#[derive(Debug)]
pub(crate) struct Tally {
    phase: AtomicU8,
    sent: AtomicU64,
    received: AtomicU64,
    corrupt: AtomicU64,
    due: AtomicU64,
    pace: Mutex<Pace>,
    /// Grows whenever the pace changes.
    pace_number: AtomicU64,
    figures: Mutex<Metrics>,
    failed: AtomicBool,
    round_trips: Mutex<Recorder>,
    finished: Mutex<bool>,
    finished_now: Condvar,
}

/// Where a round is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    /// The load runs and nothing counts yet.
    WarmUp,
    /// Round trips count.
    Measure,
    /// The load runs and nothing counts any more.
    CoolDown,
    /// No new messages.
    Stop,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            phase: AtomicU8::new(Phase::WarmUp as u8),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            corrupt: AtomicU64::new(0),
            due: AtomicU64::new(0),
            pace: Mutex::new(Pace::default()),
            pace_number: AtomicU64::new(1),
            figures: Mutex::new(Metrics::new()),
            failed: AtomicBool::new(false),
            round_trips: Mutex::new(Recorder::new()),
            finished: Mutex::new(false),
            finished_now: Condvar::new(),
        }
    }

    /// Enters the next phase.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    #[inline]
    pub(crate) fn is_measuring(&self) -> bool {
        self.phase.load(Ordering::Acquire) == Phase::Measure as u8
    }

    #[inline]
    pub(crate) fn is_stopping(&self) -> bool {
        self.phase.load(Ordering::Acquire) == Phase::Stop as u8
    }

    #[inline]
    pub(crate) fn add_sent(&self, messages: u64) {
        self.sent.fetch_add(messages, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn add_received(&self, messages: u64) {
        self.received.fetch_add(messages, Ordering::Relaxed);
    }

    pub(crate) fn add_corrupt(&self, messages: u64) {
        self.corrupt.fetch_add(messages, Ordering::Relaxed);
    }

    pub(crate) fn add_due(&self, messages: u64) {
        self.due.fetch_add(messages, Ordering::Relaxed);
    }

    /// Asks the load generator to send in another manner.
    pub(crate) fn set_pace(&self, pace: Pace) {
        *lock(&self.pace) = pace;
        self.pace_number.fetch_add(1, Ordering::Release);
    }

    /// The pace, if it is another one than that of `seen`; `seen` begins with 0.
    pub(crate) fn new_pace(&self, seen: &mut u64) -> Option<Pace> {
        let number = self.pace_number.load(Ordering::Acquire);
        (std::mem::replace(seen, number) != number).then(|| lock(&self.pace).clone())
    }

    /// Adds metrics that only this process can tell.
    pub(crate) fn add_figures(&self, figures: Metrics) {
        lock(&self.figures).extend(figures);
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// The round trips; held for the length of one record or longer by a load that is alone with it.
    pub(crate) fn round_trips(&self) -> MutexGuard<'_, Recorder> {
        lock(&self.round_trips)
    }

    /// Nothing more will be counted.
    pub(crate) fn finish(&self) {
        *lock(&self.finished) = true;
        self.finished_now.notify_all();
    }

    /// Waits until [`Tally::finish`]; false when `timeout` passed first.
    pub(crate) fn wait_finished(&self, timeout: Duration) -> bool {
        let finished = lock(&self.finished);
        let (finished, _) = self
            .finished_now
            .wait_timeout_while(finished, timeout, |finished| !*finished)
            .unwrap_or_else(PoisonError::into_inner);
        *finished
    }

    /// Waits until `expected` messages were received, as long as the count still grows.
    pub(crate) fn wait_received(&self, expected: u64, patience: Duration) {
        let (mut seen, mut since) = (self.received(), Instant::now());
        while seen < expected && since.elapsed() < patience {
            std::thread::sleep(POLL);
            let now = self.received();
            if now != seen {
                (seen, since) = (now, Instant::now());
            }
        }
    }

    /// Tells the parent that this process cannot go on; only the first reason is told.
    pub(crate) fn fail(&self, reason: String) {
        if !self.failed.swap(true, Ordering::AcqRel) {
            report(&Report::Failed(reason));
        }
        self.finish();
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            at_ns: nanoseconds(rustix::time::ClockId::Monotonic),
            cpu_ns: nanoseconds(rustix::time::ClockId::ProcessCPUTime),
            sent: self.sent(),
            received: self.received(),
            due: self.due.load(Ordering::Relaxed),
            enters: None,
            rtt_p99_ns: None,
        }
    }

    /// The 99th percentile of the round trips so far, in nanoseconds.
    pub(crate) fn rtt_p99_ns(&self) -> Option<u64> {
        let round_trips = self.round_trips();
        (!round_trips.is_empty()).then(|| (round_trips.percentile_us(99.0) * 1e3) as u64)
    }

    pub(crate) fn outcome(&self) -> Outcome {
        Outcome {
            sent: self.sent(),
            received: self.received(),
            corrupt: self.corrupt.load(Ordering::Relaxed),
            round_trips: self.round_trips().to_counts(),
            figures: lock(&self.figures).clone(),
        }
    }
}

/// Writes one line to the parent. A parent that is gone cannot be told anything.
pub(crate) fn report(report: &Report) {
    if let Ok(mut line) = serde_json::to_vec(report) {
        line.push(b'\n');
        let mut out = io::stdout().lock();
        let _ = out.write_all(&line).and_then(|()| out.flush());
    }
}

fn nanoseconds(clock: rustix::time::ClockId) -> u64 {
    let time = rustix::time::clock_gettime(clock);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often a server that waits for the last messages looks; nothing is measured at that time.
const POLL: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_for_messages_ends_when_they_came_or_stopped_coming() {
        let tally = Tally::new();
        tally.add_received(3);
        tally.wait_received(3, Duration::from_secs(60));
        let begun = Instant::now();
        tally.wait_received(4, Duration::from_millis(20));
        assert!(begun.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    fn cpu_time_and_clock_advance() {
        let tally = Tally::new();
        let before = tally.snapshot();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(5) {}
        let after = tally.snapshot();
        assert!(after.at_ns - before.at_ns >= 5_000_000);
        assert!(after.cpu_ns > before.cpu_ns);
    }
}
