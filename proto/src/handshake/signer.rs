//! Who signs a client's handshake, or adds to it.

use std::fmt;

use super::json::JsonObject;
use super::negentropic::{n_index, neg_hash, nonce, spki};
use super::payload::Handshake;
use super::radix::{from_base64, to_base64};
use crate::crypto::SigningKey;

/// Adds keys to a client's handshake. Closures `|moment| -> JsonObject` are signers that only add.
pub trait HandshakeSigner: Send + Sync {
    /// Keys to lay over the handshake. `version` wins over the configured one, `tags` and `caps` are merged
    /// into the configured ones and win, every other key is taken as it is.
    fn keys(&self, moment: &SigningMoment) -> JsonObject;

    /// Called last, with everything that will be sent: the keys that sign it, none by default. Nothing is
    /// changed afterwards but these keys.
    fn seal(&self, handshake: &Handshake) -> JsonObject {
        let _ = handshake;
        JsonObject::new()
    }
}

impl<F: Fn(&SigningMoment) -> JsonObject + Send + Sync> HandshakeSigner for F {
    fn keys(&self, moment: &SigningMoment) -> JsonObject {
        self(moment)
    }
}

/// When a handshake is made; the core has neither clock nor randomness of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SigningMoment {
    /// The time, in ms of Unix time.
    pub unix_ms: u64,
    /// Fresh random bytes.
    pub random: [u8; 16],
}

/// Signs handshakes with an Ed25519 key in QWormhole's negentropic form.
///
/// `ts`, `nIndex`, `negHash`, `nonce` and `publicKey` are added, and a random `salt`, so that two handshakes of
/// one key never have the same signature, even within one millisecond; then `signature` covers all of it.
pub struct NegentropicSigner {
    key: SigningKey,
    n_index: f64,
    neg_hash: String,
    nonce: String,
    public_key: String,
    salted: bool,
}

impl NegentropicSigner {
    /// Of a 32-byte seed, which must be random and secret. This is also how a key is generated: with fresh
    /// random bytes, which [`NegentropicSigner::pkcs8_base64`] turns into text to keep.
    ///
    /// # Errors
    ///
    /// When the provider refuses the key.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, KeyError> {
        SigningKey::from_seed(seed).map(Self::new).ok_or(KeyError)
    }

    /// Of a secret key as QWormhole stores it: base64 of PKCS#8.
    ///
    /// # Errors
    ///
    /// When the text is not an unencrypted Ed25519 key.
    pub fn from_pkcs8_base64(secret: &str) -> Result<Self, KeyError> {
        SigningKey::from_pkcs8(&from_base64(secret)).map(Self::new).ok_or(KeyError)
    }

    /// The text under which QWormhole stores the secret key of `seed`: base64 of PKCS#8.
    pub fn pkcs8_base64(seed: &[u8; 32]) -> String {
        to_base64(&[&PKCS8_PREFIX[..], seed].concat())
    }

    fn new(key: SigningKey) -> Self {
        let spki = spki(key.public_key());
        Self {
            n_index: n_index(&spki),
            neg_hash: neg_hash(&spki),
            nonce: nonce(&spki),
            public_key: to_base64(&spki),
            key,
            salted: true,
        }
    }

    /// Leaves the `salt` out: byte for byte what QWormhole's own signer makes, which a server with a replay
    /// guard takes for a replay when it is made twice in one millisecond.
    #[must_use]
    pub fn without_salt(mut self) -> Self {
        self.salted = false;
        self
    }

    /// The public key as it travels: base64 of SubjectPublicKeyInfo.
    pub fn public_key(&self) -> &str {
        &self.public_key
    }
}

impl HandshakeSigner for NegentropicSigner {
    fn keys(&self, moment: &SigningMoment) -> JsonObject {
        let mut keys = JsonObject::new();
        keys.insert("ts", moment.unix_ms as f64);
        keys.insert("nIndex", self.n_index);
        keys.insert("negHash", self.neg_hash.as_str());
        keys.insert("nonce", self.nonce.as_str());
        keys.insert("publicKey", self.public_key.as_str());
        if self.salted {
            keys.insert("salt", to_base64(&moment.random));
        }
        keys
    }

    fn seal(&self, handshake: &Handshake) -> JsonObject {
        let signature = self.key.sign(handshake.canonical_unsigned().as_bytes());
        [("signature", to_base64(&signature))].into_iter().collect()
    }
}

/// Shows the public key only.
impl fmt::Debug for NegentropicSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NegentropicSigner").field("public_key", &self.public_key).finish_non_exhaustive()
    }
}

/// A secret key that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the secret key is not an unencrypted Ed25519 key in PKCS#8 (base64)")]
pub struct KeyError;

/// PKCS#8 of Ed25519, up to the seed.
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        let signer = NegentropicSigner::from_seed(&[7; 32]).unwrap();
        let shown = format!("{signer:?}");
        assert!(shown.contains(signer.public_key()));
        let secret = NegentropicSigner::pkcs8_base64(&[7; 32]);
        assert!(!shown.contains(&secret[24..]), "{shown}");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in ["", "hello", "MC4CAQAwBQYDK2VwBCIEIAABAgM="] {
            assert_eq!(NegentropicSigner::from_pkcs8_base64(text).err(), Some(KeyError), "{text}");
        }
    }
}
