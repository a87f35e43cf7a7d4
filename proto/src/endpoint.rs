//! Admission of one listener: who may come in, and how fast a starving one is asked again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::time::Time;

/// Admission of one listener, shared by all shards that accept for it.
///
/// Cloning gives another handle of the same counter.
#[derive(Clone, Debug)]
pub struct Endpoint {
    open: Arc<AtomicUsize>,
    connections_max: usize,
}

/// The place an admitted connection occupies; dropping it frees the place.
#[derive(Debug)]
pub struct Admission(Arc<AtomicUsize>);

/// Why a connection was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// `max_connections` are open.
    #[error("Max clients reached")]
    TooManyConnections,
}

impl Endpoint {
    /// Admits up to `connections_max` connections at a time.
    pub fn new(connections_max: usize) -> Self {
        Self { open: Arc::default(), connections_max }
    }

    /// Admits a connection, or says why not.
    ///
    /// # Errors
    ///
    /// The reason, for `on_reject` and the counters.
    pub fn admit(&self) -> Result<Admission, Refusal> {
        let admitted = self.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, |open| {
            (open < self.connections_max).then_some(open + 1)
        });
        match admitted {
            Ok(_) => Ok(Admission(self.open.clone())),
            Err(_) => Err(Refusal::TooManyConnections),
        }
    }

    /// Connections open now.
    pub fn open_connections(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// When to ask the system for connections again after it refused (out of descriptors or memory): 10 ms,
/// doubling to 1 s. Without it a listener that cannot accept spins.
#[derive(Debug, Default)]
pub struct AcceptBackoff {
    delay: Duration,
    retry_at: Option<Time>,
}

impl AcceptBackoff {
    /// The system refused at `now`; returns when to ask again.
    pub fn handle_failure(&mut self, now: Time) -> Time {
        self.delay = (self.delay * 2).clamp(BACKOFF_MIN, BACKOFF_MAX);
        let retry_at = now + self.delay;
        self.retry_at = Some(retry_at);
        retry_at
    }

    /// A connection came through: the next failure starts over.
    pub fn handle_success(&mut self) {
        *self = Self::default();
    }

    /// When to ask again, while waiting.
    pub const fn poll_timeout(&self) -> Option<Time> {
        self.retry_at
    }

    /// True once when the wait is over.
    pub fn handle_timeout(&mut self, now: Time) -> bool {
        let due = self.retry_at.is_some_and(|at| at <= now);
        if due {
            self.retry_at = None;
        }
        due
    }
}

const BACKOFF_MIN: Duration = Duration::from_millis(10);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_connection_is_gone() {
        let endpoint = Endpoint::new(2);
        let first = endpoint.admit().unwrap();
        let _second = endpoint.clone().admit().unwrap();
        assert_eq!(endpoint.admit().unwrap_err(), Refusal::TooManyConnections);
        drop(first);
        assert!(endpoint.admit().is_ok());
        assert_eq!(endpoint.open_connections(), 1);
    }

    #[test]
    fn backoff_doubles_to_a_second_and_starts_over() {
        let mut backoff = AcceptBackoff::default();
        let delays: Vec<u64> =
            (0..9).map(|_| backoff.handle_failure(Time::ZERO).as_nanos() / 1_000_000).collect();
        assert_eq!(delays, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        assert!(!backoff.handle_timeout(Time::from_nanos(999_999_999)));
        assert!(backoff.handle_timeout(Time::from_nanos(1_000_000_000)));
        assert!(!backoff.handle_timeout(Time::from_nanos(1_000_000_000)), "due once");
        backoff.handle_success();
        assert_eq!(backoff.handle_failure(Time::ZERO), Time::from_nanos(10_000_000));
    }
}
