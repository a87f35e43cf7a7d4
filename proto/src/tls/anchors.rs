//! Whose certificates are believed.

use std::sync::Arc;

use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};
use rustls_pki_types::CertificateDer;

use super::files::TlsFiles;
use super::option_error::TlsOptionError;
use super::options::TlsOptions;

/// The authorities that a peer's certificate may come from.
pub(super) struct Anchors {
    pub(super) store: Arc<RootCertStore>,
    /// The certificates of `ca` as they are; empty when the platform's list is used.
    configured: Vec<CertificateDer<'static>>,
}

impl Anchors {
    /// Those of `ca`, else the platform's. `None` when there are none and any certificate is accepted anyway.
    pub(super) fn load(options: &TlsOptions, files: &dyn TlsFiles) -> Result<Option<Self>, TlsOptionError> {
        let Some(documents) = &options.ca else { return Self::of_platform(options, files) };
        let mut configured = Vec::new();
        for document in documents {
            configured.extend(document.certificates(CA, files)?);
        }
        let mut store = RootCertStore::empty();
        for (index, certificate) in configured.iter().enumerate() {
            if store.add(certificate.clone()).is_err() {
                let problem = format!("certificate {} cannot be read as X.509", index + 1);
                return Err(TlsOptionError::new(CA, problem));
            }
        }
        if store.is_empty() {
            return Err(TlsOptionError::new(
                CA,
                "an empty list admits nobody; leave it out to trust the platform's",
            ));
        }
        Ok(Some(Self { store: Arc::new(store), configured }))
    }

    fn of_platform(options: &TlsOptions, files: &dyn TlsFiles) -> Result<Option<Self>, TlsOptionError> {
        let mut store = RootCertStore::empty();
        let problem = match files.platform_roots() {
            Ok(roots) => {
                store.add_parsable_certificates(roots.into_iter().map(CertificateDer::from));
                "this computer's list of authorities is empty".to_string()
            }
            Err(error) => format!("this computer's list of authorities cannot be read: {error}"),
        };
        if !store.is_empty() {
            return Ok(Some(Self { store: Arc::new(store), configured: Vec::new() }));
        }
        if !options.rejects() {
            return Ok(None);
        }
        Err(TlsOptionError::new(CA, format!("{problem}; give the certificate of the peer's authority")))
    }

    /// Whether the authorities are the user's own choice and few, so that they may be named to peers.
    pub(super) const fn are_configured(&self) -> bool {
        !self.configured.is_empty()
    }

    /// A self-signed certificate is often made as an authority, which may not stand for a server or client itself;
    /// but when exactly this one is listed as trusted there is nothing to doubt. `result` is the outcome of the
    /// ordinary check, which finds a certificate out of date before it finds that it is an authority's.
    pub(super) fn or_listed(
        &self,
        result: Result<(), Error>,
        certificate: &CertificateDer<'_>,
        check_name: impl FnOnce(&ParsedCertificate<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        match result {
            Err(error) if is_authority(&error) && self.configured.contains(certificate) => {
                check_name(&ParsedCertificate::try_from(certificate)?)
            }
            // An authority of the right name and another key, such as one that was made anew: not this one signed.
            Err(Error::InvalidCertificate(CertificateError::BadSignature)) => {
                Err(CertificateError::UnknownIssuer.into())
            }
            result => result,
        }
    }
}

fn is_authority(error: &Error) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(other)) = error else { return false };
    matches!(other.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

const CA: &str = "tls.ca";
