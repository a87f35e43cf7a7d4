//! Round-trip times of one round.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;

use crate::metric::Metrics;

/// A histogram of round-trip times with three significant digits, up to 60 s; longer ones
/// count as 60 s.
#[derive(Clone, Debug)]
pub(crate) struct Recorder(Histogram<u64>);

impl Recorder {
    pub(crate) fn new() -> Self {
        // The bounds are constants that the histogram accepts.
        let histogram = Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, DIGITS);
        Self(histogram.unwrap_or_else(|error| unreachable!("constant bounds: {error}")))
    }

    /// Records one round trip.
    #[inline]
    pub(crate) fn record(&mut self, elapsed: Duration) {
        self.0.saturating_record(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many round trips there are.
    pub(crate) fn len(&self) -> u64 {
        self.0.len()
    }

    /// Takes in the round trips of another round.
    pub(crate) fn add(&mut self, other: &Self) {
        // Both have the same bounds, so that nothing can be out of range.
        let added = self.0.add(&other.0);
        added.unwrap_or_else(|error| unreachable!("equal bounds: {error}"));
    }

    /// The distribution in few points, denser towards 100 percent: percent, and the microseconds that so many
    /// stay at or below.
    pub(crate) fn percentiles(&self) -> Vec<(f64, f64)> {
        let steps = self.0.iter_quantiles(POINT_TICKS);
        let point = |percent: f64| (percent * 1e6).round() / 1e6;
        let mut points: Vec<_> = steps
            .map(|step| (point(step.quantile_iterated_to() * 100.0), to_us(step.value_iterated_to())))
            .collect();
        points.dedup_by_key(|(percent, _)| *percent);
        points
    }

    /// The value below or at which `percent` of the round trips lie, in microseconds.
    pub(crate) fn percentile_us(&self, percent: f64) -> f64 {
        to_us(self.0.value_at_percentile(percent))
    }

    /// The longest round trip in microseconds, to three digits.
    pub(crate) fn max_us(&self) -> f64 {
        to_us(self.0.max())
    }

    /// Adds the usual percentiles to `metrics`, such as `rtt_us_p99@70` for the name `rtt_us` and the suffix
    /// `@70`; nothing when nothing was recorded.
    pub(crate) fn put(&self, metrics: &mut Metrics, name: &str, suffix: &str) {
        if self.is_empty() {
            return;
        }
        for (short, percent) in [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p999", 99.9)] {
            metrics.insert(format!("{name}_{short}{suffix}"), self.percentile_us(percent));
        }
        metrics.insert(format!("{name}_max{suffix}"), self.max_us());
    }

    /// What another process needs to rebuild the histogram: values in nanoseconds and how often each occurred.
    pub(crate) fn to_counts(&self) -> Vec<(u64, u64)> {
        self.0.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())).collect()
    }

    /// The histogram that [`Recorder::to_counts`] described.
    pub(crate) fn from_counts(counts: &[(u64, u64)]) -> Result<Self> {
        let mut recorder = Self::new();
        for &(value, count) in counts {
            ensure!(value <= 2 * HIGHEST_NS, "a round trip of {value} ns is out of range");
            recorder.0.saturating_record_n(value, count);
        }
        Ok(recorder)
    }

    /// Writes the percentile distribution, in microseconds, as HdrHistogram plotters read it.
    pub(crate) fn write_hgrm(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "{:>12} {:>14} {:>10} {:>14}\n",
            "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
        )?;
        let mut total = 0;
        for step in self.0.iter_quantiles(HGRM_TICKS) {
            let (value, quantile) = (to_us(step.value_iterated_to()), step.quantile_iterated_to());
            total += step.count_since_last_iteration();
            write!(out, "{value:>12.3} {quantile:>14.12} {total:>10}")?;
            if quantile < 1.0 {
                write!(out, " {:>14.2}", 1.0 / (1.0 - quantile))?;
            }
            writeln!(out)?;
        }
        let (mean, deviation) = (self.0.mean() / 1e3, self.0.stdev() / 1e3);
        writeln!(out, "#[Mean    = {mean:>12.3}, StdDeviation   = {deviation:>12.3}]")?;
        writeln!(out, "#[Max     = {:>12.3}, Total count    = {:>12}]", self.max_us(), self.0.len())?;
        writeln!(out, "#[Buckets = {:>12}, SubBuckets     = {SUB_BUCKETS:>12}]", self.0.buckets())
    }
}

fn to_us(ns: u64) -> f64 {
    ns as f64 / 1e3
}

/// How many values of each power of two three digits need.
const SUB_BUCKETS: u32 = 2048;
const LOWEST_NS: u64 = 1;
const HIGHEST_NS: u64 = 60_000_000_000;
const DIGITS: u8 = 3;
/// Lines per halving of the distance to 100 %.
const HGRM_TICKS: u32 = 5;
/// Points per halving of the distance to 100 % in result files.
const POINT_TICKS: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn thousand() -> Recorder {
        let mut recorder = Recorder::new();
        (1..=1000).for_each(|us| recorder.record(Duration::from_micros(us)));
        recorder
    }

    #[test]
    fn percentiles_are_right_to_three_digits() {
        let recorder = thousand();
        for (percent, us) in [(50.0, 500.0), (90.0, 900.0), (99.0, 990.0), (99.9, 999.0)] {
            let measured = recorder.percentile_us(percent);
            assert!((measured / us - 1.0).abs() < 2e-3, "p{percent}: {measured}");
        }
        assert!((recorder.max_us() / 1000.0 - 1.0).abs() < 2e-3);
    }

    #[test]
    fn it_survives_the_way_between_processes() {
        let mut recorder = thousand();
        recorder.record(Duration::from_secs(3600));
        let copy = Recorder::from_counts(&recorder.to_counts()).unwrap();
        assert_eq!(copy.0, recorder.0);
        assert!(Recorder::from_counts(&[(u64::MAX, 1)]).is_err());
    }

    #[test]
    fn rounds_are_joined_and_thinned_out() {
        let mut both = thousand();
        both.add(&thousand());
        assert_eq!(both.len(), 2000);
        let points = both.percentiles();
        assert!(points.len() < 60, "{}", points.len());
        assert!(points.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{points:?}");
        assert_eq!((points[0].0, points.last().unwrap().0), (0.0, 100.0));
        let (_, median) = points.iter().find(|(percent, _)| *percent == 50.0).unwrap();
        assert!((median / 500.0 - 1.0).abs() < 2e-3);
    }

    #[test]
    fn the_percentile_file_ends_with_everything_counted() {
        let mut file = Vec::new();
        thousand().write_hgrm(&mut file).unwrap();
        let text = String::from_utf8(file).unwrap();
        let last = text.lines().rfind(|line| !line.starts_with('#')).unwrap();
        assert_eq!(last.split_whitespace().skip(1).collect::<Vec<_>>(), ["1.000000000000", "1000"]);
        assert!(text.contains("Total count    =         1000]"), "{text}");
    }
}
