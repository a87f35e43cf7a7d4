//! Cipher suites under the names that OpenSSL and Node use.

use rustls::CipherSuite;

/// The name of a negotiated suite; TLS 1.3 has the same names everywhere, TLS 1.2 has not.
pub(super) fn openssl_name(suite: CipherSuite) -> &'static str {
    NAMES.iter().find(|(known, _)| *known == suite).map_or("unknown", |(_, name)| *name)
}

const NAMES: &[(CipherSuite, &str)] = &[
    (CipherSuite::TLS13_AES_256_GCM_SHA384, "TLS_AES_256_GCM_SHA384"),
    (CipherSuite::TLS13_AES_128_GCM_SHA256, "TLS_AES_128_GCM_SHA256"),
    (CipherSuite::TLS13_CHACHA20_POLY1305_SHA256, "TLS_CHACHA20_POLY1305_SHA256"),
    (CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, "ECDHE-ECDSA-AES256-GCM-SHA384"),
    (CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, "ECDHE-ECDSA-AES128-GCM-SHA256"),
    (CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-ECDSA-CHACHA20-POLY1305"),
    (CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, "ECDHE-RSA-AES256-GCM-SHA384"),
    (CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, "ECDHE-RSA-AES128-GCM-SHA256"),
    (CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-RSA-CHACHA20-POLY1305"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::provider::crypto_provider;

    #[test]
    fn every_suite_of_the_provider_has_a_name() {
        for suite in &crypto_provider().cipher_suites {
            assert_ne!(openssl_name(suite.suite()), "unknown", "{suite:?}");
        }
    }
}
