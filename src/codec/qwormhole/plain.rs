//! QWormhole's default serializer.

use bytes::{Bytes, BytesMut};

use super::super::{Codec, CodecError};
use super::json;
use super::value::Value;

/// As `defaultSerializer`: strings, `Buffer`s and `Uint8Array`s are sent as their bytes, everything else as JSON.
/// Everything is received as a [`Value::Buffer`], without a copy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl Codec for Plain {
    type Item = Value;
    type Outgoing = Value;

    fn encode(&self, item: &Value, out: &mut BytesMut) -> Result<(), CodecError> {
        match item {
            Value::Text(text) => out.extend_from_slice(text.as_bytes()),
            Value::Bytes(bytes) | Value::Buffer(bytes) => out.extend_from_slice(bytes),
            other => json::write(other, out)?,
        }
        Ok(())
    }

    fn decode(&self, message: Bytes) -> Result<Value, CodecError> {
        Ok(Value::Buffer(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_received_as_bytes() {
        let message = Bytes::from_static(b"{}");
        assert_eq!(Plain.decode(message.clone()).unwrap(), Value::Buffer(message));
    }
}
