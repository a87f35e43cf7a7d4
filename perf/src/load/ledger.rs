//! What the load generator notes of a round, stretch by stretch.

use std::time::{Duration, Instant};

use super::connection::Asked;
use crate::metric::Metrics;
use crate::record::Recorder;

/// Round trips of each stretch of a round, corrected and raw, and what else an open loop tells. A stretch begins
/// with each change of pace.
#[derive(Default)]
pub(super) struct Ledger(Vec<Stretch>);

struct Stretch {
    label: Option<String>,
    open: bool,
    begun: Instant,
    /// From the intended time of sending.
    corrected: Recorder,
    /// From the actual time of sending.
    raw: Recorder,
    late_starts: u64,
    /// When the first message of the measured window was due.
    measured_from: Option<Instant>,
    /// Microseconds of the messages before the measured window, by the slice in which they were due.
    settling: Vec<Vec<u32>>,
    settling_count: usize,
}

impl Ledger {
    /// Begins a stretch; `open` when messages have a schedule.
    pub(super) fn begin(&mut self, label: Option<String>, open: bool, begun: Instant) {
        self.0.push(Stretch {
            label,
            open,
            begun,
            corrected: Recorder::new(),
            raw: Recorder::new(),
            late_starts: 0,
            measured_from: None,
            settling: Vec::new(),
            settling_count: 0,
        });
    }

    /// Whether there was no pace yet.
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The present stretch.
    pub(super) fn current(&self) -> usize {
        self.0.len().saturating_sub(1)
    }

    /// Whether figures of that stretch are wanted.
    pub(super) fn is_labelled(&self, stretch: usize) -> bool {
        self.0[stretch].label.is_some()
    }

    /// A message of an open loop left.
    pub(super) fn note_start(&mut self, asked: &Asked) {
        if asked.measured {
            let stretch = &mut self.0[asked.stretch];
            stretch.measured_from.get_or_insert(asked.intended);
            stretch.late_starts += u64::from(asked.sent.saturating_duration_since(asked.intended) > LATE);
        }
    }

    /// A message was answered.
    pub(super) fn note_answer(&mut self, asked: &Asked, now: Instant) {
        let stretch = &mut self.0[asked.stretch];
        let corrected = now.saturating_duration_since(asked.intended);
        if asked.measured {
            stretch.corrected.record(corrected);
            stretch.raw.record(now.saturating_duration_since(asked.sent));
        } else if stretch.open && stretch.label.is_some() {
            stretch.settle(asked.intended, corrected);
        }
    }

    /// Metrics of all stretches; those of stretches with a label are suffixed with it.
    pub(super) fn figures(&self) -> Metrics {
        let mut figures = Metrics::new();
        for stretch in self.0.iter().filter(|stretch| !stretch.corrected.is_empty()) {
            let suffix = stretch.label.as_ref().map_or_else(String::new, |label| format!("@{label}"));
            if stretch.label.is_some() {
                stretch.corrected.put(&mut figures, "rtt_us", &suffix);
            }
            if stretch.open {
                stretch.raw.put(&mut figures, "raw_rtt_us", &suffix);
                figures.insert(format!("late_starts{suffix}"), stretch.late_starts as f64);
            }
            if let Some(settled) = stretch.settled() {
                figures.insert(format!("settle_ms{suffix}"), settled.as_secs_f64() * 1e3);
            }
        }
        figures
    }
}

impl Stretch {
    fn settle(&mut self, intended: Instant, took: Duration) {
        if self.measured_from.is_some_and(|from| intended >= from) {
            return;
        }
        let slice = intended.saturating_duration_since(self.begun).as_millis() / SLICE.as_millis();
        let Some(slice) = usize::try_from(slice).ok().filter(|slice| *slice < SLICES_MAX) else { return };
        self.settling_count += 1;
        if self.settling_count <= SETTLING_MAX {
            if self.settling.len() <= slice {
                self.settling.resize_with(slice + 1, Vec::new);
            }
            self.settling[slice].push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
        }
    }

    /// How long it took from the change of pace until the median of every slice was near that of the measured
    /// window; `None` when it was not near before the window began, or when there was too much to be noted.
    fn settled(&self) -> Option<Duration> {
        if self.settling.is_empty() || self.settling_count > SETTLING_MAX {
            return None;
        }
        let steady = self.corrected.percentile_us(50.0);
        let near = (steady * NEAR).max(steady + NEAR_US);
        let median = |slice: &Vec<u32>| {
            let mut sorted = slice.clone();
            sorted.sort_unstable();
            sorted.get(sorted.len() / 2).copied()
        };
        let far = |slice| median(slice).is_some_and(|median| f64::from(median) > near);
        let slices = self.settling.iter().rposition(far).map_or(0, |last| last + 1);
        (slices < self.settling.len()).then(|| SLICE * u32::try_from(slices).unwrap_or(u32::MAX))
    }
}

/// What left later than that after its time counts as late.
const LATE: Duration = Duration::from_millis(1);
/// The resolution of settling times.
const SLICE: Duration = Duration::from_millis(10);
/// Near a median is up to twice as much,
const NEAR: f64 = 2.0;
/// or that much more, since medians of some microseconds double easily.
const NEAR_US: f64 = 200.0;
/// Ten minutes.
const SLICES_MAX: usize = 60_000;
/// 16 MiB.
const SETTLING_MAX: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(ledger: &Ledger, after_ms: u64, measured: bool) -> Asked {
        let intended = ledger.0[0].begun + Duration::from_millis(after_ms);
        let sent = intended + Duration::from_millis(3);
        Asked { intended, sent, stretch: 0, measured }
    }

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.begin(Some(String::from("70")), true, Instant::now());
        ledger
    }

    #[test]
    fn corrected_counts_from_the_intended_time_and_raw_from_the_actual_one() {
        let mut ledger = ledger();
        let late = asked(&ledger, 0, true);
        ledger.note_start(&late);
        ledger.note_answer(&late, late.sent + Duration::from_millis(1));
        let figures = ledger.figures();
        assert!((figures["rtt_us_p50@70"] / 4000.0 - 1.0).abs() < 1e-3, "{figures:?}");
        assert!((figures["raw_rtt_us_p50@70"] / 1000.0 - 1.0).abs() < 1e-3, "{figures:?}");
        assert_eq!(figures["late_starts@70"], 1.0);
    }

    #[test]
    fn settling_ends_with_the_last_slice_that_is_far_from_the_rest() {
        let mut ledger = ledger();
        for at in 0..100 {
            let message = asked(&ledger, at, false);
            let took = if at < 35 { Duration::from_millis(9) } else { Duration::from_micros(80) };
            ledger.note_answer(&message, message.intended + took);
        }
        let message = asked(&ledger, 100, true);
        ledger.note_start(&message);
        ledger.note_answer(&message, message.intended + Duration::from_micros(90));
        let after = asked(&ledger, 150, false);
        ledger.note_answer(&after, after.intended + Duration::from_secs(1));
        assert_eq!(ledger.figures()["settle_ms@70"], 40.0);
        for at in 90..100 {
            let message = asked(&ledger, at, false);
            for _ in 0..3 {
                ledger.note_answer(&message, message.intended + Duration::from_millis(9));
            }
        }
        assert!(!ledger.figures().contains_key("settle_ms@70"), "never settled");
    }
}
