//! Whether a client really showed its certificate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;

/// Presents a certificate to the server of one connection when it asks for one, and remembers that it did.
#[derive(Debug)]
pub(super) struct Presented {
    certified: Arc<CertifiedKey>,
    asked: AtomicBool,
}

impl Presented {
    pub(super) const fn new(certified: Arc<CertifiedKey>) -> Self {
        Self { certified, asked: AtomicBool::new(false) }
    }

    /// Whether the certificate was presented.
    pub(super) fn was_presented(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }
}

impl ResolvesClientCert for Presented {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        // Without a common signature scheme the key cannot be used, and none is presented.
        self.certified.key.choose_scheme(schemes)?;
        self.asked.store(true, Ordering::Relaxed);
        Some(Arc::clone(&self.certified))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
