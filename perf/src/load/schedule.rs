//! When messages are due, and on which connection.

use std::time::{Duration, Instant};

/// The slots of an open loop: message `n` is due `n / rate` after the start, whatever became of those before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    start: Instant,
    rate: f64,
    next: u64,
}

impl Schedule {
    /// Messages per second from `start` on.
    pub(super) const fn new(start: Instant, rate: f64) -> Self {
        Self { start, rate, next: 0 }
    }

    /// When the next message is due.
    pub(super) fn next_at(&self) -> Instant {
        self.start + Duration::from_secs_f64(self.next as f64 / self.rate)
    }

    /// The next message, if it is due at `now`: its number and when it was due.
    pub(super) fn take(&mut self, now: Instant) -> Option<(u64, Instant)> {
        let at = self.next_at();
        (at <= now).then(|| {
            self.next += 1;
            (self.next - 1, at)
        })
    }
}

/// Which connection a message goes to: in turn, so that each has a fixed schedule of its own. Of a mix, every
/// twentieth message is a large one and goes to the large connections, which come after the small ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mix {
    pub(super) small: usize,
    /// 0 unless messages are mixed.
    pub(super) large: usize,
}

impl Mix {
    pub(super) const fn connection_of(&self, message: u64) -> usize {
        if self.large == 0 {
            return (message % self.small as u64) as usize;
        }
        let before = message / LARGE_EVERY;
        if message % LARGE_EVERY == LARGE_EVERY - 1 {
            return self.small + (before % self.large as u64) as usize;
        }
        ((message - before) % self.small as u64) as usize
    }
}

/// 5 %.
const LARGE_EVERY: u64 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_due_at_their_slots_even_when_looked_for_late() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, 1000.0);
        assert_eq!(schedule.take(start), Some((0, start)));
        assert_eq!(schedule.take(start), None);
        let late = start + Duration::from_micros(3500);
        for number in 1..=3 {
            assert_eq!(schedule.take(late), Some((number, start + Duration::from_millis(number))));
        }
        assert_eq!(schedule.take(late), None);
    }

    #[test]
    fn connections_take_turns() {
        let mix = Mix { small: 3, large: 0 };
        assert_eq!((0..7).map(|n| mix.connection_of(n)).collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn one_of_twenty_is_large_and_all_connections_get_their_share() {
        let mix = Mix { small: 4, large: 2 };
        let mut counts = [0; 6];
        (0..4000).for_each(|message| counts[mix.connection_of(message)] += 1);
        assert_eq!(counts, [950, 950, 950, 950, 100, 100]);
    }
}
