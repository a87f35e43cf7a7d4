//! The monotonic clock of one shard.

use std::time::{Duration, Instant};

use qwormhole_proto::Time;

/// Translates between the system's monotonic clock and the protocol's [`Time`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    epoch: Instant,
}

impl Clock {
    /// A clock that reads zero now.
    pub(crate) fn start() -> Self {
        Self { epoch: Instant::now() }
    }

    pub(crate) fn now(&self) -> Time {
        Time::from_nanos(u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// When `time` is for the runtime's timers; times beyond the system's range are cut to a year.
    pub(crate) fn instant(&self, time: Time) -> tokio::time::Instant {
        let after = Duration::from_nanos(time.as_nanos());
        self.epoch.checked_add(after).unwrap_or(self.epoch + YEAR).into()
    }
}

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_and_its_instant_are_the_same_moment() {
        let clock = Clock::start();
        let now = clock.now();
        let later = now + Duration::from_millis(7);
        assert_eq!(clock.instant(later) - clock.instant(now), Duration::from_millis(7));
        let far = clock.instant(Time::from_nanos(u64::MAX));
        assert!(far > clock.instant(now) + YEAR / 2, "the end of time is far away, and no panic");
    }
}
