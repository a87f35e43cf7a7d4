//! Deadlines of a shard's connections.

use std::time::Duration;

use crate::time::Time;

/// A hashed timer wheel with one deadline per key: insert, move and cancel in constant time, no allocation
/// after a key was first used.
///
/// Deadlines fire at most one tick (10 ms) late and never early. Memory: 16 KiB, and 24 bytes per key.
#[derive(Debug)]
pub struct TimerWheel {
    /// First key of each bucket's list.
    heads: Box<[u32; BUCKETS]>,
    /// One bit per bucket that is not empty.
    occupied: [u64; BUCKETS / 64],
    timers: Vec<Timer>,
    /// All ticks before this one have fired.
    tick: u64,
    len: usize,
}

#[derive(Clone, Copy, Debug)]
struct Timer {
    deadline: u64,
    bucket: u32,
    prev: u32,
    next: u32,
}

impl TimerWheel {
    /// An empty wheel whose time begins at `now`.
    pub fn new(now: Time) -> Self {
        Self {
            heads: Box::new([NONE; BUCKETS]),
            occupied: [0; BUCKETS / 64],
            timers: Vec::new(),
            tick: now.as_nanos() / TICK_NS,
            len: 0,
        }
    }

    /// Sets or moves the deadline of `key`. Keys should be small: memory is proportional to the largest.
    pub fn set(&mut self, key: u32, deadline: Time) {
        self.cancel(key);
        let index = key as usize;
        if index >= self.timers.len() {
            self.timers.resize(index + 1, Timer { deadline: 0, bucket: NONE, prev: NONE, next: NONE });
        }
        self.link(key, deadline.as_nanos());
        self.len += 1;
    }

    /// Forgets the deadline of `key`, if it has one.
    pub fn cancel(&mut self, key: u32) {
        if self.timer(key).is_some_and(|timer| timer.bucket != NONE) {
            self.unlink(key);
            self.len -= 1;
        }
    }

    /// The deadline of `key`, if it has one.
    pub fn deadline(&self, key: u32) -> Option<Time> {
        self.timer(key).filter(|timer| timer.bucket != NONE).map(|timer| Time::from_nanos(timer.deadline))
    }

    /// When to look again: the end of the first tick that may hold a deadline, `None` without deadlines.
    /// A deadline beyond the wheel's horizon (41 s) makes it answer early once per horizon.
    pub fn poll_timeout(&self) -> Option<Time> {
        if self.len == 0 {
            return None;
        }
        let start = self.tick as usize % BUCKETS;
        let distance = self.first_occupied(start)?;
        Some(Time::from_nanos((self.tick + distance as u64 + 1) * TICK_NS))
    }

    /// Takes one key whose deadline has passed; call until `None`.
    pub fn pop_expired(&mut self, now: Time) -> Option<u32> {
        let now_tick = now.as_nanos() / TICK_NS;
        while self.tick < now_tick {
            // After a gap longer than the wheel one lap visits every bucket.
            self.tick = self.tick.max(now_tick.saturating_sub(BUCKETS as u64));
            let bucket = self.tick as usize % BUCKETS;
            if let Some(key) = self.expired_in(bucket, now) {
                self.unlink(key);
                self.len -= 1;
                return Some(key);
            }
            let start = (self.tick as usize + 1) % BUCKETS;
            let skip = self.first_occupied(start).map_or(BUCKETS as u64, |distance| distance as u64 + 1);
            self.tick = (self.tick + skip).min(now_tick);
        }
        None
    }

    /// How many deadlines are set.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether no deadline is set.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first key of `bucket` that has expired; later ones are moved to where they belong now.
    fn expired_in(&mut self, bucket: usize, now: Time) -> Option<u32> {
        let mut key = self.heads.get(bucket).copied().unwrap_or(NONE);
        while let Some(timer) = self.timer(key) {
            if timer.deadline <= now.as_nanos() {
                return Some(key);
            }
            let at = timer.deadline;
            let next = timer.next;
            // The bucket is left behind now, so a later deadline moves on: to its own tick, or to the last
            // bucket of the lap, never back into this one.
            self.unlink(key);
            self.link_after(key, at, self.tick + 1);
            key = next;
        }
        None
    }

    fn link(&mut self, key: u32, deadline: u64) {
        self.link_after(key, deadline, self.tick);
    }

    /// Puts `key` into the bucket of its deadline, not before `first` and at most one lap ahead.
    fn link_after(&mut self, key: u32, deadline: u64, first: u64) {
        let tick = (deadline / TICK_NS).clamp(first, self.tick + BUCKETS as u64 - 1);
        let bucket = tick as usize % BUCKETS;
        let Some(head) = self.heads.get_mut(bucket) else { return };
        let next = std::mem::replace(head, key);
        if let Some(after) = self.timers.get_mut(next as usize) {
            after.prev = key;
        }
        if let Some(timer) = self.timers.get_mut(key as usize) {
            *timer = Timer { deadline, bucket: bucket as u32, prev: NONE, next };
        }
        if let Some(word) = self.occupied.get_mut(bucket / 64) {
            *word |= 1 << (bucket % 64);
        }
    }

    fn unlink(&mut self, key: u32) {
        let Some(timer) = self.timer(key) else { return };
        if let Some(after) = self.timers.get_mut(timer.next as usize) {
            after.prev = timer.prev;
        }
        match self.timers.get_mut(timer.prev as usize) {
            Some(before) => before.next = timer.next,
            None => self.set_head(timer.bucket as usize, timer.next),
        }
        if let Some(gone) = self.timers.get_mut(key as usize) {
            *gone = Timer { deadline: 0, bucket: NONE, prev: NONE, next: NONE };
        }
    }

    fn set_head(&mut self, bucket: usize, key: u32) {
        if let Some(head) = self.heads.get_mut(bucket) {
            *head = key;
        }
        if key == NONE
            && let Some(word) = self.occupied.get_mut(bucket / 64)
        {
            *word &= !(1 << (bucket % 64));
        }
    }

    fn timer(&self, key: u32) -> Option<Timer> {
        self.timers.get(key as usize).copied()
    }

    /// How many buckets after `start` (inclusive, around the wheel) the first occupied one lies.
    fn first_occupied(&self, start: usize) -> Option<usize> {
        let words = BUCKETS / 64;
        (0..=words).find_map(|step| {
            let word = *self.occupied.get((start / 64 + step) % words)?;
            let bits = match step {
                0 => word & (u64::MAX << (start % 64)),
                _ if step == words => word & !(u64::MAX << (start % 64)),
                _ => word,
            };
            (bits != 0).then(|| (step * 64 + bits.trailing_zeros() as usize) - start % 64)
        })
    }
}

/// The wheel's resolution.
const TICK: Duration = Duration::from_millis(10);
const TICK_NS: u64 = TICK.as_nanos() as u64;
/// 41 s: longer than every default timeout, so that a deadline is usually met at its first lap.
const BUCKETS: usize = 4096;
const NONE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn ms(ms: u64) -> Time {
        Time::from_nanos(ms * 1_000_000)
    }

    fn expire(wheel: &mut TimerWheel, now: Time) -> Vec<u32> {
        let mut keys: Vec<u32> = std::iter::from_fn(|| wheel.pop_expired(now)).collect();
        keys.sort_unstable();
        keys
    }

    #[derive(Clone, Debug)]
    enum Op {
        Set(u32, u64),
        Cancel(u32),
        Advance(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => (0u32..40, 0u64..120_000).prop_map(|(key, after)| Op::Set(key, after)),
            1 => (0u32..40).prop_map(Op::Cancel),
            2 => prop_oneof![0u64..50, 0u64..100_000].prop_map(Op::Advance),
        ]
    }

    proptest! {
        #[test]
        fn fires_every_deadline_within_a_tick_and_never_early(ops in prop::collection::vec(op(), 1..200)) {
            let mut now = 1_234;
            let mut wheel = TimerWheel::new(ms(now));
            let mut model: BTreeMap<u32, u64> = BTreeMap::new();
            for op in ops {
                match op {
                    Op::Set(key, after) => {
                        wheel.set(key, ms(now + after));
                        model.insert(key, now + after);
                    }
                    Op::Cancel(key) => {
                        wheel.cancel(key);
                        model.remove(&key);
                    }
                    Op::Advance(by) => {
                        now += by;
                        for key in expire(&mut wheel, ms(now)) {
                            let deadline = model.remove(&key).expect("fired a deadline that was not set");
                            prop_assert!(deadline <= now, "early");
                        }
                        prop_assert!(model.values().all(|deadline| deadline + 10 > now), "late: {:?} {}", model, now);
                    }
                }
                prop_assert_eq!(wheel.len(), model.len());
                if let Some(first) = model.values().min() {
                    let wake = wheel.poll_timeout().expect("deadlines are set").as_nanos() / 1_000_000;
                    prop_assert!(wake <= (*first).max(now) + 10, "would sleep past a deadline");
                    prop_assert!(wake > now, "would spin");
                }
            }
        }
    }

    #[test]
    fn an_empty_wheel_never_wakes_anybody() {
        let mut wheel = TimerWheel::new(ms(5));
        assert_eq!(wheel.poll_timeout(), None);
        wheel.set(3, ms(100));
        assert_eq!(wheel.deadline(3), Some(ms(100)));
        wheel.cancel(3);
        assert_eq!((wheel.poll_timeout(), wheel.len(), wheel.deadline(3)), (None, 0, None));
        assert_eq!(wheel.pop_expired(ms(1_000_000)), None);
    }

    #[test]
    fn a_jump_of_the_clock_fires_everything_at_once() {
        let mut wheel = TimerWheel::new(ms(0));
        for key in 0..1000 {
            wheel.set(key, ms(u64::from(key) * 97));
        }
        assert_eq!(expire(&mut wheel, ms(10_000_000)).len(), 1000);
        assert!(wheel.is_empty());
    }
}
