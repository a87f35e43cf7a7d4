//! What a negentropic index makes of a peer: metrics, and a policy that is advice.

use super::json::Json;
use super::payload::Handshake;

/// What is known about a peer's entropy. A peer may send any part of it, so every member may be missing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EntropyMetrics {
    /// Entropy in bits, from 0 to 8 when it is computed.
    pub entropy: Option<f64>,
    /// How fast the index moves.
    pub entropy_velocity: Option<EntropyVelocity>,
    /// The class of the index.
    pub coherence: Option<Coherence>,
    /// The negentropic index, from 0 to 1 in a handshake.
    pub neg_index: Option<f64>,
}

impl EntropyMetrics {
    /// The metrics of an index: entropy is `8 * (1 - index)`, the index is kept as it is.
    pub fn compute(neg_index: f64) -> Self {
        Self {
            entropy: Some(8.0 * (1.0 - neg_index.clamp(0.0, 1.0))),
            entropy_velocity: Some(EntropyVelocity::Stable),
            coherence: Some(Coherence::of(neg_index)),
            neg_index: Some(neg_index),
        }
    }

    /// The metrics of an index that was `previous` before `delta_ms` ms.
    pub fn compute_moving(neg_index: f64, previous: f64, delta_ms: f64) -> Self {
        let velocity = EntropyVelocity::between(previous, neg_index, delta_ms);
        Self { entropy_velocity: Some(velocity), ..Self::compute(neg_index) }
    }

    /// The peer's own metrics if it sent some, else those of its index, else those of the default index.
    pub(super) fn of_handshake(handshake: &Handshake) -> Self {
        let Some(metrics) = handshake.get("entropyMetrics").and_then(Json::as_object) else {
            return Self::compute(handshake.n_index().unwrap_or(NEG_INDEX_DEFAULT));
        };
        let number = |key: &str| metrics.get(key).and_then(Json::as_number);
        let word = |key: &str| metrics.get(key).and_then(Json::as_string).and_then(|text| text.as_str());
        Self {
            entropy: number("entropy"),
            entropy_velocity: word("entropyVelocity").and_then(EntropyVelocity::from_name),
            coherence: word("coherence").and_then(Coherence::from_name),
            neg_index: number("negIndex"),
        }
    }
}

/// How fast an index moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntropyVelocity {
    /// Below 0.01 per second.
    Low,
    /// Below 0.05 per second, or unknown.
    Stable,
    /// Below 0.2 per second.
    Rising,
    /// Faster.
    Spiking,
}

impl EntropyVelocity {
    /// Between two indices that are `delta_ms` ms apart; without time between them it is stable.
    pub fn between(previous: f64, current: f64, delta_ms: f64) -> Self {
        if delta_ms <= 0.0 {
            return Self::Stable;
        }
        let per_second = ((current - previous) / (delta_ms / 1000.0)).abs();
        match per_second {
            _ if per_second < 0.01 => Self::Low,
            _ if per_second < 0.05 => Self::Stable,
            _ if per_second < 0.2 => Self::Rising,
            _ => Self::Spiking,
        }
    }

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Stable => "stable",
            Self::Rising => "rising",
            Self::Spiking => "spiking",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Low, Self::Stable, Self::Rising, Self::Spiking].into_iter().find(|known| known.name() == name)
    }
}

/// The class of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coherence {
    /// From 0.85.
    High,
    /// From 0.65.
    Medium,
    /// From 0.4.
    Low,
    /// Below.
    Chaos,
}

impl Coherence {
    /// The class of an index.
    pub const fn of(neg_index: f64) -> Self {
        match neg_index {
            0.85.. => Self::High,
            0.65.. => Self::Medium,
            0.4.. => Self::Low,
            _ => Self::Chaos,
        }
    }

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
            Self::Chaos => "chaos",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::High, Self::Medium, Self::Low, Self::Chaos].into_iter().find(|known| known.name() == name)
    }
}

/// How a peer might be spoken to. Advice: nothing on the wire depends on it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct EntropyPolicy {
    /// The mode, which the rest follows from.
    pub mode: HandshakeMode,
    /// The framing that the mode would like.
    pub framing: PolicyFraming,
    /// Frames per batch.
    pub batch_size: u32,
    /// The codec that the mode would like.
    pub codec: PolicyCodec,
    /// Whether the mode would like acknowledgements.
    pub require_ack: bool,
    /// Whether the mode would like checksums.
    pub require_checksum: bool,
    /// From 0.25 to 1.
    pub trust_level: f64,
}

impl EntropyPolicy {
    /// The policy of an index, [`NEG_INDEX_DEFAULT`] if there is none. A `batch_size` other than zero replaces
    /// that of the two trusting modes.
    pub fn derive(neg_index: Option<f64>, batch_size: Option<u32>) -> Self {
        let trusting = |default: u32| batch_size.filter(|size| *size > 0).unwrap_or(default);
        match Coherence::of(neg_index.unwrap_or(NEG_INDEX_DEFAULT)) {
            Coherence::High => Self {
                mode: HandshakeMode::TrustZero,
                framing: PolicyFraming::ZeroCopyWritev,
                batch_size: trusting(64),
                codec: PolicyCodec::Flatbuffers,
                require_ack: false,
                require_checksum: false,
                trust_level: 1.0,
            },
            Coherence::Medium => Self {
                mode: HandshakeMode::TrustLight,
                framing: PolicyFraming::LengthPrefix,
                batch_size: trusting(32),
                codec: PolicyCodec::Cbor,
                require_ack: false,
                require_checksum: false,
                trust_level: 0.75,
            },
            Coherence::Low => Self {
                mode: HandshakeMode::Immune,
                framing: PolicyFraming::LengthAck,
                batch_size: 8,
                codec: PolicyCodec::Messagepack,
                require_ack: true,
                require_checksum: false,
                trust_level: 0.5,
            },
            Coherence::Chaos => Self {
                mode: HandshakeMode::Paranoia,
                framing: PolicyFraming::LengthAckChecksum,
                batch_size: 1,
                codec: PolicyCodec::JsonCompressed,
                require_ack: true,
                require_checksum: true,
                trust_level: 0.25,
            },
        }
    }

    /// The policy of two peers together: that of the lower index.
    pub fn merged(local: Option<f64>, peer: Option<f64>, batch_size: Option<u32>) -> Self {
        let local = local.unwrap_or(NEG_INDEX_DEFAULT);
        Self::derive(Some(local.min(peer.unwrap_or(NEG_INDEX_DEFAULT))), batch_size)
    }
}

/// How far a peer is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeMode {
    /// An index from 0.85.
    TrustZero,
    /// From 0.65.
    TrustLight,
    /// From 0.4.
    Immune,
    /// Below.
    Paranoia,
}

impl HandshakeMode {
    /// QWormhole's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TrustZero => "trust-zero",
            Self::TrustLight => "trust-light",
            Self::Immune => "immune",
            Self::Paranoia => "paranoia",
        }
    }
}

/// The framing that a mode would like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyFraming {
    /// Frames written without copying; the peer counts as native.
    ZeroCopyWritev,
    /// Frames with a length.
    LengthPrefix,
    /// Frames with a length, acknowledged.
    LengthAck,
    /// Frames with a length and a checksum, acknowledged.
    LengthAckChecksum,
}

impl PolicyFraming {
    /// QWormhole's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ZeroCopyWritev => "zero-copy-writev",
            Self::LengthPrefix => "length-prefix",
            Self::LengthAck => "length-ack",
            Self::LengthAckChecksum => "length-ack-checksum",
        }
    }
}

/// The codec that a mode would like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyCodec {
    /// FlatBuffers.
    Flatbuffers,
    /// CBOR.
    Cbor,
    /// MessagePack.
    Messagepack,
    /// Compressed JSON.
    JsonCompressed,
}

impl PolicyCodec {
    /// QWormhole's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flatbuffers => "flatbuffers",
            Self::Cbor => "cbor",
            Self::Messagepack => "messagepack",
            Self::JsonCompressed => "json-compressed",
        }
    }
}

/// The index of a peer that states none.
pub const NEG_INDEX_DEFAULT: f64 = 0.5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configured_batch_size_replaces_that_of_the_trusting_modes_only() {
        let sizes = |batch| [0.9, 0.7, 0.5, 0.1].map(|n| EntropyPolicy::derive(Some(n), batch).batch_size);
        assert_eq!(sizes(None), [64, 32, 8, 1]);
        assert_eq!(sizes(Some(0)), [64, 32, 8, 1]);
        assert_eq!(sizes(Some(7)), [7, 7, 8, 1]);
    }
}
