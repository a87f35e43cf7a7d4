//! From values to places.

/// Maps values to coordinates, evenly or by their logarithm.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    logarithmic: bool,
    from: f64,
    to: f64,
}

impl Scale {
    /// From zero to a round number at or above `high`.
    pub(super) fn from_zero(high: f64, from: f64, to: f64) -> Self {
        let high = if high > 0.0 { high } else { 1.0 };
        let step = round_step(high);
        Self { low: 0.0, high: (high / step).ceil() * step, logarithmic: false, from, to }
    }

    /// From a round number at or below `low` to one at or above `high`; both above zero.
    pub(super) fn logarithmic(low: f64, high: f64, from: f64, to: f64) -> Self {
        let (below, above) = (round_down(low), round_up(high));
        let above = if above > below { above } else { below * 10.0 };
        Self { low: below, high: above, logarithmic: true, from, to }
    }

    /// Of shares of 100 %: as far apart as their distances to 100 % shrink tenfold, up to that of `last`.
    pub(super) fn nines(last: f64, from: f64, to: f64) -> Self {
        Self { low: 1.0, high: nines(last).max(10.0), logarithmic: true, from, to }
    }

    /// Where a value lies; values outside lie on the edge.
    pub(super) fn place(&self, value: f64) -> f64 {
        let part = if self.logarithmic {
            (value.max(f64::MIN_POSITIVE) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + part.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// Where a share lies on a scale of [`Scale::nines`].
    pub(super) fn place_share(&self, percent: f64) -> f64 {
        self.place(nines(percent))
    }

    /// Round values along the scale, few enough to be labelled.
    pub(super) fn ticks(&self) -> Vec<f64> {
        if !self.logarithmic {
            let step = round_step(self.high);
            let count = (self.high / step).round() as u32;
            return (0..=count).map(|number| f64::from(number) * step).collect();
        }
        let decades = (self.high / self.low).log10();
        let factors: &[f64] = match decades {
            ..2.2 => &[1.0, 2.0, 5.0],
            ..4.0 => &[1.0, 3.0],
            _ => &[1.0],
        };
        let first = self.low.log10().floor() as i32;
        let last = self.high.log10().ceil() as i32;
        let all =
            (first..=last).flat_map(|power| factors.iter().map(move |factor| factor * 10_f64.powi(power)));
        all.filter(|tick| *tick >= self.low * 0.999 && *tick <= self.high * 1.001).collect()
    }
}

/// A share of 100 % as the number of times its distance to 100 % fits: 90 % is 10, 99 % is 100.
fn nines(percent: f64) -> f64 {
    100.0 / (100.0 - percent).max(1e-7)
}

/// 1, 2 or 5 times a power of ten, so that four to ten of them reach `high`.
fn round_step(high: f64) -> f64 {
    let rough = high / 5.0;
    let power = 10_f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * power >= rough * 0.999);
    factor.unwrap_or(10.0) * power
}

fn round_down(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let factor = [5.0, 2.0, 1.0].into_iter().find(|factor| factor * power <= value * 1.001);
    factor.unwrap_or(1.0) * power
}

fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * power >= value * 0.999);
    factor.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_scale_begins_at_zero_and_ends_at_a_round_number() {
        let scale = Scale::from_zero(2_470_000.0, 100.0, 400.0);
        assert_eq!(scale.ticks(), [0.0, 5e5, 1e6, 1.5e6, 2e6, 2.5e6]);
        assert_eq!((scale.place(0.0), scale.place(1.25e6), scale.place(9e9)), (100.0, 250.0, 400.0));
        assert_eq!(Scale::from_zero(0.0, 0.0, 1.0).place(0.0), 0.0);
    }

    #[test]
    fn a_logarithmic_scale_has_round_ends() {
        let scale = Scale::logarithmic(17.0, 16_000.0, 300.0, 0.0);
        assert_eq!(scale.ticks(), [10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10_000.0]);
        assert!((scale.place(10.0) - 300.0).abs() < 1e-9 && scale.place(20_000.0).abs() < 1e-9);
        let flat = Scale::logarithmic(20.0, 20.0, 0.0, 1.0);
        assert!(flat.place(20.0).is_finite() && !flat.ticks().is_empty());
    }

    #[test]
    fn each_nine_is_as_wide_as_the_one_before() {
        let scale = Scale::nines(99.99, 0.0, 400.0);
        let places = [0.0, 90.0, 99.0, 99.9, 99.99].map(|percent| scale.place_share(percent).round());
        assert_eq!(places, [0.0, 100.0, 200.0, 300.0, 400.0]);
        assert_eq!(scale.place_share(100.0), 400.0);
    }
}
