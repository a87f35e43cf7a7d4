//! How long a shard looks for work before it lets its thread sleep.

use std::time::Duration;

/// How a shard's thread waits when it has nothing to do. Drivers that cannot spin always park.
///
/// A thread that sleeps costs nothing and is woken in ten to forty microseconds; one that spins notices at once,
/// and keeps a CPU busy meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WaitMode {
    /// Spins, for at most [`WaitMode::SPIN_MAX`] at a time, as long as that catches what would otherwise wake the
    /// thread; sleeps else. An idle shard does not spin, nor does one that shares its CPU with its peers.
    #[default]
    Auto,
    /// Always sleeps.
    Park,
    /// Never sleeps: a whole CPU for each shard, also while idle.
    Spin,
}

impl WaitMode {
    /// The longest that [`WaitMode::Auto`] looks for work before it sleeps: 50 µs, a few times what waking a
    /// thread costs, so that a wrong guess costs little more than the right one.
    pub const SPIN_MAX: Duration = Duration::from_nanos(SPIN_MAX_NS);
}

/// The law behind [`WaitMode::Auto`]: a budget per wait that follows what earlier waits were like.
///
/// After a short wait the budget doubles, from 10 µs up to [`WaitMode::SPIN_MAX`], because spinning that long would
/// have caught the event; after a long one it is halved. That is how KVM polls for halted guests (the kernel's
/// documentation, "The KVM halt polling system"). In addition, budgets that are missed by little several times in a
/// row mean that events come only once the thread sleeps, as they do when it keeps the CPU from whoever makes them:
/// then it does not spin for a number of waits that doubles each time.
#[derive(Clone, Debug)]
pub struct Waiting {
    mode: WaitMode,
    budget_ns: u64,
    /// Budgets in a row that were missed by little.
    misses: u32,
    /// Waits without spinning that are left, and how many it will be next time.
    pause: u32,
    pause_next: u32,
}

impl Waiting {
    /// Nothing is known yet: the first wait does not spin, unless the mode says so.
    pub const fn new(mode: WaitMode) -> Self {
        Self { mode, budget_ns: 0, misses: 0, pause: 0, pause_next: PAUSE_MIN }
    }

    /// How long to look for work now. Zero: sleep at once.
    pub const fn budget(&self) -> Duration {
        match self.mode {
            WaitMode::Park => Duration::ZERO,
            WaitMode::Spin => Duration::MAX,
            WaitMode::Auto if self.pause > 0 => Duration::ZERO,
            WaitMode::Auto => Duration::from_nanos(self.budget_ns),
        }
    }

    /// Whether the budget is always zero and nothing is learned: work may be submitted by the call that sleeps.
    pub const fn always_parks(&self) -> bool {
        matches!(self.mode, WaitMode::Park)
    }

    /// Work came while the shard looked for it.
    pub const fn caught(&mut self) {
        self.misses = 0;
        self.pause_next = PAUSE_MIN;
    }

    /// The shard has slept: for `slept`, after it had looked for work for `spun` (zero if it had not).
    pub fn slept(&mut self, spun: Duration, slept: Duration) {
        if self.pause > 0 {
            self.pause -= 1;
            return;
        }
        let is_short = spun.saturating_add(slept) <= WaitMode::SPIN_MAX;
        if !is_short {
            self.budget_ns = if self.budget_ns < 2 * SPIN_MIN_NS { 0 } else { self.budget_ns / 2 };
        } else if self.budget_ns < SPIN_MAX_NS {
            self.budget_ns = (2 * self.budget_ns).clamp(SPIN_MIN_NS, SPIN_MAX_NS);
        }
        let is_missed = !spun.is_zero() && slept <= WaitMode::SPIN_MAX;
        self.misses = if is_missed { self.misses + 1 } else { 0 };
        if self.misses == MISSES_MAX {
            self.misses = 0;
            self.pause = self.pause_next;
            self.pause_next = (2 * self.pause_next).min(PAUSE_MAX);
        }
    }
}

const SPIN_MIN_NS: u64 = 10_000;
const SPIN_MAX_NS: u64 = 50_000;
/// More than it takes to grow from the smallest budget to the largest.
const MISSES_MAX: u32 = 4;
const PAUSE_MIN: u32 = 64;
/// A shard that is woken a thousand times a second tries again after a minute at most.
const PAUSE_MAX: u32 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// Events that come `gap` after each other, whether or not the thread spins.
    fn spun_share(waiting: &mut Waiting, gap_us: u64, waits: u32) -> (u32, u64) {
        let (mut caught, mut spun_us) = (0, 0);
        for _ in 0..waits {
            let budget = waiting.budget();
            let gap = Duration::from_micros(gap_us);
            if gap <= budget {
                waiting.caught();
                caught += 1;
                spun_us += gap_us;
            } else {
                waiting.slept(budget, gap - budget);
                spun_us += budget.as_micros() as u64;
            }
        }
        (caught, spun_us)
    }

    #[test]
    fn quick_answers_are_caught() {
        for gap_us in [1, 9, 20, 39, 50] {
            let (caught, _) = spun_share(&mut Waiting::new(WaitMode::Auto), gap_us, 1000);
            assert!(caught >= 990, "{gap_us} us: {caught}");
        }
    }

    #[test]
    fn a_shard_with_little_to_do_sleeps() {
        for gap_us in [120, 1000, 1_000_000] {
            let (caught, spun_us) = spun_share(&mut Waiting::new(WaitMode::Auto), gap_us, 1000);
            assert_eq!((caught, spun_us), (0, 0), "{gap_us} us");
        }
    }

    #[test]
    fn a_burst_is_forgotten_within_a_few_waits() {
        let mut waiting = Waiting::new(WaitMode::Auto);
        spun_share(&mut waiting, 5, 100);
        let (_, spun_us) = spun_share(&mut waiting, 10_000, 1000);
        assert!(spun_us <= 100, "{spun_us} us");
        assert_eq!(waiting.budget(), Duration::ZERO);
    }

    /// On a CPU of its own a shard sees the event 10 µs after it asked; on a shared one, 10 µs after it sleeps.
    #[test]
    fn a_shard_that_keeps_its_peer_from_the_cpu_stops_spinning() {
        let mut waiting = Waiting::new(WaitMode::Auto);
        let mut spins = 0;
        for _ in 0..100_000 {
            let budget = waiting.budget();
            spins += u32::from(!budget.is_zero());
            waiting.slept(budget, Duration::from_micros(10));
        }
        assert!(spins <= 60, "{spins} of 100,000 waits");
        let (caught, _) = spun_share(&mut waiting, 10, 200_000);
        assert!(caught > 100_000, "it tries again: {caught}");
    }

    #[test]
    fn the_other_modes_do_as_they_say() {
        let (mut park, mut spin) = (Waiting::new(WaitMode::Park), Waiting::new(WaitMode::Spin));
        spun_share(&mut park, 1, 100);
        assert_eq!(park.budget(), Duration::ZERO);
        spin.slept(Duration::from_secs(1), Duration::from_secs(1));
        assert_eq!(spin.budget(), Duration::MAX);
    }

    #[test]
    fn the_budget_keeps_within_its_bounds() {
        let seed = 0x0bad_cafe_u64;
        println!("seed {seed:#x}");
        let mut state = seed;
        let mut waiting = Waiting::new(WaitMode::Auto);
        for _ in 0..100_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let ns = |shift: u64| Duration::from_nanos((state >> 33) % (1 << shift));
            if state >> 63 == 0 {
                waiting.caught()
            } else {
                waiting.slept(ns(17), ns(20))
            }
            assert!(waiting.budget() <= WaitMode::SPIN_MAX);
        }
        waiting.slept(Duration::MAX, Duration::MAX);
    }
}
