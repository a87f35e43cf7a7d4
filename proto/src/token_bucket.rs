//! How fast a connection may send: tokens that time refills and bytes use up.

use crate::error::ConfigError;
use crate::time::Time;

/// The outbound rate of one connection. Wire bytes count, headers included; over TLS the plaintext frames are
/// counted, not the records that carry them.
///
/// In every interval of `t` seconds at most `burst_bytes + bytes_per_s * t` bytes leave, plus one frame; while
/// something waits, at least 98 % of `bytes_per_s` is used over any second or more. A frame longer than
/// `burst_bytes` leaves whole when the bucket is full, and what follows waits until that debt is earned.
///
/// What waits is in the outbox, within its bounds, and is chosen by priority at the moment it may leave. A
/// closing connection flushes at this rate too: what does not leave within `close_flush_timeout` is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimit {
    /// Sustained rate in bytes per second, at least 1.
    pub bytes_per_s: u64,
    /// What may leave at once after a rest, in bytes; at least a fiftieth of `bytes_per_s`, or timers would be
    /// too coarse to reach the rate. Default: one second's worth.
    pub burst_bytes: u64,
}

impl RateLimit {
    /// A rate whose burst is one second's worth.
    pub const fn new(bytes_per_s: u64) -> Self {
        Self { bytes_per_s, burst_bytes: bytes_per_s }
    }

    /// The same rate with another burst.
    #[must_use]
    pub const fn with_burst(self, burst_bytes: u64) -> Self {
        Self { burst_bytes, ..self }
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let fault = |option, fix| Err(ConfigError { option, fix });
        if self.bytes_per_s == 0 {
            return fault("rate_limit.bytes_per_s", "must be at least 1 byte per second");
        }
        if self.burst_bytes == 0 || self.burst_bytes < self.bytes_per_s / BURSTS_PER_S_MAX {
            return fault("rate_limit.burst_bytes", "must be at least 1 byte and 1/50 of bytes_per_s");
        }
        Ok(())
    }
}

/// Tokens of one byte each, refilled exactly: the remainder of a refill is kept, not rounded away.
///
/// Starts full. Charging more than it holds leaves a debt that later refills pay first.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    bytes_per_s: i128,
    burst: i128,
    /// In units of a billionth of a byte: what one nanosecond earns at one byte per second.
    tokens: i128,
    refilled_at: Time,
}

impl TokenBucket {
    /// A full bucket.
    pub fn new(limit: RateLimit) -> Self {
        let burst = i128::from(limit.burst_bytes) * UNIT;
        Self {
            bytes_per_s: i128::from(limit.bytes_per_s.max(1)),
            burst,
            tokens: burst,
            refilled_at: Time::ZERO,
        }
    }

    /// Adds what was earned since the last refill, up to the burst.
    pub fn refill(&mut self, now: Time) {
        self.refill_to(now, 0);
    }

    /// As [`TokenBucket::refill`], up to `over` bytes above the burst: whoever waits for a deadline and is woken
    /// late does not lose what was earned meanwhile.
    pub(crate) fn refill_to(&mut self, now: Time, over: u64) {
        let elapsed = i128::from(now.as_nanos().saturating_sub(self.refilled_at.as_nanos()));
        let earned = self.bytes_per_s.saturating_mul(elapsed);
        let most = self.burst + i128::from(over) * UNIT;
        self.tokens = self.tokens.saturating_add(earned).min(most);
        self.refilled_at = self.refilled_at.max(now);
    }

    /// Whole bytes that may leave at the time of the last refill; zero in debt.
    pub fn available(&self) -> u64 {
        u64::try_from((self.tokens / UNIT).max(0)).unwrap_or(u64::MAX)
    }

    /// Uses up `bytes`, into debt if need be.
    pub fn charge(&mut self, bytes: u64) {
        self.tokens = self.tokens.saturating_sub(i128::from(bytes) * UNIT);
    }

    /// The first moment at which `bytes` (at most the burst) are available, if nothing is charged until then.
    pub fn available_at(&self, bytes: u64) -> Time {
        let missing = (i128::from(bytes) * UNIT).min(self.burst).saturating_sub(self.tokens).max(0);
        let wait = missing / self.bytes_per_s + i128::from(missing % self.bytes_per_s != 0);
        let wait = u64::try_from(wait).unwrap_or(u64::MAX);
        Time::from_nanos(self.refilled_at.as_nanos().saturating_add(wait))
    }
}

/// Billionths of a byte per byte.
const UNIT: i128 = 1_000_000_000;
/// A deadline fires up to one tick of the timer wheel late, and a busy shard a little later: 20 ms of the rate
/// must fit into the burst.
const BURSTS_PER_S_MAX: u64 = 50;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(millis: u64) -> Time {
        Time::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn a_new_bucket_is_full_whenever_it_is_first_asked() {
        for at in [0, 1, u64::MAX] {
            let mut bucket = TokenBucket::new(RateLimit::new(1000).with_burst(300));
            bucket.refill(Time::from_nanos(at));
            assert_eq!(bucket.available(), 300);
        }
    }

    #[test]
    fn a_debt_is_paid_before_anything_is_available() {
        let mut bucket = TokenBucket::new(RateLimit::new(1000).with_burst(100));
        bucket.charge(350);
        assert_eq!((bucket.available(), bucket.available_at(100)), (0, ms(350)));
        bucket.refill(ms(250));
        assert_eq!((bucket.available(), bucket.available_at(1)), (0, ms(251)));
        bucket.refill(ms(10_000));
        assert_eq!(bucket.available(), 100);
    }

    #[test]
    fn what_is_above_the_burst_is_kept_for_a_late_waiter_only() {
        let mut bucket = TokenBucket::new(RateLimit::new(1000).with_burst(100));
        bucket.refill_to(ms(70), 50);
        assert_eq!(bucket.available(), 150);
        bucket.refill(ms(70));
        assert_eq!(bucket.available(), 100);
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let mut bucket = TokenBucket::new(RateLimit::new(u64::MAX));
        bucket.charge(u64::MAX);
        bucket.charge(u64::MAX);
        bucket.refill(Time::from_nanos(u64::MAX));
        assert_eq!(bucket.available(), u64::MAX);
        let mut slow = TokenBucket::new(RateLimit::new(1));
        slow.charge(u64::MAX);
        assert_eq!(slow.available_at(1), Time::from_nanos(u64::MAX));
    }

    #[test]
    fn mistakes_name_their_option() {
        let option = |limit: RateLimit| limit.validate().map_err(|error| error.option);
        assert_eq!(option(RateLimit::new(1)), Ok(()));
        assert_eq!(option(RateLimit::new(0)), Err("rate_limit.bytes_per_s"));
        assert_eq!(option(RateLimit::new(1).with_burst(0)), Err("rate_limit.burst_bytes"));
        assert_eq!(option(RateLimit::new(5000).with_burst(99)), Err("rate_limit.burst_bytes"));
        assert_eq!(option(RateLimit::new(5000).with_burst(100)), Ok(()));
    }

    proptest! {
        #[test]
        fn many_small_refills_earn_what_one_large_does(
            rate in 1u64..10_000_000_000,
            steps in prop::collection::vec(0u64..1_000_000, 1..200),
        ) {
            let mut bucket = TokenBucket::new(RateLimit::new(rate).with_burst(u64::MAX));
            bucket.charge(u64::MAX);
            let mut now = 0;
            for step in steps {
                now += step;
                bucket.refill(Time::from_nanos(now));
            }
            let earned = u128::from(rate) * u128::from(now) / 1_000_000_000;
            prop_assert_eq!(u128::from(bucket.available()), earned);
        }

        #[test]
        fn bytes_are_available_at_the_moment_it_names_and_not_a_nanosecond_earlier(
            rate in 1u64..1_000_000_000, charged in 1u64..1_000_000, bytes in 1u64..10_000,
        ) {
            let mut bucket = TokenBucket::new(RateLimit::new(rate).with_burst(10_000));
            bucket.charge(charged);
            let at = bucket.available_at(bytes);
            let mut early = bucket.clone();
            bucket.refill(at);
            prop_assert!(bucket.available() >= bytes);
            if let Some(before) = at.as_nanos().checked_sub(1) {
                early.refill(Time::from_nanos(before));
                prop_assert!(early.available() < bytes);
            }
        }
    }
}
