//! TLS of one round: the certificate, and what rustls makes of it.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustls::crypto::{CryptoProvider, ring};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::job::Tls;

/// A certificate for this machine's loopback that nobody else trusts.
pub(crate) fn self_signed() -> Result<Tls> {
    let names = ["localhost", "127.0.0.1", "::1"].map(String::from);
    let made = rcgen::generate_simple_self_signed(names).context("cannot make a certificate")?;
    Ok(Tls { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() })
}

/// A server's TLS 1.3.
pub(crate) fn server_config(tls: &Tls) -> Result<Arc<ServerConfig>> {
    let key = PrivateKeyDer::from_pem_slice(tls.key.as_bytes())?;
    let config = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13])?;
    Ok(Arc::new(config.with_no_client_auth().with_single_cert(vec![certificate(tls)?], key)?))
}

/// A client's TLS 1.3, which trusts this certificate alone.
pub(crate) fn client_config(tls: &Tls) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate(tls)?)?;
    let config = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13])?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

fn certificate(tls: &Tls) -> Result<CertificateDer<'static>> {
    Ok(CertificateDer::from_pem_slice(tls.certificate.as_bytes())?)
}

/// ring with the one cipher that qwormhole's ends agree on, so that both encrypt alike.
fn provider() -> Arc<CryptoProvider> {
    let cipher_suites = vec![ring::cipher_suite::TLS13_AES_256_GCM_SHA384];
    Arc::new(CryptoProvider { cipher_suites, ..ring::default_provider() })
}
