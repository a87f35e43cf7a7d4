//! Messages that are JSON.

use std::fmt;
use std::marker::PhantomData;

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Codec, CodecError};

/// JSON through serde, compact, one value per message: receives `R`, sends `S` (the same type if left out).
///
/// Values nest at most 128 deep; what follows the value is an error. A received `serde_json::Value` may need some
/// 30 times the memory of its message (a list of zeroes); concrete types need less, a lower `max_frame_len` bounds
/// either.
pub struct Json<R, S: ?Sized = R>(PhantomData<fn(&S) -> R>);

impl<R, S: ?Sized> Json<R, S> {
    /// The codec; it has no options.
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<R: DeserializeOwned, S: Serialize + ?Sized> Codec for Json<R, S> {
    type Item = R;
    type Outgoing = S;

    fn encode(&self, item: &S, out: &mut BytesMut) -> Result<(), CodecError> {
        serde_json::to_writer(out.writer(), item).map_err(|error| CodecError::Json(error.into()))
    }

    fn decode(&self, message: Bytes) -> Result<R, CodecError> {
        serde_json::from_slice(&message).map_err(|error| CodecError::Json(error.into()))
    }
}

impl<R, S: ?Sized> Clone for Json<R, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R, S: ?Sized> Copy for Json<R, S> {}

impl<R, S: ?Sized> Default for Json<R, S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R, S: ?Sized> fmt::Debug for Json<R, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Json")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode<R: DeserializeOwned>(bytes: &[u8]) -> Result<R, CodecError> {
        Json::<R, ()>::new().decode(Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn values_come_back_as_they_were_sent() {
        let mut out = BytesMut::new();
        Json::<(u8, String)>::new().encode(&(1, "é\n".into()), &mut out).unwrap();
        assert_eq!(out, "[1,\"é\\n\"]".as_bytes());
        assert_eq!(decode::<(u8, String)>(&out).unwrap(), (1, "é\n".into()));
        // A slice can be sent and a list received.
        Json::<Vec<u8>, [u8]>::new().encode(&[1, 2], &mut out).unwrap();
    }

    #[test]
    fn what_is_no_value_is_an_error() {
        for bytes in [&b""[..], b"{bad", b"1 2", b"[1", b"\xff", b"\"\xff\"", b"1e999"] {
            let error = decode::<serde_json::Value>(bytes).unwrap_err();
            assert!(matches!(error, CodecError::Json(_)), "{bytes:?}: {error}");
        }
        assert!(decode::<u8>(b"256").unwrap_err().to_string().contains("u8"));
    }

    #[test]
    fn deep_nesting_is_refused_not_followed() {
        let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat().into_bytes();
        assert!(decode::<serde_json::Value>(&nested(127)).is_ok());
        assert!(decode::<serde_json::Value>(&nested(128)).is_err());
        assert!(decode::<serde_json::Value>(&nested(1_000_000)).is_err());
        // What is skipped is skipped without recursion.
        assert!(decode::<serde::de::IgnoredAny>(&nested(1_000_000)).is_ok());
    }
}
