//! QWormhole's CBOR serializer.

use bytes::{Bytes, BytesMut};
use ciborium::Value as Item;
use ciborium::tag::Required;
use serde::Serialize;
use serde::ser::{SerializeMap, SerializeSeq, Serializer};

use super::super::{Cbor as AnyCbor, Codec, CodecError};
use super::value::Value;

/// As `createCborSerializer`: a `Uint8Array` carries tag 64, a `Buffer` at the top is sent as it is (so it is CBOR
/// only if its bytes are), a `Buffer` inside is a byte string.
///
/// Integers that a JavaScript number cannot hold are received as [`Value::BigInt`], byte strings as
/// [`Value::Buffer`]; tags other than 2, 3 and 64 are skipped. Nesting beyond 128, keys that are not text and
/// integers of more than 127 bits are errors. A list's numbers take up to 64 bytes each while they are read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cbor;

impl Codec for Cbor {
    type Item = Value;
    type Outgoing = Value;

    fn encode(&self, item: &Value, out: &mut BytesMut) -> Result<(), CodecError> {
        if let Value::Buffer(bytes) = item {
            out.extend_from_slice(bytes);
            return Ok(());
        }
        AnyCbor::<(), Written<'_>>::new().encode(&Written(item), out)
    }

    fn decode(&self, message: Bytes) -> Result<Value, CodecError> {
        read(AnyCbor::<Item, ()>::new().decode(message)?)
    }
}

/// A value as CBOR.
struct Written<'a>(&'a Value);

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Number(number) => match as_integer(*number) {
                Some(integer) => serializer.serialize_i64(integer),
                None => serializer.serialize_f64(*number),
            },
            Value::BigInt(integer) => serializer.serialize_i128(*integer),
            Value::Text(text) => serializer.serialize_str(text),
            Value::Array(items) => {
                let mut array = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    array.serialize_element(&Self(item))?;
                }
                array.end()
            }
            Value::Object(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, item) in entries {
                    map.serialize_entry(key, &Self(item))?;
                }
                map.end()
            }
            Value::Bytes(bytes) => Required::<_, TYPED_ARRAY>(ByteString(bytes)).serialize(serializer),
            Value::Buffer(bytes) => ByteString(bytes).serialize(serializer),
        }
    }
}

struct ByteString<'a>(&'a [u8]);

impl Serialize for ByteString<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// The integer that `number` is, if a JavaScript number holds it exactly; minus zero is none.
fn as_integer(number: f64) -> Option<i64> {
    let exact =
        number.fract() == 0.0 && number.abs() <= SAFE_MAX && !(number == 0.0 && number.is_sign_negative());
    exact.then_some(number as i64)
}

/// As deep as the reader went, 128 at most.
fn read(item: Item) -> Result<Value, CodecError> {
    Ok(match item {
        Item::Null => Value::Null,
        Item::Bool(value) => Value::Bool(value),
        Item::Float(number) => Value::Number(number),
        Item::Text(text) => Value::Text(text),
        Item::Bytes(bytes) => Value::Buffer(bytes.into()),
        Item::Integer(integer) => read_integer(integer.into()),
        Item::Array(items) => Value::Array(items.into_iter().map(read).collect::<Result<_, _>>()?),
        Item::Map(entries) => {
            let entries = entries.into_iter().map(|(key, item)| match key {
                Item::Text(key) => Ok((key, read(item)?)),
                _ => Err(refused("a key that is not text")),
            });
            Value::object(entries.collect::<Result<_, _>>()?)
        }
        Item::Tag(TYPED_ARRAY, item) => match *item {
            Item::Bytes(bytes) => Value::Bytes(bytes.into()),
            _ => return Err(refused("a typed array that is not a byte string")),
        },
        Item::Tag(tag @ (2 | 3), item) => {
            let integer = Item::Tag(tag, item).deserialized::<i128>();
            Value::BigInt(integer.map_err(|error| CodecError::Cbor(error.into()))?)
        }
        Item::Tag(_, item) => read(*item)?,
        _ => return Err(refused("a simple value of unknown meaning")),
    })
}

fn read_integer(integer: i128) -> Value {
    let number = integer as f64;
    if number.abs() <= SAFE_MAX { Value::Number(number) } else { Value::BigInt(integer) }
}

fn refused(what: &'static str) -> CodecError {
    CodecError::Cbor(what.into())
}

/// Tag of a byte string that is an array of unsigned bytes (RFC 8746).
const TYPED_ARRAY: u64 = 64;
/// JavaScript's `Number.MAX_SAFE_INTEGER`.
const SAFE_MAX: f64 = 9_007_199_254_740_991.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(value: &Value) -> Vec<u8> {
        let mut out = BytesMut::new();
        Cbor.encode(value, &mut out).unwrap();
        out.to_vec()
    }

    fn decode(bytes: &[u8]) -> Result<Value, CodecError> {
        Cbor.decode(Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn values_come_back_as_they_were_sent() {
        let bytes = Bytes::from_static(&[1, 2]);
        let values = [
            Value::Null,
            Value::Bool(true),
            Value::Number(1.5),
            Value::Number(-7.0),
            Value::Number(1e300),
            Value::BigInt(1 << 60),
            Value::BigInt(i128::MAX),
            Value::BigInt(i128::MIN + 1),
            Value::Bytes(bytes.clone()),
            Value::Array(vec![Value::Buffer(bytes), Value::from("é")]),
            Value::Object(vec![("z".into(), Value::Null), ("a".into(), Value::Bool(false))]),
        ];
        for value in values {
            assert_eq!(decode(&encode(&value)).unwrap(), value);
        }
    }

    #[test]
    fn numbers_take_the_shortest_form() {
        assert_eq!(encode(&Value::Number(10.0)), [0x0a]);
        assert_eq!(encode(&Value::Number(1.5)), [0xf9, 0x3e, 0x00]);
        assert_eq!(encode(&Value::Number(-0.0)), [0xf9, 0x80, 0x00]);
        assert_eq!(encode(&Value::BigInt(1 << 64)), [&[0xc2, 0x49, 0x01][..], &[0; 8]].concat());
    }

    #[test]
    fn foreign_items_are_read_or_refused_by_name() {
        assert_eq!(decode(b"\xc0\x61x").unwrap(), Value::from("x"));
        assert_eq!(decode(b"\xf7").unwrap(), Value::Null);
        for (bytes, what) in [
            (&b"\xa1\x01\x02"[..], "key"),
            (b"\xd8\x40\x01", "typed array"),
            (b"\x01\x02", "goes on"),
            (b"\xc2\x51\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "bigint"),
        ] {
            let error = decode(bytes).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }
}
