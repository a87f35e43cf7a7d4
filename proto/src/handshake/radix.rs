//! Bytes as text: hexadecimal, and base64 as Node reads and writes it.

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::prelude::BASE64_STANDARD;

/// Standard alphabet, padded.
pub(super) fn to_base64(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

/// Reads base64 as Node does: whatever is not of the alphabet is skipped, `-` and `_` are `+` and `/`, the first
/// `=` ends the text, and so do bits that make no byte.
pub(super) fn from_base64(text: &str) -> Vec<u8> {
    let taken = text.bytes().take_while(|byte| *byte != b'=');
    let mut digits: Vec<u8> = taken
        .filter_map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' => Some(byte),
            b'-' => Some(b'+'),
            b'_' => Some(b'/'),
            _ => None,
        })
        .collect();
    if digits.len() % 4 == 1 {
        digits.pop();
    }
    LENIENT.decode(digits).unwrap_or_default()
}

/// Lower-case hexadecimal.
pub(super) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_as_node_reads_it() {
        for (text, expected) in [
            ("YQ==YQ==", "61"),
            ("Y", ""),
            ("YQ==\n", "61"),
            ("Y=Q=", ""),
            ("YWI=YWI", "6162"),
            ("a-_b", "6befdb"),
            ("YWéI", "6162"),
            ("=YQ", ""),
            ("YR", "61"),
            (" Y W I ", "6162"),
            ("YWJjZ", "616263"),
        ] {
            assert_eq!(to_hex(&from_base64(text)), expected, "{text}");
        }
    }
}
