//! The user's ear for connections that never came to be.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::close::CloseReason;
use crate::peer::PeerInfo;
use crate::stats::ShardStats;

/// Told of every connection that ended before its handler was opened: by admission, by the user's own hook, by a
/// handler that could not be made. Such a connection has neither `on_open` nor `on_close`.
///
/// The callback runs on a shard's thread and must not block; its panics are contained and counted. Empty by
/// default. Two hooks are equal when they are the same callback.
#[derive(Clone, Default)]
pub struct RejectHook(Option<Arc<Callback>>);

type Callback = dyn Fn(&PeerInfo, &CloseReason) + Send + Sync;

impl RejectHook {
    /// A hook that calls `callback`.
    pub fn new(callback: impl Fn(&PeerInfo, &CloseReason) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(callback)))
    }

    /// Whether anybody listens; without, the peer's address need not be asked for.
    pub const fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// Tells of a connection that ended before its handler was opened. The caller counts it in
    /// [`ShardStats::refused`] or [`ShardStats::rejected`].
    pub fn call(&self, stats: &mut ShardStats, peer: &PeerInfo, reason: &CloseReason) {
        if let Some(callback) = &self.0
            && catch_unwind(AssertUnwindSafe(|| callback(peer, reason))).is_err()
        {
            stats.panics += 1;
        }
    }
}

impl PartialEq for RejectHook {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(mine), Some(theirs)) => Arc::ptr_eq(mine, theirs),
            (mine, theirs) => mine.is_none() && theirs.is_none(),
        }
    }
}

impl Eq for RejectHook {}

impl fmt::Debug for RejectHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_set() { "RejectHook(set)" } else { "RejectHook(none)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::PeerAddr;

    #[test]
    fn a_panic_of_the_callback_is_contained_and_counted() {
        let hook = RejectHook::new(|_, _| std::panic::resume_unwind(Box::new("told")));
        let mut stats = ShardStats::default();
        hook.call(&mut stats, &PeerInfo::new(PeerAddr::Unknown), &CloseReason::Refused);
        assert_eq!(stats.panics, 1);
        RejectHook::default().call(&mut stats, &PeerInfo::new(PeerAddr::Unknown), &CloseReason::Refused);
        assert_eq!(stats.panics, 1);
        assert_eq!(hook, hook.clone());
        assert_ne!(hook, RejectHook::default());
    }
}
