//! Fingerprints of certificates, as `openssl x509 -fingerprint` prints them.

use std::fmt::Write;

use super::option_error::TlsOptionError;
use crate::crypto::{sha1, sha256};

/// The digests of one certificate's DER form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fingerprints {
    /// SHA-256, upper-case hex pairs joined by colons.
    pub(super) sha256: String,
    /// SHA-1 in the same form.
    pub(super) sha1: String,
}

impl Fingerprints {
    pub(super) fn of(der: &[u8]) -> Self {
        Self { sha256: colon_hex(&sha256(&[der])), sha1: colon_hex(&sha1(der)) }
    }
}

/// The SHA-256 fingerprints of which the peer's certificate must have one; empty admits every certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pins(Vec<[u8; 32]>);

impl Pins {
    pub(super) fn parse(texts: &[String]) -> Result<Self, TlsOptionError> {
        texts.iter().map(|text| parse(text)).collect::<Result<_, _>>().map(Self)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The fingerprint of `der` when none of the pins is its.
    pub(super) fn refuses(&self, der: &[u8]) -> Option<String> {
        let presented = sha256(&[der]);
        let admitted = self.0.is_empty() || self.0.contains(&presented);
        (!admitted).then(|| colon_hex(&presented))
    }
}

fn parse(text: &str) -> Result<[u8; 32], TlsOptionError> {
    let digits: String = text.chars().filter(|c| *c != ':').collect();
    let mut pin = [0; 32];
    let pairs = digits.as_bytes().chunks(2);
    let hex = digits.len() == 2 * pin.len() && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    for (byte, pair) in pin.iter_mut().zip(pairs) {
        let pair = std::str::from_utf8(pair).unwrap_or_default();
        *byte = u8::from_str_radix(pair, 16).unwrap_or_default();
    }
    if hex {
        return Ok(pin);
    }
    let fix = "is no SHA-256 fingerprint: 64 hex digits, with or without colons, as `openssl x509 -noout \
               -fingerprint -sha256` prints them";
    Err(TlsOptionError::new("tls.pinned_fingerprints", format!("`{text}` {fix}")))
}

fn colon_hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(3 * bytes.len());
    for byte in bytes {
        let colon = if text.is_empty() { "" } else { ":" };
        let _ = write!(text, "{colon}{byte:02X}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_upper_case_pairs_joined_by_colons() {
        let prints = Fingerprints::of(b"abc");
        assert_eq!(prints.sha1, "A9:99:3E:36:47:06:81:6A:BA:3E:25:71:78:50:C2:6C:9C:D0:D8:9D");
        assert!(prints.sha256.starts_with("BA:78:16:BF:8F:01:CF:EA:"), "{}", prints.sha256);
        assert_eq!(prints.sha256.len(), 95);
    }

    #[test]
    fn a_pin_is_read_with_and_without_colons_in_any_case() {
        let colons = Fingerprints::of(b"abc").sha256;
        let plain = colons.replace(':', "").to_lowercase();
        let pins = Pins::parse(&[colons.clone(), plain]).unwrap();
        assert_eq!(pins.0[0], pins.0[1]);
        assert_eq!(pins.refuses(b"abc"), None);
        assert_eq!(pins.refuses(b"abd"), Some(Fingerprints::of(b"abd").sha256));
        assert_eq!(Pins::default().refuses(b"abd"), None);
    }

    #[test]
    fn what_is_no_sha_256_names_the_option() {
        let long = "A".repeat(63) + "é";
        for text in ["", "AB:CD", "zz", &Fingerprints::of(b"abc").sha1, &long, &"é".repeat(32)] {
            let error = Pins::parse(&[text.to_string()]).unwrap_err().to_string();
            assert!(error.starts_with("option `tls.pinned_fingerprints`: "), "{error}");
        }
    }
}
