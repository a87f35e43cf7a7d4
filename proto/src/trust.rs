//! What is left to know of a peer when its connection ends.

use std::sync::Arc;

use crate::close::CloseReason;
use crate::connection::Connection;
use crate::hook::Hook;
use crate::id::ConnId;
use crate::peer::PeerInfo;
use crate::stats::{ConnectionStats, ShardStats};

/// A peer and its connection as of the end: what a registry of peers keeps. Payloads are not part of it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TrustSnapshot {
    /// The connection's id.
    pub id: ConnId,
    /// Who the peer was: address, certificate, handshake with its tags, metrics and policy.
    pub peer: PeerInfo,
    /// Why the connection ended.
    pub reason: CloseReason,
    /// Whether the peer was let in; a rejected peer has no handshake here.
    pub opened: bool,
    /// When, in milliseconds since 1970.
    pub unix_ms: u64,
    /// What the connection moved.
    pub stats: ConnectionStats,
    /// Wire bytes that were accepted and never taken by the kernel.
    pub unsent_bytes: u64,
}

impl TrustSnapshot {
    pub(crate) fn of(conn: &Connection, reason: &CloseReason, opened: bool, unix_ms: u64) -> Self {
        Self {
            id: conn.id,
            peer: conn.peer.clone(),
            reason: reason.clone(),
            opened,
            unix_ms,
            stats: conn.stats,
            unsent_bytes: conn.queued_bytes() as u64,
        }
    }

    /// The name by which the peer called itself, the tag `origin`, else the connection's id.
    pub fn peer_id(&self) -> String {
        let origin = self.peer.handshake.as_ref().and_then(|handshake| handshake.tags.get("origin"));
        origin.map_or_else(|| self.id.to_string(), |origin| origin.text())
    }

    /// The trust level of the peer's policy, 0.25 to 1; `None` without a handshake.
    pub fn trust_level(&self) -> Option<f64> {
        self.peer.handshake.as_ref().map(|handshake| handshake.policy.trust_level)
    }
}

/// Told of every connection that ended, after its handler. Nobody by default.
pub type TrustHook = Hook<dyn Fn(&TrustSnapshot) + Send + Sync>;

impl TrustHook {
    /// A hook that calls `callback`.
    pub fn new(callback: impl Fn(&TrustSnapshot) + Send + Sync + 'static) -> Self {
        Self::of(Arc::new(callback))
    }

    pub(crate) fn call(&self, stats: &mut ShardStats, snapshot: &TrustSnapshot) {
        self.run(stats, |callback| callback(snapshot));
    }
}
