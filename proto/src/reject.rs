//! The user's ear for connections that never came to be.

use std::sync::Arc;

use crate::close::CloseReason;
use crate::hook::Hook;
use crate::peer::PeerInfo;
use crate::stats::ShardStats;

/// Told of every connection that ended before its handler was opened: by admission, by the user's own hook, by TLS
/// or the handshake, by a handler that could not be made. Such a connection has neither `on_open` nor `on_close`.
/// Nobody by default.
pub type RejectHook = Hook<dyn Fn(&PeerInfo, &CloseReason) + Send + Sync>;

impl RejectHook {
    /// A hook that calls `callback`.
    pub fn new(callback: impl Fn(&PeerInfo, &CloseReason) + Send + Sync + 'static) -> Self {
        Self::of(Arc::new(callback))
    }

    /// Tells of a connection that ended before its handler was opened. The caller counts it in
    /// [`ShardStats::refused`] or [`ShardStats::rejected`].
    pub fn call(&self, stats: &mut ShardStats, peer: &PeerInfo, reason: &CloseReason) {
        self.run(stats, |callback| callback(peer, reason));
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
