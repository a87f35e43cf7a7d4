//! One system against another, and what may be said about it.

use serde::{Deserialize, Serialize};

use crate::figure::{Figure, Kind};
use crate::spread::{Interval, Spread};

/// One metric of two systems, divided within each round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ratio {
    pub(crate) metric: String,
    pub(crate) system: String,
    pub(crate) against: String,
    #[serde(flatten)]
    pub(crate) spread: Spread,
    /// Absent with fewer than five rounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) interval: Option<Interval>,
    pub(crate) verdict: Verdict,
}

/// What the ratios of all rounds say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Verdict {
    #[serde(rename = "faster")]
    Faster,
    #[serde(rename = "slower")]
    Slower,
    #[serde(rename = "less")]
    Less,
    #[serde(rename = "more")]
    More,
    /// Whatever the difference is, it is below what the harness can tell apart.
    #[serde(rename = "no difference")]
    NoDifference,
    /// The rounds differ among themselves by more than the systems do.
    #[serde(rename = "unclear")]
    Unclear,
}

impl Ratio {
    /// The ratios of all rounds; `None` without any.
    pub(crate) fn of(metric: &str, system: &str, against: &str, ratios: &[f64]) -> Option<Self> {
        let (spread, interval) = (Spread::of(ratios)?, Interval::of(ratios));
        let verdict = Verdict::of(metric, &spread, interval.as_ref());
        Some(Self {
            metric: metric.to_owned(),
            system: system.to_owned(),
            against: against.to_owned(),
            spread,
            interval,
            verdict,
        })
    }
}

impl Verdict {
    fn of(metric: &str, spread: &Spread, interval: Option<&Interval>) -> Self {
        let Some(interval) = interval else { return Self::Unclear };
        if interval.low >= 1.0 - INDISTINCT && interval.high <= 1.0 + INDISTINCT {
            return Self::NoDifference;
        }
        let far = (spread.median - 1.0).abs() > INDISTINCT;
        let above = interval.low > 1.0;
        if !far || !(above || interval.high < 1.0) {
            return Self::Unclear;
        }
        match (Figure::of(metric).kind, above) {
            (Kind::Speed, true) | (Kind::Time, false) => Self::Faster,
            (Kind::Speed, false) | (Kind::Time, true) => Self::Slower,
            (Kind::Cost, true) => Self::More,
            (Kind::Cost, false) => Self::Less,
        }
    }

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Faster => "faster",
            Self::Slower => "slower",
            Self::Less => "less",
            Self::More => "more",
            Self::NoDifference => "no difference",
            Self::Unclear => "unclear",
        }
    }
}

/// A system compared with itself comes out within this part of 1; less than that is no difference.
pub(crate) const INDISTINCT: f64 = 0.03;

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(metric: &str, ratios: &[f64]) -> Verdict {
        Ratio::of(metric, "a", "b", ratios).unwrap().verdict
    }

    #[test]
    fn rounds_that_agree_give_a_verdict_in_the_words_of_the_metric() {
        let (above, below) = ([1.1, 1.2, 1.15, 1.12, 1.3], [0.9, 0.8, 0.85, 0.7, 0.95]);
        assert_eq!(verdict("msgs_per_s", &above), Verdict::Faster);
        assert_eq!(verdict("msgs_per_s", &below), Verdict::Slower);
        assert_eq!(verdict("rtt_us_p99", &above), Verdict::Slower);
        assert_eq!(verdict("rtt_us_p99@70", &below), Verdict::Faster);
        assert_eq!(verdict("server_cpu_ns_per_msg", &above), Verdict::More);
        assert_eq!(verdict("server_rss_bytes", &below), Verdict::Less);
    }

    #[test]
    fn rounds_that_disagree_swallow_the_verdict() {
        assert_eq!(verdict("msgs_per_s", &[0.9, 1.2, 1.15, 1.12, 1.3]), Verdict::Unclear);
        assert_eq!(verdict("msgs_per_s", &[0.9, 1.1, 1.0, 1.0, 1.0]), Verdict::Unclear);
    }

    #[test]
    fn one_odd_round_among_ten_does_not() {
        let mut ratios = vec![1.2; 9];
        ratios.push(0.5);
        assert_eq!(verdict("msgs_per_s", &ratios), Verdict::Faster);
        ratios[0] = 0.6;
        assert_eq!(verdict("msgs_per_s", &ratios), Verdict::Unclear);
    }

    #[test]
    fn what_the_harness_cannot_tell_apart_is_no_difference() {
        assert_eq!(verdict("msgs_per_s", &[0.98, 1.0, 1.02, 1.0, 1.0]), Verdict::NoDifference);
        assert_eq!(verdict("msgs_per_s", &[1.01, 1.02, 1.025, 1.02, 1.02]), Verdict::NoDifference);
        // Its median is beyond that: the rounds agree on the side.
        assert_eq!(verdict("msgs_per_s", &[1.01, 1.04, 1.05, 1.04, 1.02]), Verdict::Faster);
        assert_eq!(verdict("msgs_per_s", &[1.01, 1.02, 1.05, 1.02, 1.02]), Verdict::Unclear);
    }

    #[test]
    fn four_rounds_give_no_verdict() {
        assert_eq!(verdict("msgs_per_s", &[2.0; 4]), Verdict::Unclear);
    }
}
