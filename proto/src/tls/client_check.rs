//! A server's judgement of a client's certificate.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme, client::danger,
};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::anchors::Anchors;
use super::fingerprint::Pins;
use super::option_error::TlsOptionError;
use super::server_check::check_pins;

/// Accepts a client whose certificate is valid and pinned. When any certificate is to be accepted, only the pins
/// decide, and without pins a client without a certificate is welcome too; that a client has the key of the
/// certificate which it presents is checked always.
pub(super) struct ClientCheck {
    chain: Option<Chain>,
    pins: Pins,
    rejects: bool,
    provider: Arc<CryptoProvider>,
}

struct Chain {
    anchors: Anchors,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl ClientCheck {
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
                let mut builder = WebPkiClientVerifier::builder_with_provider(store, Arc::clone(&provider));
                if !anchors.are_configured() {
                    // The platform's list is long, and clients have no use for it.
                    builder = builder.clear_root_hint_subjects();
                }
                let verifier =
                    builder.build().map_err(|error| TlsOptionError::new("tls.ca", error.to_string()))?;
                Some(Chain { anchors, verifier })
            }
        };
        Ok(Self { chain, pins, rejects, provider })
    }

    /// Whether the chain that a client presented is valid; pins apart.
    pub(super) fn authorize(&self, presented: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Error> {
        let (certificate, intermediates) = presented.split_first().ok_or(Error::NoCertificatesPresented)?;
        let Some(Chain { anchors, verifier }) = &self.chain else {
            return Err(CertificateError::UnknownIssuer.into());
        };
        let result = verifier.verify_client_cert(certificate, intermediates, now).map(|_| ());
        anchors.or_listed(result, certificate, |_| Ok(()))
    }

    pub(super) const fn rejects(&self) -> bool {
        self.rejects
    }
}

impl ClientCertVerifier for ClientCheck {
    fn client_auth_mandatory(&self) -> bool {
        self.rejects || !self.pins.is_empty()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.as_ref().map_or(&[], |chain| chain.verifier.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.rejects {
            let presented: Vec<_> = std::iter::once(end_entity).chain(intermediates).cloned().collect();
            self.authorize(&presented, now)?;
        }
        check_pins(&self.pins, end_entity)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<danger::HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<danger::HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl fmt::Debug for ClientCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authorities = self.chain.as_ref().map_or(0, |chain| chain.anchors.store.len());
        write!(f, "ClientCheck({authorities} authorities, rejects: {})", self.rejects)
    }
}
