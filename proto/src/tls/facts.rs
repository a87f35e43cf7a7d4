//! What both ends agreed on.

use std::fmt;

use super::fault::TlsFault;
use super::version::TlsVersion;
use crate::handshake::session_key;

/// What is known about a connection whose handshake is complete. It owns the peer's certificates, ordinarily 1 to
/// 4 KiB and at most 64 KiB.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsFacts {
    /// The version that is spoken.
    pub version: TlsVersion,
    /// The cipher suite, as OpenSSL and Node name it.
    pub cipher: &'static str,
    /// The application protocol, if one was agreed on; bytes that are no UTF-8 are replaced.
    pub alpn: Option<String>,
    /// The name that the client asked for; `None` on a server whose client named none, as it does for an address.
    pub server_name: Option<String>,
    /// Whether the peer presented a certificate and it is valid. False on a server that does not ask for one.
    pub authorized: bool,
    /// Why not, when any certificate is accepted.
    pub authorization_fault: Option<TlsFault>,
    /// The peer's certificates in DER form, its own first; empty when it presented none.
    pub peer_certificates: Vec<Vec<u8>>,
    /// SHA-256 fingerprint of the peer's certificate: upper-case hex pairs joined by colons.
    pub peer_fingerprint256: Option<String>,
    /// SHA-1 fingerprint of the peer's certificate, for peers that compare nothing better.
    pub peer_fingerprint: Option<String>,
    /// SHA-256 fingerprint of this side's certificate, if it was presented: a server's always, a client's when the
    /// server asked for it.
    pub own_fingerprint256: Option<String>,
    /// SHA-1 fingerprint of the same certificate.
    pub own_fingerprint: Option<String>,
    /// Whether the session of an earlier connection was resumed.
    pub resumed: bool,
    /// Exported keying material: secret, and never printed.
    pub keying_material: Option<Vec<u8>>,
}

impl TlsFacts {
    /// The peer's own certificate in DER form.
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        self.peer_certificates.first().map(Vec::as_slice)
    }

    /// The exported keying material as handshakes carry it: in base64, or, for the server's view of a handshake
    /// with a `negHash`, the base64 of SHA-256 over the material and the hash's text. `None` when none is exported.
    pub fn session_key(&self, neg_hash: Option<&str>) -> Option<String> {
        self.keying_material.as_deref().map(|material| session_key(material, neg_hash))
    }

    /// The tags that a client adds to its handshake, in their order on the wire. They replace tags of the same name.
    pub fn handshake_tags(&self) -> impl Iterator<Item = (&'static str, String)> + use<> {
        let tags = [
            ("tlsFingerprint256", self.own_fingerprint256.clone()),
            ("tlsFingerprint", self.own_fingerprint.clone()),
            ("tlsAlpn", self.alpn.clone()),
            ("tlsSessionKey", self.session_key(None)),
        ];
        tags.into_iter().filter_map(|(name, value)| value.map(|value| (name, value)))
    }
}

impl fmt::Debug for TlsFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsFacts")
            .field("version", &self.version)
            .field("cipher", &self.cipher)
            .field("alpn", &self.alpn)
            .field("server_name", &self.server_name)
            .field("authorized", &self.authorized)
            .field("authorization_fault", &self.authorization_fault)
            .field("peer_fingerprint256", &self.peer_fingerprint256)
            .field("own_fingerprint256", &self.own_fingerprint256)
            .field("resumed", &self.resumed)
            .finish_non_exhaustive()
    }
}
