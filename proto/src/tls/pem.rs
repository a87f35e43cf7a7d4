//! PEM text and where it comes from.

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pkcs8::EncryptedPrivateKeyInfoRef;
use rustls_pki_types::pem::{Error, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::files::TlsFiles;
use super::option_error::TlsOptionError;

/// A PEM document, or the file that has it.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pem {
    /// The text itself.
    Text(Vec<u8>),
    /// A file that is read when the configuration is built.
    File(PathBuf),
}

impl Pem {
    /// The document in a file.
    pub fn file(path: impl AsRef<Path>) -> Self {
        Self::File(path.as_ref().to_path_buf())
    }

    /// All certificates of the document, in order; at least one.
    pub(super) fn certificates(
        &self,
        option: &'static str,
        files: &dyn TlsFiles,
    ) -> Result<Vec<CertificateDer<'static>>, TlsOptionError> {
        let text = self.text(option, files)?;
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        let certificates = found.map_err(|error| malformed(option, &error))?;
        if certificates.is_empty() {
            let problem = format!("no `-----BEGIN CERTIFICATE-----` in it{}", what_is_there(&text));
            return Err(TlsOptionError::new(option, problem));
        }
        Ok(certificates)
    }

    /// The first private key of the document, decrypted when it is encrypted.
    pub(super) fn private_key(
        &self,
        passphrase: Option<&str>,
        files: &dyn TlsFiles,
    ) -> Result<PrivateKeyDer<'static>, TlsOptionError> {
        let text = self.text(KEY, files)?;
        if contains(&text, b"Proc-Type:") && contains(&text, b"ENCRYPTED") {
            let problem = "the key is encrypted in the old way of OpenSSL (`Proc-Type: 4,ENCRYPTED`); convert it \
                           with `openssl pkcs8 -topk8 -in old.pem -out new.pem`";
            return Err(TlsOptionError::new(KEY, problem));
        }
        if contains(&text, ENCRYPTED_BEGIN) {
            return decrypt(&text, passphrase);
        }
        match PrivateKeyDer::from_pem_slice(&text) {
            Ok(key) => Ok(key),
            Err(Error::NoItemsFound) => {
                let wanted = "no private key in it (PKCS#8 `PRIVATE KEY` or `ENCRYPTED PRIVATE KEY`, \
                              `RSA PRIVATE KEY` or `EC PRIVATE KEY`)";
                Err(TlsOptionError::new(KEY, format!("{wanted}{}", what_is_there(&text))))
            }
            Err(error) => Err(malformed(KEY, &error)),
        }
    }

    fn text(&self, option: &'static str, files: &dyn TlsFiles) -> Result<Vec<u8>, TlsOptionError> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::File(path) => files.read(path).map_err(|error| {
                TlsOptionError::new(option, format!("{} cannot be read: {error}", path.display()))
            }),
        }
    }
}

impl From<&str> for Pem {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Pem {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<&[u8]> for Pem {
    fn from(text: &[u8]) -> Self {
        Self::Text(text.into())
    }
}

impl From<Vec<u8>> for Pem {
    fn from(text: Vec<u8>) -> Self {
        Self::Text(text)
    }
}

/// Shows where the document is, never what is in it.
impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::File(path) => write!(f, "File({})", path.display()),
        }
    }
}

fn decrypt(text: &[u8], passphrase: Option<&str>) -> Result<PrivateKeyDer<'static>, TlsOptionError> {
    let Some(passphrase) = passphrase else {
        return Err(TlsOptionError::new(
            PASSPHRASE,
            "the key in `tls.key` is encrypted: give its passphrase",
        ));
    };
    let body = split_once(text, ENCRYPTED_BEGIN).and_then(|(_, rest)| split_once(rest, ENCRYPTED_END));
    let der = body.and_then(|(body, _)| {
        let digits: Vec<u8> = body.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        STANDARD.decode(digits).ok()
    });
    let encrypted = der.as_deref().and_then(|der| EncryptedPrivateKeyInfoRef::try_from(der).ok());
    let Some(encrypted) = encrypted else {
        return Err(TlsOptionError::new(KEY, "`ENCRYPTED PRIVATE KEY` is damaged or of an unknown kind"));
    };
    match encrypted.decrypt(passphrase) {
        Ok(key) => Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into()),
        // The padding tells a wrong passphrase from a right one; both algorithms and passphrase end up here.
        Err(_) => {
            let problem = "it does not open the key in `tls.key`, or that key is encrypted by other means than PBES2 \
                           with AES; `openssl pkcs8 -topk8` writes what is understood";
            Err(TlsOptionError::new(PASSPHRASE, problem))
        }
    }
}

fn split_once<'a>(text: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = text.windows(separator.len()).position(|window| window == separator)?;
    let (before, rest) = text.split_at_checked(at)?;
    rest.split_at_checked(separator.len()).map(|(_, after)| (before, after))
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    split_once(text, word).is_some()
}

fn malformed(option: &'static str, error: &Error) -> TlsOptionError {
    let problem = match error {
        Error::MissingSectionEnd { end_marker } => {
            format!("the end of `{}` is missing", String::from_utf8_lossy(end_marker))
        }
        Error::Base64Decode(_) => "the text between BEGIN and END is no base64".to_string(),
        _ => "this is no PEM document".to_string(),
    };
    TlsOptionError::new(option, problem)
}

/// What kind of thing the document has instead, to help with a mix-up. Labels are not secret; the rest may be.
fn what_is_there(text: &[u8]) -> String {
    let label = split_once(text, b"-----BEGIN ");
    let label = label.and_then(|(_, rest)| split_once(rest, b"-----")).map(|(label, _)| label);
    match label {
        Some(label) if label.len() <= 64 => format!("; it has `{}`", String::from_utf8_lossy(label)),
        _ if text.is_empty() => "; it is empty".to_string(),
        _ => "; PEM is the text form that begins with `-----BEGIN`".to_string(),
    }
}

const KEY: &str = "tls.key";
const PASSPHRASE: &str = "tls.passphrase";
const ENCRYPTED_BEGIN: &[u8] = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";
const ENCRYPTED_END: &[u8] = b"-----END ENCRYPTED PRIVATE KEY-----";
