//! The wall clock that certificates are judged by.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::Error;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls_pki_types::UnixTime;

/// Tells the time to the certificate checks and to the lifetime of resumable sessions. A simulation gives a clock
/// of its own so that its certificates never expire by surprise.
pub trait TlsClock: fmt::Debug + Send + Sync {
    /// Seconds since 1970-01-01 00:00 UTC; `None` when the time is not known, which refuses every handshake that
    /// has a certificate to check.
    fn unix_time_s(&self) -> Option<u64>;
}

/// The given clock for rustls, or rustls' own, which reads the operating system's.
pub(super) fn time_provider(clock: Option<&Arc<dyn TlsClock>>) -> Arc<dyn TimeProvider> {
    match clock {
        Some(clock) => Arc::new(Injected(Arc::clone(clock))),
        None => Arc::new(DefaultTimeProvider),
    }
}

pub(super) fn now(provider: &dyn TimeProvider) -> Result<UnixTime, Error> {
    provider.current_time().ok_or(Error::FailedToGetCurrentTime)
}

#[derive(Debug)]
struct Injected(Arc<dyn TlsClock>);

impl TimeProvider for Injected {
    fn current_time(&self) -> Option<UnixTime> {
        self.0.unix_time_s().map(|seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}
