//! Where a handshake meets TLS.

use super::crypto::{sha1, sha256};
use super::radix::to_base64;

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
    /// SHA-256 fingerprint of the certificate that the peer presented, if it did; see [`Fingerprints`].
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

/// The two fingerprints of a certificate: upper-case hexadecimal pairs joined by colons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprints {
    /// SHA-256: 95 characters.
    pub sha256: String,
    /// SHA-1: 59 characters.
    pub sha1: String,
}

impl Fingerprints {
    /// Of a certificate in DER.
    pub fn of_certificate(der: &[u8]) -> Self {
        Self { sha256: colons(&sha256(&[der])), sha1: colons(&sha1(der)) }
    }
}

/// The tags that a TLS client adds to its handshake, in order: fingerprints of its own certificate, the
/// negotiated application protocol, exported keying material.
pub fn tls_tags(
    own_certificate: Option<&Fingerprints>,
    alpn: Option<&str>,
    exported_key: Option<&[u8]>,
) -> Vec<(&'static str, String)> {
    let tags = [
        (FINGERPRINT256_TAG, own_certificate.map(|own| own.sha256.clone())),
        (FINGERPRINT_TAG, own_certificate.map(|own| own.sha1.clone())),
        ("tlsAlpn", alpn.map(str::to_string)),
        ("tlsSessionKey", exported_key.map(to_base64)),
    ];
    tags.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// A server's name for the TLS session: `material` alone, or bound to the peer's `neg_hash`.
pub(super) fn session_key(material: &[u8], neg_hash: Option<&str>) -> String {
    match neg_hash {
        None => to_base64(material),
        Some(hash) => to_base64(&sha256(&[material, hash.as_bytes()])),
    }
}

fn colons(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

pub(super) const FINGERPRINT256_TAG: &str = "tlsFingerprint256";
pub(super) const FINGERPRINT_TAG: &str = "tlsFingerprint";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_pairs_with_colons() {
        let both = Fingerprints::of_certificate(b"abc");
        assert_eq!(both.sha1, "A9:99:3E:36:47:06:81:6A:BA:3E:25:71:78:50:C2:6C:9C:D0:D8:9D");
        assert!(both.sha256.starts_with("BA:78:16:BF:8F:01:CF:EA:"));
        assert_eq!(both.sha256.len(), 95);
    }

    #[test]
    fn tags_of_tls_come_in_their_order_and_only_where_known() {
        let own = Fingerprints { sha256: "A".into(), sha1: "B".into() };
        let all = tls_tags(Some(&own), Some("h2"), Some(&[0, 1]));
        let names: Vec<_> = all.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(names, ["tlsFingerprint256=A", "tlsFingerprint=B", "tlsAlpn=h2", "tlsSessionKey=AAE="]);
        assert!(tls_tags(None, None, None).is_empty());
    }

    #[test]
    fn a_session_is_named_by_its_material_and_bound_to_a_key() {
        assert_eq!(session_key(&[0, 1], None), "AAE=");
        assert_eq!(session_key(b"a", Some("bc")), to_base64(&sha256(&[b"abc"])));
    }
}
