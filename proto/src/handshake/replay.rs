//! Handshakes are accepted once.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::fault::HandshakeFault;
use crate::error::ConfigError;

/// The bounds of a [`ReplayGuard`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplayWindow {
    /// How far a handshake's time may be from ours, into the past and into the future. Default 60 s, at least
    /// 1 ms, at most a day: clocks must agree that well, and a handshake is remembered for up to twice as long.
    pub window: Duration,
    /// How many handshakes are remembered at most, at least 1. Default 65,536, about 1,000 signed connections
    /// per second and minute. A full guard refuses, it does not forget. Costs at most about 100 bytes each:
    /// 6.5 MiB by default.
    pub capacity: usize,
}

impl ReplayWindow {
    /// Checks the bounds.
    ///
    /// # Errors
    ///
    /// Names the option at fault and what would be accepted.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.window < Duration::from_millis(1) || self.window > WINDOW_MAX {
            return Err(ConfigError { option: "replay.window", fix: "must be from 1 ms to 24 h" });
        }
        if self.capacity == 0 {
            return Err(ConfigError { option: "replay.capacity", fix: "must be at least 1" });
        }
        Ok(())
    }
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self { window: Duration::from_secs(60), capacity: 1 << 16 }
    }
}

/// Remembers the signed handshakes of the recent past, so that each is accepted once. Clones share one memory,
/// which is what the shards of a server need.
///
/// Unsigned handshakes are not its business: without `require_signed` they pass.
#[derive(Clone, Debug)]
pub struct ReplayGuard(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    window_ms: u64,
    capacity: usize,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Until when (Unix ms, inclusive) a handshake would pass the window, and its digest. The time is signed, so
    /// a replay has the same entry.
    entries: BTreeSet<(u64, [u8; 32])>,
    /// The latest such time that was forgotten. Should the clock step back, handshakes up to here are refused,
    /// because nobody knows any more.
    forgotten_until_ms: u64,
}

impl ReplayGuard {
    /// An empty guard.
    ///
    /// # Errors
    ///
    /// As [`ReplayWindow::validate`].
    pub fn new(bounds: ReplayWindow) -> Result<Self, ConfigError> {
        bounds.validate()?;
        let window_ms = u64::try_from(bounds.window.as_millis()).unwrap_or(u64::MAX);
        let shared = Shared { window_ms, capacity: bounds.capacity, seen: Mutex::default() };
        Ok(Self(Arc::new(shared)))
    }

    /// Whether the handshake made at `ts_ms` could be accepted at `unix_ms`; remembers nothing.
    ///
    /// # Errors
    ///
    /// [`HandshakeFault::StaleTimestamp`], [`HandshakeFault::Replayed`].
    pub fn check(&self, ts_ms: u64, digest: &[u8; 32], unix_ms: u64) -> Result<(), HandshakeFault> {
        let seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        self.judge(&seen, ts_ms, digest, unix_ms).map(|_| ())
    }

    /// Accepts the handshake, once; forgets those that the window refuses anyway.
    ///
    /// # Errors
    ///
    /// As [`ReplayGuard::check`], and [`HandshakeFault::ReplayGuardFull`].
    pub fn record(&self, ts_ms: u64, digest: &[u8; 32], unix_ms: u64) -> Result<(), HandshakeFault> {
        let mut seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((until_ms, _)) = seen.entries.first().copied().filter(|(until, _)| *until < unix_ms) {
            seen.entries.pop_first();
            seen.forgotten_until_ms = seen.forgotten_until_ms.max(until_ms);
        }
        let until_ms = self.judge(&seen, ts_ms, digest, unix_ms)?;
        if seen.entries.len() >= self.0.capacity {
            return Err(HandshakeFault::ReplayGuardFull { capacity: self.0.capacity });
        }
        seen.entries.insert((until_ms, *digest));
        Ok(())
    }

    /// How many handshakes are remembered.
    pub fn len(&self) -> usize {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner).entries.len()
    }

    /// Whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn judge(&self, seen: &Seen, ts_ms: u64, digest: &[u8; 32], unix_ms: u64) -> Result<u64, HandshakeFault> {
        let window_ms = self.0.window_ms;
        let until_ms = ts_ms.saturating_add(window_ms);
        let off_ms = unix_ms.abs_diff(ts_ms);
        if off_ms > window_ms || until_ms <= seen.forgotten_until_ms {
            return Err(HandshakeFault::StaleTimestamp { off_ms, window_ms });
        }
        if seen.entries.contains(&(until_ms, *digest)) {
            return Err(HandshakeFault::Replayed);
        }
        Ok(until_ms)
    }
}

/// Two guards are equal when they are one.
impl PartialEq for ReplayGuard {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for ReplayGuard {}

/// Longer windows remember more than they protect.
const WINDOW_MAX: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(window_ms: u64, capacity: usize) -> ReplayGuard {
        ReplayGuard::new(ReplayWindow { window: Duration::from_millis(window_ms), capacity }).unwrap()
    }

    const A: [u8; 32] = [1; 32];
    const B: [u8; 32] = [2; 32];

    #[test]
    fn a_handshake_is_accepted_once_by_all_clones_together() {
        let guard = guard(100, 9);
        assert_eq!(guard.check(1000, &A, 1000), Ok(()));
        assert_eq!(guard.record(1000, &A, 1000), Ok(()));
        assert_eq!(guard.clone().record(1000, &A, 1100), Err(HandshakeFault::Replayed));
        assert_eq!(guard.check(1000, &A, 1100), Err(HandshakeFault::Replayed));
        assert_eq!(guard.record(1000, &B, 1100), Ok(()));
    }

    #[test]
    fn times_outside_the_window_are_stale_in_both_directions() {
        let guard = guard(100, 9);
        let stale = |off_ms| Err(HandshakeFault::StaleTimestamp { off_ms, window_ms: 100 });
        assert_eq!(guard.record(1000, &A, 1101), stale(101));
        assert_eq!(guard.record(1000, &A, 899), stale(101));
        assert_eq!(guard.record(1000, &A, 900), Ok(()));
        assert_eq!(guard.record(u64::MAX, &B, 900), stale(u64::MAX - 900));
    }

    #[test]
    fn a_full_guard_refuses_until_the_oldest_expires_and_never_forgets() {
        let guard = guard(100, 2);
        assert_eq!(guard.record(1000, &A, 1000), Ok(()));
        assert_eq!(guard.record(1050, &B, 1050), Ok(()));
        assert_eq!(guard.record(1100, &[3; 32], 1100), Err(HandshakeFault::ReplayGuardFull { capacity: 2 }));
        assert_eq!(guard.record(1000, &A, 1100), Err(HandshakeFault::Replayed));
        assert_eq!(guard.record(1101, &[3; 32], 1101), Ok(()));
        assert_eq!(guard.len(), 2);
    }

    #[test]
    fn a_clock_that_steps_back_revives_no_handshake() {
        let guard = guard(100, 9);
        assert_eq!(guard.record(1000, &A, 1000), Ok(()));
        assert_eq!(guard.record(5000, &B, 5000), Ok(()));
        assert!(matches!(guard.record(1000, &A, 1000), Err(HandshakeFault::StaleTimestamp { .. })));
        assert_eq!(guard.record(1001, &A, 1001), Ok(()));
    }

    #[test]
    fn bounds_that_cannot_work_name_their_option() {
        let fault =
            |window, capacity| ReplayWindow { window, capacity }.validate().map_err(|error| error.option);
        assert_eq!(ReplayWindow::default().validate(), Ok(()));
        assert_eq!(fault(Duration::ZERO, 1), Err("replay.window"));
        assert_eq!(fault(Duration::MAX, 1), Err("replay.window"));
        assert_eq!(fault(Duration::from_secs(1), 0), Err("replay.capacity"));
    }
}
