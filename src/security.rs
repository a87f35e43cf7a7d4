//! TLS and handshakes of servers and clients: what the code asks for, completed by the environment.

use std::sync::Arc;

use qwormhole_proto::handshake::{ClientHandshake, HandshakePolicy, HandshakeVerifier};
use qwormhole_proto::{ClientTls, HandshakeRole, Pem, ServerTls, TlsOptionError, TlsOptions, TlsRole};

use crate::address::Address;
use crate::environment::{Environment, PemSource, TlsIdentity};
use crate::error::StartError;
use crate::system_files::SystemFiles;

/// The TLS of a server; `None` where neither the code nor the environment asks for it.
pub(crate) fn server_tls(
    options: Option<TlsOptions>,
    environment: &Environment,
) -> Result<Option<ServerTls>, StartError> {
    let defaults = || tls_defaults(environment, &environment.tls.server);
    let Some(options) = chosen(options, environment, defaults) else { return Ok(None) };
    Ok(Some(ServerTls::new(&options, &SystemFiles)?))
}

/// The TLS of a client; `None` where neither the code nor the environment asks for it.
pub(crate) fn client_tls(
    options: Option<TlsOptions>,
    environment: &Environment,
) -> Result<Option<ClientTls>, StartError> {
    let defaults = || tls_defaults(environment, &environment.tls.client);
    let Some(options) = chosen(options, environment, defaults) else { return Ok(None) };
    Ok(Some(ClientTls::new(&options, &SystemFiles)?))
}

/// The TLS of a client that was only told so by an address: the computer's authorities, and the environment's
/// options.
pub(crate) fn client_tls_by_address(environment: &Environment) -> Result<ClientTls, StartError> {
    let options = tls_defaults(environment, &environment.tls.client);
    Ok(ClientTls::new(&options, &SystemFiles)?)
}

/// A server's part in the handshake.
pub(crate) fn server_handshake(
    policy: Option<HandshakePolicy>,
    environment: &Environment,
) -> Result<Option<HandshakeRole>, StartError> {
    let required = environment.require_handshake == Some(true);
    if policy.is_none() && environment.protocol_version.is_none() && !required {
        return Ok(None);
    }
    let mut policy = policy.unwrap_or_default();
    if policy.protocol_version.is_none() {
        policy.protocol_version.clone_from(&environment.protocol_version);
    }
    if required && policy.verifier.is_none() {
        policy.verifier = Some(environment_verifier(environment).build());
    }
    policy.validate()?;
    Ok(Some(HandshakeRole::Expect(Arc::new(policy))))
}

/// A client's part in the handshake.
pub(crate) fn client_handshake(
    handshake: Option<ClientHandshake>,
    environment: &Environment,
) -> Result<Option<HandshakeRole>, StartError> {
    let version = environment.protocol_version.as_deref();
    let Some(handshake) = handshake.or_else(|| version.map(ClientHandshake::new)) else { return Ok(None) };
    handshake.validate()?;
    Ok(Some(HandshakeRole::Send(Arc::new(handshake))))
}

/// TLS towards `address`.
pub(crate) fn towards(tls: ClientTls, address: &Address) -> TlsRole {
    let server_name = match address {
        Address::Tcp { host, .. } | Address::Tls { host, .. } => {
            host.split_once('%').map_or(host.as_str(), |(bare, _zone)| bare).to_owned()
        }
        Address::Unix(_) | Address::Abstract(_) => LOCAL_NAME.to_owned(),
    };
    TlsRole::Client { tls, server_name }
}

/// What the code asks for, completed by the environment; or the environment's alone, if it switches TLS on.
fn chosen(
    options: Option<TlsOptions>,
    environment: &Environment,
    defaults: impl FnOnce() -> TlsOptions,
) -> Option<TlsOptions> {
    match options {
        Some(options) => Some(options.or(defaults())),
        None => (environment.tls.enabled == Some(true)).then(defaults),
    }
}

fn tls_defaults(environment: &Environment, identity: &TlsIdentity) -> TlsOptions {
    let tls = &environment.tls;
    let mut options = TlsOptions::new();
    if let Some(key) = &identity.key {
        options = options.key(pem(key));
    }
    if let Some(cert) = &identity.cert {
        options = options.cert(pem(cert));
    }
    if let Some(passphrase) = &identity.passphrase {
        options = options.passphrase(passphrase);
    }
    if let Some(request) = tls.request_cert {
        options = options.request_cert(request);
    }
    if let Some(name) = &tls.server_name {
        options = options.server_name(name);
    }
    if !tls.alpn_protocols.is_empty() {
        options = options.alpn_protocols(&tls.alpn_protocols);
    }
    options = tls.ca.iter().fold(options, |options, ca| options.ca(pem(ca)));
    match tls.reject_unauthorized {
        Some(true) => options.reject_unauthorized(),
        Some(false) => options.dangerous().accept_any_certificate(),
        None => options,
    }
}

fn pem(source: &PemSource) -> Pem {
    match source {
        PemSource::Inline(text) => Pem::from(text.as_str()),
        PemSource::File(path) => Pem::file(path),
    }
}

fn environment_verifier(environment: &Environment) -> HandshakeVerifier {
    let version = environment.protocol_version.iter();
    let versions = match &environment.handshake_allowed_versions {
        Some(allowed) => allowed.iter().collect::<Vec<_>>(),
        None => version.collect(),
    };
    let tags = environment.handshake_required_tags.iter().map(|tag| match &tag.value {
        Some(value) => format!("{}={value}", tag.key),
        None => tag.key.clone(),
    });
    HandshakeVerifier::new().allowed_versions(versions).required_tags(tags)
}

impl From<TlsOptionError> for StartError {
    fn from(error: TlsOptionError) -> Self {
        Self::Tls(error)
    }
}

/// What a server on a unix socket is called where nobody says otherwise.
const LOCAL_NAME: &str = "localhost";
