//! Messages that are text.

use bytes::{Bytes, BytesMut};

use super::{Codec, CodecError};

/// UTF-8 text. What is not UTF-8 is an error that names the place. A received string has the size of its message
/// and is copied out of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Text;

impl Codec for Text {
    type Item = String;
    type Outgoing = str;

    fn encode(&self, item: &str, out: &mut BytesMut) -> Result<(), CodecError> {
        out.extend_from_slice(item.as_bytes());
        Ok(())
    }

    fn decode(&self, message: Bytes) -> Result<String, CodecError> {
        match std::str::from_utf8(&message) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => Err(CodecError::NotUtf8 { offset: error.valid_up_to() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_utf8_is_named_by_its_place() {
        let error = Text.decode(Bytes::from_static(b"caf\xc3\xa9 \xff")).unwrap_err();
        assert!(matches!(error, CodecError::NotUtf8 { offset: 6 }), "{error}");
        assert_eq!(error.to_string(), "not UTF-8 from byte 6 on");
        assert_eq!(Text.decode(Bytes::from_static(b"caf\xc3\xa9")).unwrap(), "café");
        assert_eq!(Text.decode(Bytes::new()).unwrap(), "");
    }
}
