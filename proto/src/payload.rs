//! What can be sent as a message.

use bytes::{Bytes, BytesMut};

/// Bytes that `send` accepts. Short payloads are always copied behind their header; a long one that can be
/// shared ([`Payload::into_shared`]) goes out without a copy.
pub trait Payload: Sized {
    /// The payload's bytes.
    fn as_bytes(&self) -> &[u8];

    /// The payload as shared bytes, if that takes no copy; otherwise the payload itself.
    ///
    /// # Errors
    ///
    /// Gives the payload back when sharing would need a copy.
    fn into_shared(self) -> Result<Bytes, Self> {
        Err(self)
    }
}

impl Payload for &[u8] {
    fn as_bytes(&self) -> &[u8] {
        self
    }
}

impl<const N: usize> Payload for &[u8; N] {
    fn as_bytes(&self) -> &[u8] {
        *self
    }
}

impl Payload for &str {
    fn as_bytes(&self) -> &[u8] {
        str::as_bytes(self)
    }
}

impl Payload for String {
    fn as_bytes(&self) -> &[u8] {
        self.as_str().as_bytes()
    }

    fn into_shared(self) -> Result<Bytes, Self> {
        Ok(Bytes::from(self))
    }
}

impl Payload for Vec<u8> {
    fn as_bytes(&self) -> &[u8] {
        self
    }

    fn into_shared(self) -> Result<Bytes, Self> {
        Ok(Bytes::from(self))
    }
}

impl Payload for Bytes {
    fn as_bytes(&self) -> &[u8] {
        self
    }

    fn into_shared(self) -> Result<Bytes, Self> {
        Ok(self)
    }
}

impl Payload for BytesMut {
    fn as_bytes(&self) -> &[u8] {
        self
    }

    fn into_shared(self) -> Result<Bytes, Self> {
        Ok(self.freeze())
    }
}
