//! A client's judgement of a server's certificate.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::anchors::Anchors;
use super::fault::TlsFault;
use super::fingerprint::Pins;
use super::option_error::TlsOptionError;

/// Accepts a server whose certificate is valid and pinned. When any certificate is to be accepted, only the pins
/// decide; that the server has the certificate's key is checked always.
#[derive(Debug)]
pub(super) struct ServerCheck {
    chain: Option<Chain>,
    pins: Pins,
    rejects: bool,
    provider: Arc<CryptoProvider>,
}

struct Chain {
    anchors: Anchors,
    verifier: Arc<WebPkiServerVerifier>,
}

impl ServerCheck {
    pub(super) fn new(
        anchors: Option<Anchors>,
        pins: Pins,
        rejects: bool,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, TlsOptionError> {
        let chain = match anchors {
            None => None,
            Some(anchors) => {
                let store = Arc::clone(&anchors.store);
                let built = WebPkiServerVerifier::builder_with_provider(store, Arc::clone(&provider)).build();
                let verifier = built.map_err(|error| TlsOptionError::new("tls.ca", error.to_string()))?;
                Some(Chain { anchors, verifier })
            }
        };
        Ok(Self { chain, pins, rejects, provider })
    }

    /// Whether the chain that a server presented is valid for `name`; pins apart.
    pub(super) fn authorize(
        &self,
        presented: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let (certificate, intermediates) = presented.split_first().ok_or(Error::NoCertificatesPresented)?;
        let Some(Chain { anchors, verifier }) = &self.chain else {
            return Err(CertificateError::UnknownIssuer.into());
        };
        let result = verifier.verify_server_cert(certificate, intermediates, name, &[], now).map(|_| ());
        anchors.or_listed(result, certificate, |parsed| verify_server_name(parsed, name))
    }

    pub(super) const fn rejects(&self) -> bool {
        self.rejects
    }
}

impl ServerCertVerifier for ServerCheck {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.rejects {
            let presented: Vec<_> = std::iter::once(end_entity).chain(intermediates).cloned().collect();
            self.authorize(&presented, name, now)?;
        }
        check_pins(&self.pins, end_entity)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Chain({} authorities)", self.anchors.store.len())
    }
}

/// Refuses a certificate that is not among the pinned ones, with an error that [`TlsFault::from`] knows.
pub(super) fn check_pins(pins: &Pins, certificate: &CertificateDer<'_>) -> Result<(), Error> {
    let Some(presented) = pins.refuses(certificate) else { return Ok(()) };
    let fault = TlsFault::FingerprintMismatch { presented };
    Err(CertificateError::Other(OtherError(Arc::new(fault))).into())
}
