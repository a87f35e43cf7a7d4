//! What can be wrong with a handshake.

use super::json::JsonError;

/// Why a handshake was refused, or could not be made. Where QWormhole has a text for it, the message starts with
/// that text; [`HandshakeFault::code`] is QWormhole's error code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeFault {
    /// The first frame is not JSON.
    #[error("Invalid negentropic handshake signature: not JSON at byte {at}")]
    NotJson {
        /// Where, in bytes from the start of the payload.
        at: usize,
    },
    /// Arrays and objects are nested too deep.
    #[error("Invalid handshake payload: nested deeper than {limit}")]
    TooDeep {
        /// The limit in levels.
        limit: u32,
    },
    /// The payload is too long.
    #[error("Invalid handshake payload: {len} bytes, at most {limit}")]
    TooLarge {
        /// Length of the payload in bytes, as far as it is known.
        len: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A key has a value that it may not have.
    #[error("Invalid handshake payload: `{path}` must be {expected}")]
    Payload {
        /// The key, from the top, joined by dots; empty for the payload itself. At most 128 bytes of it.
        path: String,
        /// What would be accepted.
        expected: &'static str,
    },
    /// The peer speaks another version of the application's protocol.
    #[error("Protocol version mismatch")]
    VersionMismatch,
    /// The tags name another certificate than the peer presented, or it presented none.
    #[error("TLS fingerprint mismatch")]
    TlsFingerprintMismatch,
    /// The verifier refused.
    #[error("Handshake rejected")]
    Rejected,
    /// The verifier panicked.
    #[error("Invalid negentropic handshake signature: the verifier panicked")]
    VerifierPanicked,
    /// The signature, or the hash that it covers, does not verify.
    #[error("Invalid negentropic handshake signature")]
    Signature,
    /// The policy asks for a signature and there is none.
    #[error("Invalid negentropic handshake signature: the handshake is not signed")]
    Unsigned,
    /// This very handshake was seen before.
    #[error("Handshake rejected: replayed")]
    Replayed,
    /// The handshake's time is outside the replay window.
    #[error("Handshake rejected: its time is {off_ms} ms off, at most {window_ms} ms")]
    StaleTimestamp {
        /// Distance between the handshake's time and ours, in ms.
        off_ms: u64,
        /// The replay window in ms.
        window_ms: u64,
    },
    /// The replay guard remembers as many unexpired handshakes as it may; this side is overloaded, the peer did
    /// nothing wrong.
    #[error("Handshake rejected: the replay guard is full ({capacity} handshakes)")]
    ReplayGuardFull {
        /// How many handshakes the guard remembers at most.
        capacity: usize,
    },
    /// The server was asked to acknowledge the handshake and sent something else.
    #[error("the server did not acknowledge the handshake")]
    Unacknowledged,
}

impl HandshakeFault {
    /// QWormhole's error code, where it has one: it raises version and fingerprint mismatches without.
    pub const fn code(&self) -> Option<&'static str> {
        match self {
            Self::NotJson { .. } | Self::Signature | Self::Unsigned | Self::VerifierPanicked => {
                Some("E_INVALID_HANDSHAKE_SIGNATURE")
            }
            Self::TooDeep { .. } | Self::TooLarge { .. } | Self::Payload { .. } => {
                Some("E_INVALID_HANDSHAKE_PAYLOAD")
            }
            Self::Rejected
            | Self::Replayed
            | Self::StaleTimestamp { .. }
            | Self::ReplayGuardFull { .. }
            | Self::Unacknowledged => Some("E_INVALID_HANDSHAKE"),
            Self::VersionMismatch | Self::TlsFingerprintMismatch => None,
        }
    }

    /// A short stable name of the variant, for counters and logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NotJson { .. } => "not-json",
            Self::TooDeep { .. } => "too-deep",
            Self::TooLarge { .. } => "too-large",
            Self::Payload { .. } => "payload",
            Self::VersionMismatch => "version-mismatch",
            Self::TlsFingerprintMismatch => "tls-fingerprint-mismatch",
            Self::Rejected => "rejected",
            Self::VerifierPanicked => "verifier-panicked",
            Self::Signature => "signature",
            Self::Unsigned => "unsigned",
            Self::Replayed => "replayed",
            Self::StaleTimestamp { .. } => "stale-timestamp",
            Self::ReplayGuardFull { .. } => "replay-guard-full",
            Self::Unacknowledged => "unacknowledged",
        }
    }

    /// A fault at `path`, cut to a length that an error message can bear.
    pub(super) fn at(path: &[&str], expected: &'static str) -> Self {
        let mut path = path.join(".");
        let end = (0..=PATH_BYTES_MAX.min(path.len())).rev().find(|end| path.is_char_boundary(*end));
        path.truncate(end.unwrap_or(0));
        Self::Payload { path, expected }
    }
}

impl From<JsonError> for HandshakeFault {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::Syntax { at } => Self::NotJson { at },
            JsonError::TooLarge { len, limit } => Self::TooLarge { len, limit },
            JsonError::TooDeep { limit } => Self::TooDeep { limit },
        }
    }
}

/// The peer chooses its keys; an error message does not carry 64 KiB of them.
const PATH_BYTES_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_users_match_are_the_start_of_the_message() {
        for (fault, start) in [
            (HandshakeFault::NotJson { at: 0 }, "Invalid negentropic handshake signature"),
            (HandshakeFault::Signature, "Invalid negentropic handshake signature"),
            (
                HandshakeFault::at(&["tags", "x"], "short"),
                "Invalid handshake payload: `tags.x` must be short",
            ),
            (HandshakeFault::VersionMismatch, "Protocol version mismatch"),
            (HandshakeFault::TlsFingerprintMismatch, "TLS fingerprint mismatch"),
            (HandshakeFault::Rejected, "Handshake rejected"),
        ] {
            assert!(fault.to_string().starts_with(start), "{fault}");
        }
    }

    #[test]
    fn a_long_key_is_cut_at_a_character() {
        let key = "é".repeat(1000);
        let HandshakeFault::Payload { path, .. } = HandshakeFault::at(&["a", &key], "") else { panic!() };
        assert_eq!(path.len(), 128);
        let HandshakeFault::Payload { path, .. } = HandshakeFault::at(&["ab", &key], "") else { panic!() };
        assert_eq!(path.len(), 127);
    }
}
