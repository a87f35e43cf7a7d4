//! A server's side, checked and ready.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::server::{NoServerSessionStorage, ServerSessionMemoryCache};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ServerConfig, ServerConnection, SupportedProtocolVersion};

use super::anchors::Anchors;
use super::client::SESSIONS_MAX;
use super::client_check::ClientCheck;
use super::clock::time_provider;
use super::exporter::TlsExporter;
use super::fault::TlsFault;
use super::files::TlsFiles;
use super::fingerprint::Pins;
use super::identity::Identity;
use super::option_error::TlsOptionError;
use super::options::TlsOptions;
use super::provider::crypto_provider;

/// The TLS configuration of a server: cheap to clone, shared by all listeners and connections. The certificate can
/// be exchanged while they run.
#[derive(Clone)]
pub struct ServerTls(Arc<Shared>);

struct Shared {
    /// Locked for an instant per connection, and while a certificate is exchanged.
    current: RwLock<Arc<Current>>,
    check: Option<Arc<ClientCheck>>,
    exporter: Option<TlsExporter>,
}

/// What connections that begin now use.
pub(super) struct Current {
    pub(super) config: Arc<ServerConfig>,
    pub(super) identity: Identity,
}

impl ServerTls {
    /// Reads and checks the options. `cert` and `key` must be set. With `request_cert` the platform's list of
    /// authorities is read here when `ca` is not set.
    ///
    /// # Errors
    ///
    /// When an option cannot work; the error names it and says what would.
    pub fn new(options: &TlsOptions, files: &dyn TlsFiles) -> Result<Self, TlsOptionError> {
        let provider = crypto_provider();
        let identity = identity(options, files)?;
        let pins = Pins::parse(options.pinned_fingerprints.as_deref().unwrap_or_default())?;
        let check = if options.request_cert.unwrap_or(false) {
            let anchors = Anchors::load(options, files)?;
            let check = ClientCheck::new(anchors, pins, options.rejects(), Arc::clone(&provider))?;
            Some(Arc::new(check))
        } else if pins.is_empty() {
            None
        } else {
            let problem = "a server sees certificates only when it asks for them: set `tls.request_cert`";
            return Err(TlsOptionError::new("tls.pinned_fingerprints", problem));
        };
        if let Some(exporter) = &options.exporter {
            exporter.check()?;
        }
        let builder = ServerConfig::builder_with_details(provider, time_provider(options.clock.as_ref()))
            .with_protocol_versions(&versions(options)?)
            .map_err(|error| TlsOptionError::new("tls.versions", error.to_string()))?;
        let builder = match &check {
            Some(check) => builder.with_client_cert_verifier(Arc::clone(check) as Arc<_>),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(resolver(&identity));
        config.alpn_protocols = alpn(options)?;
        if options.resumes() {
            config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
        } else {
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        let current = RwLock::new(Arc::new(Current { config: Arc::new(config), identity }));
        Ok(Self(Arc::new(Shared { current, check, exporter: options.exporter.clone() })))
    }

    /// Exchanges the certificate: connections that begin from now on present the one in `key`, `cert` and
    /// `passphrase` of `options`. All other options stay as they are, and so do established connections and the
    /// sessions that can be resumed.
    ///
    /// # Errors
    ///
    /// When the new certificate cannot work; the old one stays in use.
    pub fn reload(&self, options: &TlsOptions, files: &dyn TlsFiles) -> Result<(), TlsOptionError> {
        let identity = identity(options, files)?;
        let mut current = self.0.current.write().unwrap_or_else(PoisonError::into_inner);
        let mut config = ServerConfig::clone(&current.config);
        config.cert_resolver = resolver(&identity);
        *current = Arc::new(Current { config: Arc::new(config), identity });
        Ok(())
    }

    /// Starts a connection.
    pub(super) fn accept(&self) -> Result<ServerEnd, TlsFault> {
        let current = Arc::clone(&self.0.current.read().unwrap_or_else(PoisonError::into_inner));
        let connection = ServerConnection::new(Arc::clone(&current.config))?;
        Ok(ServerEnd { connection, tls: self.clone(), current })
    }

    pub(super) fn check(&self) -> Option<&ClientCheck> {
        self.0.check.as_deref()
    }

    pub(super) fn exporter(&self) -> Option<&TlsExporter> {
        self.0.exporter.as_ref()
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let current = self.0.current.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("ServerTls")
            .field("fingerprint256", &current.identity.fingerprints.sha256)
            .field("client_check", &self.0.check)
            .finish_non_exhaustive()
    }
}

/// A connection that a server has accepted.
pub(super) struct ServerEnd {
    pub(super) connection: ServerConnection,
    pub(super) tls: ServerTls,
    pub(super) current: Arc<Current>,
}

fn identity(options: &TlsOptions, files: &dyn TlsFiles) -> Result<Identity, TlsOptionError> {
    let identity = Identity::load(options, &crypto_provider(), files)?;
    identity.ok_or_else(|| TlsOptionError::new("tls.cert", "a server needs a certificate and its `tls.key`"))
}

fn resolver(identity: &Identity) -> Arc<SingleCertAndKey> {
    Arc::new(SingleCertAndKey::from(CertifiedKey::clone(&identity.certified)))
}

pub(super) fn versions(
    options: &TlsOptions,
) -> Result<Vec<&'static SupportedProtocolVersion>, TlsOptionError> {
    match &options.versions {
        None => Ok(rustls::ALL_VERSIONS.to_vec()),
        Some(versions) if versions.is_empty() => {
            Err(TlsOptionError::new("tls.versions", "name at least one of TLS 1.2 and TLS 1.3"))
        }
        Some(versions) => Ok(versions.iter().map(|version| version.supported()).collect()),
    }
}

pub(super) fn alpn(options: &TlsOptions) -> Result<Vec<Vec<u8>>, TlsOptionError> {
    let protocols = options.alpn_protocols.as_deref().unwrap_or_default();
    for protocol in protocols {
        if protocol.is_empty() || protocol.len() > ALPN_BYTES_MAX {
            let problem = format!("a name has 1 to {ALPN_BYTES_MAX} bytes, not {}", protocol.len());
            return Err(TlsOptionError::new("tls.alpn_protocols", problem));
        }
    }
    if protocols.len() > ALPN_NAMES_MAX {
        let problem = format!("at most {ALPN_NAMES_MAX} names fit into a handshake, not {}", protocols.len());
        return Err(TlsOptionError::new("tls.alpn_protocols", problem));
    }
    Ok(protocols.iter().map(|protocol| protocol.clone().into_bytes()).collect())
}

/// One byte counts the name.
const ALPN_BYTES_MAX: usize = 255;
/// With the longest names still below what peers accept as one handshake message, 64 KiB.
const ALPN_NAMES_MAX: usize = 64;
