//! Numbers of languages that have one kind only.

use std::fmt;

use serde::Deserializer;
use serde::de::{Error, Visitor};

/// Reads a float that the peer may have written as an integer, as JavaScript does with `1.0`: put
/// `#[serde(deserialize_with = "qwormhole::codec::number")]` on the field. JSON needs it not, CBOR does.
///
/// # Errors
///
/// The value is no number.
pub fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    deserializer.deserialize_any(Number)
}

struct Number;

impl Visitor<'_> for Number {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<f64, E> {
        Ok(value)
    }

    /// Rounds as JavaScript does above 2^53.
    fn visit_i64<E: Error>(self, value: i64) -> Result<f64, E> {
        Ok(value as f64)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<f64, E> {
        Ok(value as f64)
    }
}
