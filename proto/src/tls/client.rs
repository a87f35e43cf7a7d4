//! A client's side, checked and ready.

use std::fmt;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::{ClientConfig, ClientConnection};
use rustls_pki_types::ServerName;

use super::anchors::Anchors;
use super::clock::time_provider;
use super::exporter::TlsExporter;
use super::fault::TlsFault;
use super::files::TlsFiles;
use super::fingerprint::{Fingerprints, Pins};
use super::identity::Identity;
use super::option_error::TlsOptionError;
use super::options::TlsOptions;
use super::presented::Presented;
use super::provider::crypto_provider;
use super::server::{alpn, versions};
use super::server_check::ServerCheck;

/// The TLS configuration of clients: cheap to clone, shared by all their connections, which can resume each other's
/// sessions.
#[derive(Clone)]
pub struct ClientTls(Arc<Shared>);

struct Shared {
    config: Arc<ClientConfig>,
    check: Arc<ServerCheck>,
    identity: Option<Identity>,
    server_name: Option<ServerName<'static>>,
    exporter: Option<TlsExporter>,
}

impl ClientTls {
    /// Reads and checks the options. The platform's list of authorities is read here when `ca` is not set.
    ///
    /// # Errors
    ///
    /// When an option cannot work; the error names it and says what would.
    pub fn new(options: &TlsOptions, files: &dyn TlsFiles) -> Result<Self, TlsOptionError> {
        let provider = crypto_provider();
        let identity = Identity::load(options, &provider, files)?;
        let anchors = Anchors::load(options, files)?;
        let pins = Pins::parse(options.pinned_fingerprints.as_deref().unwrap_or_default())?;
        let check = ServerCheck::new(anchors, pins, options.rejects(), Arc::clone(&provider))?;
        let check = Arc::new(check);
        if let Some(exporter) = &options.exporter {
            exporter.check()?;
        }
        let server_name = match &options.server_name {
            None => None,
            Some(name) => Some(parse_name(name).ok_or_else(|| {
                let problem = format!("`{name}` is neither a DNS name nor an IP address");
                TlsOptionError::new("tls.server_name", problem)
            })?),
        };
        let mut config = ClientConfig::builder_with_details(provider, time_provider(options.clock.as_ref()))
            .with_protocol_versions(&versions(options)?)
            .map_err(|error| TlsOptionError::new("tls.versions", error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&check) as Arc<_>)
            .with_no_client_auth();
        config.alpn_protocols = alpn(options)?;
        // Whether a resumed session once had the certificate cannot be known, see `Presented`.
        config.resumption = if options.resumes() && identity.is_none() {
            Resumption::in_memory_sessions(SESSIONS_MAX)
        } else {
            Resumption::disabled()
        };
        let config = Arc::new(config);
        Ok(Self(Arc::new(Shared {
            config,
            check,
            identity,
            server_name,
            exporter: options.exporter.clone(),
        })))
    }

    /// Starts a connection; `host` is what it connects to.
    pub(super) fn connect(&self, host: &str) -> Result<ClientEnd, TlsFault> {
        let shared = &self.0;
        let name = shared.server_name.clone().or_else(|| parse_name(host));
        let name =
            name.ok_or_else(|| TlsFault::InvalidServerName { name: host.chars().take(255).collect() })?;
        let (config, presented) = match &shared.identity {
            None => (Arc::clone(&shared.config), None),
            Some(identity) => {
                let presented = Arc::new(Presented::new(Arc::clone(&identity.certified)));
                let mut config = ClientConfig::clone(&shared.config);
                config.client_auth_cert_resolver = Arc::clone(&presented) as Arc<_>;
                (Arc::new(config), Some(presented))
            }
        };
        let connection = ClientConnection::new(config, name.clone())?;
        Ok(ClientEnd { connection, tls: self.clone(), name, presented })
    }

    pub(super) fn config(&self) -> &ClientConfig {
        &self.0.config
    }

    pub(super) fn check(&self) -> &ServerCheck {
        &self.0.check
    }

    pub(super) fn fingerprints(&self) -> Option<&Fingerprints> {
        self.0.identity.as_ref().map(|identity| &identity.fingerprints)
    }

    pub(super) fn exporter(&self) -> Option<&TlsExporter> {
        self.0.exporter.as_ref()
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls")
            .field("fingerprint256", &self.fingerprints().map(|own| &own.sha256))
            .field("server_name", &self.0.server_name)
            .finish_non_exhaustive()
    }
}

/// A connection that a client has begun.
pub(super) struct ClientEnd {
    pub(super) connection: ClientConnection,
    pub(super) tls: ClientTls,
    pub(super) name: ServerName<'static>,
    pub(super) presented: Option<Arc<Presented>>,
}

/// An address may stand in the brackets of a URL.
fn parse_name(name: &str) -> Option<ServerName<'static>> {
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    ServerName::try_from(bare).ok().map(|name| name.to_owned())
}

/// Resumable sessions that are kept, of clients and of servers.
pub(super) const SESSIONS_MAX: usize = 256;
