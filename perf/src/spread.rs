//! How values of several rounds lie: their spread, and the interval in which their median is to be expected.

use serde::{Deserialize, Serialize};

/// A value over all rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// `None` of nothing.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let values = sorted(values);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { min, median, max })
    }

    /// From the least to the greatest, in parts of the median; `None` when that is zero.
    pub(crate) fn relative(&self) -> Option<f64> {
        (self.median != 0.0).then(|| (self.max - self.min) / self.median)
    }
}

/// Where the median lies with the given confidence, whatever the distribution: between the k-th least and the
/// k-th greatest value, k as large as [`CONFIDENCE`] permits. The chance that the median lies outside is the
/// chance that of n fair coins fewer than k, or more than n - k, show heads.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Interval {
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// A little below [`CONFIDENCE`] with five values, where it is the whole range.
    pub(crate) confidence: f64,
}

impl Interval {
    /// `None` of fewer than [`VALUES_MIN`] values: few rounds agree by chance too often.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        if values.len() < VALUES_MIN {
            return None;
        }
        let values = sorted(values);
        let (cut, confidence) = cut(values.len());
        Some(Self { low: values[cut], high: values[values.len() - 1 - cut], confidence })
    }

    /// Whether `value` lies inside, so that nothing can be said about either side of it. Values that all agree
    /// leave nothing in doubt.
    pub(crate) fn swallows(&self, value: f64) -> bool {
        self.low < self.high && self.low <= value && value <= self.high
    }
}

/// How many values to leave out at either end, and the confidence that remains.
fn cut(count: usize) -> (usize, f64) {
    let n = count as f64;
    // The chance of exactly `cut` heads, and of at most as many.
    let mut chance = (-n).exp2();
    let mut tail = chance;
    let mut best = (0, 1.0 - 2.0 * tail);
    for cut in 1..count / 2 {
        let at = cut as f64;
        chance *= (n - at + 1.0) / at;
        tail += chance;
        let confidence = 1.0 - 2.0 * tail;
        if confidence < CONFIDENCE {
            break;
        }
        best = (cut, confidence);
    }
    best
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_unstable_by(f64::total_cmp);
    values
}

/// Confidence asked for where there are enough rounds.
const CONFIDENCE: f64 = 0.95;
/// Fewer rounds give no interval.
pub(crate) const VALUES_MIN: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_minimum_median_and_maximum() {
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]), Some(Spread { min: 1.0, median: 2.0, max: 3.0 }));
        assert_eq!(Spread::of(&[4.0, 1.0]), Some(Spread { min: 1.0, median: 2.5, max: 4.0 }));
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[4.0, 1.0]).unwrap().relative(), Some(1.2));
        assert_eq!(Spread::of(&[0.0]).unwrap().relative(), None);
    }

    #[test]
    fn the_interval_is_the_one_of_the_sign_test() {
        let up_to = |n: u32| (1..=n).map(f64::from).collect::<Vec<_>>();
        // Values left out at each end, from tables of the sign test at 95 %.
        for (n, left_out) in [(5, 0), (6, 0), (8, 0), (9, 1), (10, 1), (12, 2), (15, 3), (20, 5)] {
            let interval = Interval::of(&up_to(n)).unwrap();
            assert_eq!(interval.low, f64::from(left_out + 1), "{n}");
            assert_eq!(interval.high, f64::from(n - left_out), "{n}");
        }
        assert_eq!(Interval::of(&up_to(5)).unwrap().confidence, 0.9375);
        assert!((Interval::of(&up_to(10)).unwrap().confidence - 0.978_515_625).abs() < 1e-12);
        assert!(Interval::of(&up_to(1000)).unwrap().confidence >= CONFIDENCE);
    }

    #[test]
    fn four_rounds_may_agree_by_chance() {
        assert_eq!(Interval::of(&[1.0; 4]), None);
    }

    #[test]
    fn a_value_inside_is_swallowed_unless_nothing_varies() {
        let interval = Interval::of(&[1.0, 2.0, 2.0, 2.0, 3.0]).unwrap();
        assert!(interval.swallows(1.0) && interval.swallows(2.5) && interval.swallows(3.0));
        assert!(!interval.swallows(0.9) && !interval.swallows(3.1));
        assert!(!Interval::of(&[2.0; 5]).unwrap().swallows(2.0));
    }
}
