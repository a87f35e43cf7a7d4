//! Admission of one listener: who may come in, and how fast a starving one is asked again.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::close::CloseReason;
use crate::peer::PeerInfo;
use crate::reject::RejectHook;
use crate::stats::ShardStats;
use crate::time::Time;

/// Admission of one listener, shared by all shards that accept for it.
///
/// Cloning gives another handle of the same counter.
#[derive(Clone)]
pub struct Endpoint {
    open: Arc<AtomicUsize>,
    connections_max: usize,
    allow: Option<Arc<AllowPeer>>,
    on_reject: RejectHook,
}

type AllowPeer = dyn Fn(&PeerInfo) -> bool + Send + Sync;

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
    /// The hook of the server said no, or panicked.
    #[error("the peer is not allowed")]
    NotAllowed,
}

impl Endpoint {
    /// Admits up to `connections_max` connections at a time.
    pub fn new(connections_max: usize) -> Self {
        Self { open: Arc::default(), connections_max, allow: None, on_reject: RejectHook::default() }
    }

    /// Asks `allow` about each peer that has a place. It runs on a shard's thread and must not block; its panic
    /// is a no.
    #[must_use]
    pub fn with_allow(mut self, allow: impl Fn(&PeerInfo) -> bool + Send + Sync + 'static) -> Self {
        self.allow = Some(Arc::new(allow));
        self
    }

    /// Tells `on_reject` of everybody who is refused.
    #[must_use]
    pub fn with_on_reject(mut self, on_reject: RejectHook) -> Self {
        self.on_reject = on_reject;
        self
    }

    /// Admits a peer that has connected: there must be a place, and the hook must allow it, in this order. A
    /// refusal is counted and reported. `peer` is asked for only if somebody wants to know.
    pub fn admit_peer(&self, stats: &mut ShardStats, peer: impl FnOnce() -> PeerInfo) -> Option<Admission> {
        let (refusal, peer) = match (self.admit(), &self.allow) {
            (Ok(admission), None) => return Some(admission),
            (Ok(admission), Some(allow)) => {
                let peer = peer();
                let answer = catch_unwind(AssertUnwindSafe(|| allow(&peer)));
                stats.panics += u64::from(answer.is_err());
                if answer.unwrap_or(false) {
                    return Some(admission);
                }
                (Refusal::NotAllowed, Some(peer))
            }
            (Err(refusal), _) => (refusal, self.on_reject.is_set().then(peer)),
        };
        stats.refused += 1;
        if let Some(peer) = peer {
            self.on_reject.call(stats, &peer, &refusal.into());
        }
        None
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

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("open", &self.open_connections())
            .field("connections_max", &self.connections_max)
            .finish_non_exhaustive()
    }
}

impl From<Refusal> for CloseReason {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::TooManyConnections => Self::Refused,
            Refusal::NotAllowed => Self::NotAllowed,
        }
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
    fn places_come_before_the_hook_and_every_refusal_is_told() {
        let told = Arc::new(std::sync::Mutex::new(Vec::new()));
        let asked = Arc::new(AtomicUsize::new(0));
        let (tell, count) = (told.clone(), asked.clone());
        let endpoint = Endpoint::new(1)
            .with_allow(move |_| count.fetch_add(1, Ordering::Relaxed) != 0)
            .with_on_reject(RejectHook::new(move |_, reason| tell.lock().unwrap().push(reason.clone())));
        let mut stats = ShardStats::default();
        let peer = || PeerInfo::new(crate::peer::PeerAddr::Unknown);
        assert!(endpoint.admit_peer(&mut stats, peer).is_none(), "the hook says no to the first");
        let second = endpoint.admit_peer(&mut stats, peer);
        assert!(second.is_some(), "the first gave its place back");
        assert!(endpoint.admit_peer(&mut stats, peer).is_none());
        assert_eq!(asked.load(Ordering::Relaxed), 2, "nobody is asked about a peer without a place");
        assert_eq!(*told.lock().unwrap(), [CloseReason::NotAllowed, CloseReason::Refused]);
        assert_eq!((stats.refused, stats.panics), (2, 0));
    }

    #[test]
    fn a_hook_that_panics_says_no() {
        let endpoint = Endpoint::new(1).with_allow(|_| std::panic::resume_unwind(Box::new("hook")));
        let mut stats = ShardStats::default();
        let peer = || PeerInfo::new(crate::peer::PeerAddr::Unknown);
        assert!(endpoint.admit_peer(&mut stats, peer).is_none());
        assert_eq!((stats.refused, stats.panics, endpoint.open_connections()), (1, 1, 0));
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
