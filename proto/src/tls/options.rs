//! What a user wants of TLS, before it is checked.

use std::fmt;
use std::sync::Arc;

use super::clock::TlsClock;
use super::exporter::TlsExporter;
use super::pem::Pem;
use super::version::TlsVersion;

/// The TLS options of a client or a server. Nothing is checked before [`ClientTls::new`](super::ClientTls::new) or
/// [`ServerTls::new`](super::ServerTls::new); what only the other role uses is ignored, so that both can share one
/// set.
#[derive(Clone, Default)]
pub struct TlsOptions {
    pub(super) key: Option<Pem>,
    pub(super) cert: Option<Pem>,
    pub(super) passphrase: Option<String>,
    pub(super) ca: Option<Vec<Pem>>,
    pub(super) alpn_protocols: Option<Vec<String>>,
    pub(super) request_cert: Option<bool>,
    pub(super) reject_unauthorized: Option<bool>,
    pub(super) server_name: Option<String>,
    pub(super) pinned_fingerprints: Option<Vec<String>>,
    pub(super) exporter: Option<TlsExporter>,
    pub(super) versions: Option<Vec<TlsVersion>>,
    pub(super) resumption: Option<bool>,
    pub(super) clock: Option<Arc<dyn TlsClock>>,
}

impl TlsOptions {
    /// Nothing set: every option has its default.
    pub fn new() -> Self {
        Self::default()
    }

    /// The private key: PKCS#8, also encrypted, PKCS#1 or SEC1; RSA from 2,048 bits, P-256, P-384 or Ed25519. A
    /// server needs one. Default none.
    #[must_use]
    pub fn key(mut self, key: impl Into<Pem>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The certificate of `key`, then those between it and its authority. Default none.
    #[must_use]
    pub fn cert(mut self, chain: impl Into<Pem>) -> Self {
        self.cert = Some(chain.into());
        self
    }

    /// The passphrase of an encrypted `key`; ignored for another one. Default none.
    #[must_use]
    pub fn passphrase(mut self, passphrase: impl Into<String>) -> Self {
        self.passphrase = Some(passphrase.into());
        self
    }

    /// Adds the authorities in one document to those that the peer's certificate may come from. A certificate that
    /// is listed here itself is trusted too. Default: the authorities that the computer trusts.
    #[must_use]
    pub fn ca(mut self, ca: impl Into<Pem>) -> Self {
        self.ca.get_or_insert_default().push(ca.into());
        self
    }

    /// Application protocols, the preferred one first, each 1 to 255 bytes. A client offers them; a server picks
    /// its own first one that is offered and refuses a client that offers only others. Default none.
    #[must_use]
    pub fn alpn_protocols<T: Into<String>>(mut self, protocols: impl IntoIterator<Item = T>) -> Self {
        self.alpn_protocols = Some(protocols.into_iter().map(Into::into).collect());
        self
    }

    /// Whether a server asks clients for a certificate (mutual TLS); one that does refuses clients without a valid
    /// one. Default false.
    #[must_use]
    pub const fn request_cert(mut self, request: bool) -> Self {
        self.request_cert = Some(request);
        self
    }

    /// The peer's certificate must be valid. That is the default; this undoes
    /// [`DangerousTlsOptions::accept_any_certificate`].
    #[must_use]
    pub const fn reject_unauthorized(mut self) -> Self {
        self.reject_unauthorized = Some(true);
        self
    }

    /// The name that a client asks for (SNI) and that the server's certificate must have. Default: the host that it
    /// connects to.
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// SHA-256 fingerprints, in hex with or without colons, of which the peer's certificate must have one, besides
    /// being valid. Default: any certificate.
    #[must_use]
    pub fn pinned_fingerprints<T: Into<String>>(mut self, pins: impl IntoIterator<Item = T>) -> Self {
        self.pinned_fingerprints = Some(pins.into_iter().map(Into::into).collect());
        self
    }

    /// Derives keying material from every connection, see [`TlsFacts::session_key`](super::TlsFacts::session_key).
    /// Default off.
    #[must_use]
    pub fn export_keying_material(mut self, exporter: TlsExporter) -> Self {
        self.exporter = Some(exporter);
        self
    }

    /// The versions to speak, at least one. Default TLS 1.2 and 1.3.
    #[must_use]
    pub fn versions(mut self, versions: impl IntoIterator<Item = TlsVersion>) -> Self {
        self.versions = Some(versions.into_iter().collect());
        self
    }

    /// Whether a connection may resume the session of an earlier one, which spares both sides the certificates. At
    /// most 256 sessions are kept, each as long as the peer's certificates (ordinarily 1 to 4 KiB, at most 64 KiB),
    /// for at most a day. A client that has a certificate never resumes: every connection presents it. Default true.
    #[must_use]
    pub const fn resumption(mut self, resumption: bool) -> Self {
        self.resumption = Some(resumption);
        self
    }

    /// The wall clock. Default: the operating system's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn TlsClock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Options that give up what TLS is for.
    pub const fn dangerous(self) -> DangerousTlsOptions {
        DangerousTlsOptions(self)
    }

    /// These options, and those of `defaults` where nothing is set here.
    #[must_use]
    pub fn or(self, defaults: Self) -> Self {
        Self {
            key: self.key.or(defaults.key),
            cert: self.cert.or(defaults.cert),
            passphrase: self.passphrase.or(defaults.passphrase),
            ca: self.ca.or(defaults.ca),
            alpn_protocols: self.alpn_protocols.or(defaults.alpn_protocols),
            request_cert: self.request_cert.or(defaults.request_cert),
            reject_unauthorized: self.reject_unauthorized.or(defaults.reject_unauthorized),
            server_name: self.server_name.or(defaults.server_name),
            pinned_fingerprints: self.pinned_fingerprints.or(defaults.pinned_fingerprints),
            exporter: self.exporter.or(defaults.exporter),
            versions: self.versions.or(defaults.versions),
            resumption: self.resumption.or(defaults.resumption),
            clock: self.clock.or(defaults.clock),
        }
    }

    pub(super) fn rejects(&self) -> bool {
        self.reject_unauthorized.unwrap_or(true)
    }

    pub(super) fn resumes(&self) -> bool {
        self.resumption.unwrap_or(true)
    }
}

/// Shows neither the key nor its passphrase.
impl fmt::Debug for TlsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsOptions")
            .field("key", &self.key)
            .field("cert", &self.cert)
            .field("passphrase", &self.passphrase.as_ref().map(|_| "..."))
            .field("ca", &self.ca)
            .field("alpn_protocols", &self.alpn_protocols)
            .field("request_cert", &self.request_cert)
            .field("reject_unauthorized", &self.reject_unauthorized)
            .field("server_name", &self.server_name)
            .field("pinned_fingerprints", &self.pinned_fingerprints)
            .field("exporter", &self.exporter)
            .field("versions", &self.versions)
            .field("resumption", &self.resumption)
            .field("clock", &self.clock)
            .finish()
    }
}

/// Options after which a connection may be with anybody; see [`TlsOptions::dangerous`].
#[derive(Clone, Debug)]
pub struct DangerousTlsOptions(TlsOptions);

impl DangerousTlsOptions {
    /// Goes on whatever is wrong with the peer's certificate (the reference's `rejectUnauthorized: false`), and, on
    /// a server that asks for one, without a certificate too. What is wrong is in
    /// [`TlsFacts::authorization_fault`](super::TlsFacts::authorization_fault). Pinned fingerprints still hold.
    #[must_use]
    pub fn accept_any_certificate(mut self) -> TlsOptions {
        self.0.reject_unauthorized = Some(false);
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_that_is_set_wins_over_its_default() {
        let defaults =
            TlsOptions::new().server_name("a").request_cert(true).dangerous().accept_any_certificate();
        let options = TlsOptions::new().server_name("b").reject_unauthorized().or(defaults);
        assert_eq!(options.server_name.as_deref(), Some("b"));
        assert_eq!(options.request_cert, Some(true));
        assert!(options.rejects());
    }

    #[test]
    fn what_is_printed_has_no_secrets() {
        let options = TlsOptions::new().key("KEY-TEXT").passphrase("PASS-TEXT").server_name("shown");
        let shown = format!("{options:?} {:?}", options.clone().dangerous());
        assert!(
            shown.contains("shown") && !shown.contains("KEY-TEXT") && !shown.contains("PASS-TEXT"),
            "{shown}"
        );
    }
}
