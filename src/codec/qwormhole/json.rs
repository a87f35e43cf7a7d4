//! QWormhole's JSON serializer.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::super::{Codec, CodecError};
use super::value::Value;

/// As `jsonSerializer`: JSON as JavaScript writes it, but a string at the top is sent as plain text. A `Buffer` is
/// `{"type":"Buffer","data":[..]}`, a `Uint8Array` an object of its indices, a `BigInt` a string.
///
/// Received bytes that are no JSON become [`Value::Null`], never an error; so a plain string that is sent does not
/// come back unless it happens to be JSON. JSON nested deeper than 128 and strings with lone surrogates count as no
/// JSON here. Each of a list's numbers takes 32 bytes, up to 20 times its text.
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

impl Codec for Json {
    type Item = Value;
    type Outgoing = Value;

    fn encode(&self, item: &Value, out: &mut BytesMut) -> Result<(), CodecError> {
        match item {
            Value::Text(text) => out.extend_from_slice(text.as_bytes()),
            other => write(other, out)?,
        }
        Ok(())
    }

    fn decode(&self, message: Bytes) -> Result<Value, CodecError> {
        // Decoders of JavaScript replace what is not UTF-8; inside a JSON string that is still JSON.
        let text = String::from_utf8_lossy(&message);
        Ok(serde_json::from_str::<Parsed>(&text).map_or(Value::Null, |parsed| parsed.0))
    }
}

/// Appends `value` as `JSON.stringify` writes it.
pub(super) fn write(value: &Value, out: &mut BytesMut) -> Result<(), CodecError> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => write_number(*number, out),
        Value::BigInt(digits) => out.extend_from_slice(format!("\"{digits}\"").as_bytes()),
        Value::Text(text) => write_text(text, out)?,
        Value::Array(items) => {
            out.put_u8(b'[');
            for (at, item) in items.iter().enumerate() {
                separate(at, out);
                write(item, out)?;
            }
            out.put_u8(b']');
        }
        Value::Object(entries) => {
            out.put_u8(b'{');
            for (at, (key, item)) in entries.iter().enumerate() {
                separate(at, out);
                write_text(key, out)?;
                out.put_u8(b':');
                write(item, out)?;
            }
            out.put_u8(b'}');
        }
        Value::Bytes(bytes) => {
            out.put_u8(b'{');
            for (at, byte) in bytes.iter().enumerate() {
                separate(at, out);
                out.extend_from_slice(format!("\"{at}\":{byte}").as_bytes());
            }
            out.put_u8(b'}');
        }
        Value::Buffer(bytes) => {
            out.extend_from_slice(b"{\"type\":\"Buffer\",\"data\":[");
            for (at, byte) in bytes.iter().enumerate() {
                separate(at, out);
                out.extend_from_slice(byte.to_string().as_bytes());
            }
            out.extend_from_slice(b"]}");
        }
    }
    Ok(())
}

fn separate(at: usize, out: &mut BytesMut) {
    if at > 0 {
        out.put_u8(b',');
    }
}

fn write_number(number: f64, out: &mut BytesMut) {
    if number.is_finite() {
        out.extend_from_slice(ryu_js::Buffer::new().format_finite(number).as_bytes());
    } else {
        out.extend_from_slice(b"null");
    }
}

fn write_text(text: &str, out: &mut BytesMut) -> Result<(), CodecError> {
    serde_json::to_writer(out.writer(), text).map_err(|error| CodecError::Json(error.into()))
}

/// A value in the making.
struct Parsed(Value);

impl<'de> Deserialize<'de> for Parsed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Parser).map(Self)
    }
}

struct Parser;

impl<'de> Visitor<'de> for Parser {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    /// Rounds as JavaScript does above 2^53.
    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Parsed(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Vec::new();
        while let Some((key, Parsed(item))) = entries.next_entry()? {
            object.push((key, item));
        }
        Ok(Value::object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &Value) -> String {
        let mut out = BytesMut::new();
        write(value, &mut out).unwrap();
        String::from_utf8(out.to_vec()).unwrap()
    }

    fn parse(text: &'static [u8]) -> Value {
        Json.decode(Bytes::from_static(text)).unwrap()
    }

    #[test]
    fn numbers_are_written_as_javascript_writes_them() {
        for (number, expected) in [
            (1.0, "1"),
            (-0.0, "0"),
            (1e21, "1e+21"),
            (1e20, "100000000000000000000"),
            (1e-6, "0.000001"),
            (1e-7, "1e-7"),
            (0.1, "0.1"),
            (f64::NAN, "null"),
            (f64::NEG_INFINITY, "null"),
        ] {
            assert_eq!(text(&Value::Number(number)), expected);
        }
    }

    #[test]
    fn strings_are_escaped_as_javascript_escapes_them() {
        let value = Value::from("\"\\\u{8}\u{c}\n\r\t\u{1}\u{7f}\u{2028}é😀/");
        assert_eq!(text(&value), "\"\\\"\\\\\\b\\f\\n\\r\\t\\u0001\u{7f}\u{2028}é😀/\"");
    }

    #[test]
    fn what_is_no_json_is_null() {
        for bytes in [&b""[..], b"{bad", b"abc", b"1 2", b"\xff", b"[1", b"\xef\xbb\xbf1"] {
            assert_eq!(parse(bytes), Value::Null, "{bytes:?}");
        }
        assert_eq!(parse(b"\"\xff\""), Value::from("\u{fffd}"));
        let nested = Bytes::from("[".repeat(1_000_000));
        assert_eq!(Json.decode(nested).unwrap(), Value::Null);
    }

    #[test]
    fn json_is_read_as_javascript_reads_it() {
        assert_eq!(parse(b" 18446744073709551617 "), Value::Number(18_446_744_073_709_551_616.0));
        assert_eq!(parse(b"-9007199254740993"), Value::Number(-9_007_199_254_740_992.0));
        let object = parse(br#"{"b":[true,null],"a":"\u00e9","b":1}"#);
        assert_eq!(text(&object), r#"{"b":1,"a":"é"}"#);
    }
}
