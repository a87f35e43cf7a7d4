//! What a server keeps of an accepted handshake.

use super::entropy::{EntropyMetrics, EntropyPolicy, PolicyFraming};
use super::payload::Handshake;
use super::tags::Tags;
use super::tls::TlsSnapshot;

/// An accepted handshake. Its tags are the only part whose size the peer chooses, see [`Tags`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct HandshakeInfo {
    /// Version of the application's protocol, if the peer named one; lone surrogates are replaced.
    pub version: Option<String>,
    /// The application's tags.
    pub tags: Tags,
    /// The index that the peer states for its key.
    pub n_index: Option<f64>,
    /// The hash of the peer's key, as it states it. Verified only if [`HandshakeInfo::public_key`] is there.
    pub neg_hash: Option<String>,
    /// The peer's metrics as it sent them, or those computed from its index (0.5 without one).
    pub entropy_metrics: EntropyMetrics,
    /// What the metrics make of the peer; advice, nothing on the wire depends on it.
    pub policy: EntropyPolicy,
    /// What TLS knew when the handshake was accepted; `None` on a plain stream.
    pub tls: Option<TlsSnapshot>,
    /// The Ed25519 key whose signature was verified; `None` for an unsigned handshake. Anybody can make a key.
    pub public_key: Option<[u8; 32]>,
    /// Whether the peer asked for an acknowledgement.
    pub wants_ack: bool,
}

impl HandshakeInfo {
    /// Whether the peer counts as native: its policy is zero-copy, an index of at least 0.85.
    pub fn peer_is_native(&self) -> bool {
        self.policy.framing == PolicyFraming::ZeroCopyWritev
    }

    /// What `handshake` says; `batch_size` is the configured size of the two trusting policies.
    pub(super) fn of(handshake: &Handshake, batch_size: Option<u32>) -> Self {
        let entropy_metrics = EntropyMetrics::of_handshake(handshake);
        let text = |key: &str| {
            let text = handshake.get(key).and_then(|value| value.as_string());
            text.map(|text| text.to_string_lossy().into_owned())
        };
        Self {
            version: text("version"),
            tags: handshake.tags(),
            n_index: handshake.n_index(),
            neg_hash: text("negHash"),
            policy: EntropyPolicy::derive(entropy_metrics.neg_index, batch_size),
            entropy_metrics,
            tls: None,
            public_key: None,
            wants_ack: handshake.wants_ack(),
        }
    }
}
