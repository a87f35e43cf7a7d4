//! The signed handshake: its formulas, and their verification.

use super::fault::HandshakeFault;
use super::json::Json;
use super::payload::Handshake;
use super::radix::{from_base64, to_base64, to_hex};
use super::schema::{is_number, is_text, timestamp};
use crate::crypto::{sha256, verifies};

/// What a verified signature says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The Ed25519 key that signed. Anybody can make one: it is an identity, not a permission.
    pub public_key: [u8; 32],
    /// SHA-256 of the 64 signature bytes: two handshakes with the same digest are the same handshake. (The
    /// text of the signature would not do, base64 has many spellings.)
    pub signature_digest: [u8; 32],
}

/// Verifies a handshake that has the full negentropic shape; a handshake without it is a plain one, `None`.
///
/// Public keys are SubjectPublicKeyInfo, as QWormhole sends them, or the raw 32 bytes.
///
/// # Errors
///
/// [`HandshakeFault::Signature`] when the hash or the signature does not match.
pub fn verify(handshake: &Handshake) -> Result<Option<Verified>, HandshakeFault> {
    if !is_negentropic(handshake) {
        return Ok(None);
    }
    let text = |key: &str| handshake.get(key).and_then(Json::as_string).and_then(|text| text.as_str());
    let (Some(encoded), Some(hash), Some(signature)) =
        (text("publicKey"), text("negHash"), text("signature"))
    else {
        return Err(HandshakeFault::Signature);
    };
    let key = from_base64(encoded);
    let Some(public_key) = raw_key(&key) else { return Err(HandshakeFault::Signature) };
    let signature = from_base64(signature);
    let genuine = hash == neg_hash(&key)
        && verifies(&public_key, handshake.canonical_unsigned().as_bytes(), &signature);
    if !genuine {
        return Err(HandshakeFault::Signature);
    }
    Ok(Some(Verified { public_key, signature_digest: sha256(&[&signature]) }))
}

/// The negentropic index of a public key, from 0 to 1: share of the first byte in the sum of all, divided by
/// the Shannon entropy of the bytes.
///
/// The result is the same double on every platform, and the same that V8 computes.
pub fn n_index(key: &[u8]) -> f64 {
    let Some(first) = key.first() else { return 0.0 };
    let sum: u64 = key.iter().map(|byte| u64::from(*byte)).sum();
    let coherence = f64::from(*first) / sum.max(1) as f64;
    let index = coherence / byte_entropy(key).max(ENTROPY_MIN);
    if index.is_finite() { index.clamp(0.0, 1.0) } else { 0.0 }
}

/// [`n_index`] of a key in base64, read as Node reads it: what is not base64 is skipped.
pub fn n_index_of_base64(key: &str) -> f64 {
    n_index(&from_base64(key))
}

/// The hash of a public key that a handshake carries as `negHash`: 64 lower-case hexadecimal digits.
pub fn neg_hash(key: &[u8]) -> String {
    let index = n_index(key);
    let mask = (index * 255.0).floor() as u8;
    let masked: Vec<u8> = key.iter().map(|byte| byte ^ mask).collect();
    let fixed = ryu_js::Buffer::new().format_to_fixed(index, 6).to_string();
    to_hex(&sha256(&[key, &masked, fixed.as_bytes()]))
}

/// The nonce of a public key, in base64. It is a pure function of the key, so it protects nothing; QWormhole
/// expects it to be there.
pub fn nonce(key: &[u8]) -> String {
    let hash = neg_hash(key);
    let pairs = hash.as_bytes().chunks(2).filter_map(|pair| std::str::from_utf8(pair).ok());
    let seed: Vec<u8> = pairs.filter_map(|pair| u8::from_str_radix(pair, 16).ok()).collect();
    let bytes: Vec<u8> = (0..NONCE_LEN).filter_map(|at| sha256(&[&seed, &[at]]).first().copied()).collect();
    to_base64(&bytes)
}

/// Shannon entropy of the bytes, in bits; summed in the order in which values first appear, for the same double
/// everywhere.
pub(super) fn byte_entropy(bytes: &[u8]) -> f64 {
    let mut counts: Vec<(u8, u32)> = Vec::new();
    for byte in bytes {
        match counts.iter_mut().find(|(value, _)| value == byte) {
            Some((_, count)) => *count += 1,
            None => counts.push((*byte, 1)),
        }
    }
    entropy(counts.iter().map(|(_, count)| *count), bytes.len())
}

/// Shannon entropy of these counts out of `total`, in bits.
pub(super) fn entropy(counts: impl Iterator<Item = u32>, total: usize) -> f64 {
    let terms = counts.map(|count| {
        let share = f64::from(count) / total as f64;
        // V8's logarithm is this one to the bit; the system's differs in the last place now and then.
        share * libm::log2(share)
    });
    terms.fold(0.0, |sum, term| sum - term)
}

/// The text form of an Ed25519 key as QWormhole sends it.
pub(super) fn spki(public_key: &[u8]) -> Vec<u8> {
    [&SPKI_PREFIX[..], public_key].concat()
}

fn is_negentropic(handshake: &Handshake) -> bool {
    let has = |key: &str, holds: &dyn Fn(&Json) -> bool| handshake.get(key).is_some_and(holds);
    has("ts", &|value| timestamp(value).is_some())
        && has("nIndex", &is_number)
        && ["nonce", "publicKey", "negHash", "signature"].iter().all(|key| has(key, &is_text))
}

fn raw_key(key: &[u8]) -> Option<[u8; 32]> {
    key.strip_prefix(&SPKI_PREFIX[..]).unwrap_or(key).try_into().ok()
}

/// SubjectPublicKeyInfo of Ed25519, up to the key itself.
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// Stands in for an entropy of zero.
pub(super) const ENTROPY_MIN: f64 = 1e-6;
const NONCE_LEN: u8 = 16;
