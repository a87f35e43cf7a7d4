//! Where a handshake meets TLS.

use super::radix::to_base64;
use crate::crypto::sha256;
use crate::tls::TlsFacts;

/// What the transport under a handshake is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransportFacts {
    /// What TLS knows about the connection; `None` on a plain stream.
    pub tls: Option<TlsSnapshot>,
    /// Exported keying material, where an exporter is configured. The snapshot's `session_key` is made of it
    /// and of the handshake's `negHash`.
    pub exported_key: Option<Vec<u8>>,
}

/// TLS as of the accepted handshake. `Default` is a connection of which nothing is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSnapshot {
    /// The negotiated application protocol, if one was.
    pub alpn: Option<String>,
    /// Whether the peer's certificate was verified.
    pub authorized: bool,
    /// SHA-256 fingerprint of the certificate that the peer presented, if it did: upper-case hexadecimal pairs joined by
    /// colons.
    pub peer_fingerprint256: Option<String>,
    /// SHA-1 fingerprint of the same certificate.
    pub peer_fingerprint: Option<String>,
    /// `TLSv1.2` or `TLSv1.3`.
    pub protocol: String,
    /// Name of the cipher suite.
    pub cipher: String,
    /// Base64 of the exported keying material; of its SHA-256 together with the handshake's `negHash`, if that
    /// is there. Filled in when the handshake is judged.
    pub session_key: Option<String>,
}

impl From<&TlsFacts> for TransportFacts {
    fn from(facts: &TlsFacts) -> Self {
        let tls = TlsSnapshot {
            alpn: facts.alpn.clone(),
            authorized: facts.authorized,
            peer_fingerprint256: facts.peer_fingerprint256.clone(),
            peer_fingerprint: facts.peer_fingerprint.clone(),
            protocol: facts.version.to_string(),
            cipher: facts.cipher.to_owned(),
            session_key: None,
        };
        Self { tls: Some(tls), exported_key: facts.keying_material.clone() }
    }
}

/// A server's name for the TLS session: `material` alone, or bound to the peer's `neg_hash`.
pub(crate) fn session_key(material: &[u8], neg_hash: Option<&str>) -> String {
    match neg_hash {
        None => to_base64(material),
        Some(hash) => to_base64(&sha256(&[material, hash.as_bytes()])),
    }
}

pub(super) const FINGERPRINT256_TAG: &str = "tlsFingerprint256";
pub(super) const FINGERPRINT_TAG: &str = "tlsFingerprint";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_named_by_its_material_and_bound_to_a_key() {
        assert_eq!(session_key(&[0, 1], None), "AAE=");
        assert_eq!(session_key(b"a", Some("bc")), to_base64(&sha256(&[b"abc"])));
    }
}
