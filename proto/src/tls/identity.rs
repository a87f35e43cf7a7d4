//! What one side shows of itself.

use std::sync::Arc;

use rustls::Error;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;

use super::files::TlsFiles;
use super::fingerprint::Fingerprints;
use super::option_error::TlsOptionError;
use super::options::TlsOptions;

/// A certificate chain with its private key.
pub(super) struct Identity {
    pub(super) certified: Arc<CertifiedKey>,
    pub(super) fingerprints: Fingerprints,
}

impl Identity {
    /// The identity in `key`, `cert` and `passphrase`; `None` when neither key nor certificate is set.
    pub(super) fn load(
        options: &TlsOptions,
        provider: &CryptoProvider,
        files: &dyn TlsFiles,
    ) -> Result<Option<Self>, TlsOptionError> {
        let (cert, key) = match (&options.cert, &options.key) {
            (None, None) => return Ok(None),
            (Some(_), None) => {
                return Err(TlsOptionError::new(
                    "tls.key",
                    "the key of the certificate in `tls.cert` is missing",
                ));
            }
            (None, Some(_)) => {
                return Err(TlsOptionError::new(
                    "tls.cert",
                    "the certificate of the key in `tls.key` is missing",
                ));
            }
            (Some(cert), Some(key)) => (cert, key),
        };
        let chain = cert.certificates("tls.cert", files)?;
        let fingerprints = Fingerprints::of(chain.first().map_or(&[][..], AsRef::as_ref));
        let key = key.private_key(options.passphrase.as_deref(), files)?;
        let Ok(key) = provider.key_provider.load_private_key(key) else {
            let problem = "the key is damaged or of a kind that is not supported: RSA with 2,048 to 8,192 bits, \
                           P-256, P-384 and Ed25519 are";
            return Err(TlsOptionError::new("tls.key", problem));
        };
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) => Ok(Some(Self { certified: Arc::new(certified), fingerprints })),
            Err(Error::InconsistentKeys(_)) => {
                let problem = "it is not the key of the first certificate in `tls.cert`";
                Err(TlsOptionError::new("tls.key", problem))
            }
            Err(_) => {
                let problem =
                    "the first certificate cannot be read; it must be an X.509 certificate of version 3";
                Err(TlsOptionError::new("tls.cert", problem))
            }
        }
    }
}
