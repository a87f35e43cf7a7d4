//! How long a client waits before it tries again.

use std::time::Duration;

use crate::error::ConfigError;

/// Waiting times between attempts to connect: exponential, capped, spread by chance.
///
/// The `n`-th retry waits `min(initial · multiplier^(n−1), max)`, or with [`Jitter::Full`] a random part of that,
/// so that the clients of a server that restarts do not come back all at once.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Backoff {
    /// Before the first retry. Default 300 ms, at least 1 ms.
    pub initial: Duration,
    /// The longest wait. Default 10 s, at least `initial`.
    pub max: Duration,
    /// Growth from one retry to the next. Default 2, at least 1.
    pub multiplier: f64,
    /// How many retries in a row may fail; `Some(0)` never retries. Default `None`: no end.
    pub attempts_max: Option<u32>,
    /// How chance spreads the waits. Default [`Jitter::Full`].
    pub jitter: Jitter,
}

/// How chance spreads waiting times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Jitter {
    /// Anything from nothing to the whole wait, evenly. The default.
    #[default]
    Full,
    /// The exact wait, as QWormhole's own clients do.
    None,
}

impl Backoff {
    /// The wait before retry number `attempt`, counted from 1; `None` when the attempts are used up. `random`
    /// decides the jitter and should be evenly distributed.
    pub fn delay(&self, attempt: u32, random: u64) -> Option<Duration> {
        if self.attempts_max.is_some_and(|most| attempt > most) {
            return None;
        }
        let whole = self.whole_nanos(attempt);
        let nanos = match self.jitter {
            // The upper half of a product with 2⁶⁴ is the random part of `whole`, without rounding.
            Jitter::Full => ((u128::from(whole) * u128::from(random)) >> 64) as u64,
            Jitter::None => whole,
        };
        Some(Duration::from_nanos(nanos))
    }

    /// Checks that the values fit together.
    ///
    /// # Errors
    ///
    /// Names the option at fault and what would be accepted.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let fault = |option, fix| Err(ConfigError { option, fix });
        if self.initial < INITIAL_MIN {
            return fault("reconnect.initial", "must be at least 1 ms");
        }
        if self.max < self.initial {
            return fault("reconnect.max", "must be at least reconnect.initial");
        }
        if !self.multiplier.is_finite() || self.multiplier < 1.0 {
            return fault("reconnect.multiplier", "must be a number of at least 1");
        }
        Ok(())
    }

    /// The wait without jitter.
    fn whole_nanos(&self, attempt: u32) -> u64 {
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let max = u64::try_from(self.max.as_nanos()).unwrap_or(u64::MAX);
        // An overflow is an infinity here, and a cast saturates.
        ((self.initial.as_nanos() as f64 * self.multiplier.powi(exponent)) as u64).min(max)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(300),
            max: Duration::from_secs(10),
            multiplier: 2.0,
            attempts_max: None,
            jitter: Jitter::Full,
        }
    }
}

/// Below this a refused connect would be repeated as fast as the system can.
const INITIAL_MIN: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn exact() -> Backoff {
        Backoff { jitter: Jitter::None, ..Backoff::default() }
    }

    #[test]
    fn delays_double_up_to_the_maximum() {
        let delays: Vec<u128> =
            (1..=8).map(|attempt| exact().delay(attempt, 7).unwrap().as_millis()).collect();
        assert_eq!(delays, [300, 600, 1200, 2400, 4800, 9600, 10_000, 10_000]);
        assert_eq!(exact().delay(u32::MAX, 0), Some(Duration::from_secs(10)));
        assert_eq!(exact().delay(0, 0), Some(Duration::from_millis(300)), "counted from 1");
    }

    #[test]
    fn full_jitter_is_an_even_part_of_the_delay() {
        let backoff = Backoff::default();
        assert_eq!(backoff.delay(1, 0), Some(Duration::ZERO));
        assert_eq!(backoff.delay(1, 1 << 63), Some(Duration::from_millis(150)));
        let longest = backoff.delay(2, u64::MAX).unwrap();
        assert!(longest < Duration::from_millis(600) && longest > Duration::from_micros(599_999));
    }

    #[test]
    fn attempts_run_out() {
        let two = Backoff { attempts_max: Some(2), ..exact() };
        assert_eq!(two.delay(2, 0), Some(Duration::from_millis(600)));
        assert_eq!(two.delay(3, 0), None);
        assert_eq!(Backoff { attempts_max: Some(0), ..exact() }.delay(1, 0), None);
    }

    #[test]
    fn huge_values_saturate_at_the_maximum() {
        let steep = Backoff { multiplier: 1e300, max: Duration::MAX, ..exact() };
        assert_eq!(steep.delay(9, 0), Some(Duration::from_nanos(u64::MAX)));
        let flat = Backoff { multiplier: 1.0, ..exact() };
        assert_eq!(flat.delay(1000, 0), Some(Duration::from_millis(300)));
    }

    #[test]
    fn values_that_cannot_work_name_their_option() {
        assert_eq!(Backoff::default().validate(), Ok(()));
        let cases = [
            (Backoff { initial: Duration::ZERO, ..exact() }, "reconnect.initial"),
            (Backoff { max: Duration::from_millis(299), ..exact() }, "reconnect.max"),
            (Backoff { multiplier: 0.5, ..exact() }, "reconnect.multiplier"),
            (Backoff { multiplier: f64::NAN, ..exact() }, "reconnect.multiplier"),
            (Backoff { multiplier: f64::INFINITY, ..exact() }, "reconnect.multiplier"),
        ];
        for (backoff, option) in cases {
            assert_eq!(backoff.validate().unwrap_err().option, option);
        }
    }
}
