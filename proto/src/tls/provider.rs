//! What is taken from the crypto provider, in one place so that a second one is a second copy of this file.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// Cipher suites, key exchange, signatures and randomness for rustls.
pub(super) fn crypto_provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
