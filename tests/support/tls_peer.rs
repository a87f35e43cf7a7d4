//! A blocking TLS client that knows nothing of the library.

use std::net::TcpStream;
use std::sync::Arc;

use qwormhole::Address;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::PATIENCE;

/// A TLS stream to a server.
pub(crate) type TlsPeer = StreamOwned<ClientConnection, TcpStream>;

/// Trusts the authority of this certificate, in PEM.
pub(crate) fn trusting(authority: &str) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).expect("PEM")).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Arc::new(config.expect("versions").with_root_certificates(roots).with_no_client_auth())
}

/// A stream to a server on 127.0.0.1; the handshake happens with the first byte read or written.
pub(crate) fn connect(address: &Address, config: &Arc<ClientConfig>) -> TlsPeer {
    let stream = TcpStream::connect(address.socket_addr().expect("numeric")).expect("connect");
    stream.set_nodelay(true).expect("nodelay");
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    let name = ServerName::try_from("127.0.0.1").expect("a name");
    let connection = ClientConnection::new(config.clone(), name).expect("a client");
    StreamOwned::new(connection, stream)
}
