//! What is taken from the crypto provider, in one place so that a second one is a second copy of this file.

use std::sync::Arc;

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use rustls::crypto::CryptoProvider;

/// Cipher suites, key exchange, signatures and randomness for rustls.
pub(super) fn crypto_provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

pub(super) fn sha256(data: &[u8]) -> [u8; 32] {
    array(digest(&SHA256, data).as_ref())
}

/// For the fingerprint that older peers compare; nothing is trusted because of it.
pub(super) fn sha1(data: &[u8]) -> [u8; 20] {
    array(digest(&SHA1_FOR_LEGACY_USE_ONLY, data).as_ref())
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    assert_eq!(bytes.len(), N, "a digest has the length of its algorithm");
    array.copy_from_slice(bytes);
    array
}
