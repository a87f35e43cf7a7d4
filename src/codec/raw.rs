//! Messages as they are.

use bytes::{Bytes, BytesMut};

use super::{Codec, CodecError};

/// Bytes in, bytes out, without a copy; nothing is checked and nothing can fail.
#[derive(Clone, Copy, Debug, Default)]
pub struct Raw;

impl Codec for Raw {
    type Item = Bytes;
    type Outgoing = Bytes;

    fn encode(&self, item: &Bytes, out: &mut BytesMut) -> Result<(), CodecError> {
        out.extend_from_slice(item);
        Ok(())
    }

    fn decode(&self, message: Bytes) -> Result<Bytes, CodecError> {
        Ok(message)
    }

    fn encode_shared(&self, item: &Bytes, _buffer: &mut BytesMut) -> Result<Bytes, CodecError> {
        Ok(item.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shared_not_copied() {
        let message = Bytes::from(vec![7; 100]);
        let sent = Raw.encode_shared(&message, &mut BytesMut::new()).unwrap();
        assert_eq!(sent.as_ptr(), message.as_ptr());
        let mut out = BytesMut::from(&b"before"[..]);
        Raw.encode(&Bytes::from_static(b"!"), &mut out).unwrap();
        assert_eq!(out, &b"before!"[..]);
    }
}
