//! Messages that are CBOR.

use std::fmt;
use std::io;
use std::marker::PhantomData;

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Codec, CodecError};

/// CBOR (RFC 8949) through serde, one value per message: receives `R`, sends `S` (the same type if left out).
///
/// Struct fields are written by name, integers and floats in their shortest form. Tags that a type does not ask for
/// are skipped, so that a tagged byte string (as JavaScript sends a `Uint8Array`) is read as a byte string; the
/// `tag` types of the crate `ciborium` read and write them. A JavaScript peer sends a number without a fraction as
/// an integer: see [`number`](super::number()).
///
/// Values nest at most 128 deep; what follows the value is an error. A received value of no fixed type may need
/// some 40 times the memory of its message (a list of zeroes); concrete types need less, a lower `max_frame_len`
/// bounds either.
pub struct Cbor<R, S: ?Sized = R>(PhantomData<fn(&S) -> R>);

impl<R, S: ?Sized> Cbor<R, S> {
    /// The codec; it has no options.
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<R: DeserializeOwned, S: Serialize + ?Sized> Codec for Cbor<R, S> {
    type Item = R;
    type Outgoing = S;

    fn encode(&self, item: &S, out: &mut BytesMut) -> Result<(), CodecError> {
        // The writer takes sized values only; a reference is one.
        ciborium::into_writer(&item, out.writer()).map_err(|error| CodecError::Cbor(error.into()))
    }

    fn decode(&self, message: Bytes) -> Result<R, CodecError> {
        let mut rest = &message[..];
        let item = ciborium::de::from_reader_with_recursion_limit(&mut rest, DEPTH_MAX).map_err(explained)?;
        if rest.is_empty() {
            Ok(item)
        } else {
            Err(CodecError::Trailing { offset: message.len() - rest.len() })
        }
    }
}

impl<R, S: ?Sized> Clone for Cbor<R, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R, S: ?Sized> Copy for Cbor<R, S> {}

impl<R, S: ?Sized> Default for Cbor<R, S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R, S: ?Sized> fmt::Debug for Cbor<R, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cbor")
    }
}

/// The library's error in words.
fn explained(error: ciborium::de::Error<io::Error>) -> CodecError {
    use ciborium::de::Error;
    CodecError::Cbor(match error {
        Error::Io(_) => "the message ends within the value".into(),
        Error::Syntax(at) => format!("malformed at byte {at}").into(),
        Error::Semantic(_, what) => what.into(),
        Error::RecursionLimitExceeded => "nested deeper than 128".into(),
    })
}

/// As deep as the JSON reader goes.
const DEPTH_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct Sample {
        #[serde(deserialize_with = "super::super::number")]
        level: f64,
        name: Option<String>,
    }

    fn decode<R: DeserializeOwned>(bytes: &[u8]) -> Result<R, CodecError> {
        Cbor::<R, ()>::new().decode(Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn values_come_back_as_they_were_sent() {
        for sample in [
            Sample { level: 1.5, name: Some("é".into()) },
            Sample { level: 1e300, name: None },
            Sample { level: -2.0, name: Some(String::new()) },
        ] {
            let mut out = BytesMut::new();
            Cbor::<Sample>::new().encode(&sample, &mut out).unwrap();
            assert_eq!(decode::<Sample>(&out).unwrap(), sample);
        }
        let mut out = BytesMut::new();
        Cbor::<Vec<u8>, [u8]>::new().encode(&[1, 2], &mut out).unwrap();
        assert_eq!(decode::<Vec<u8>>(&out).unwrap(), [1, 2]);
    }

    #[test]
    fn a_number_field_takes_what_javascript_sends_for_it() {
        let level = |bytes: &[u8]| {
            let message = [b"\xa2\x65level", bytes, b"\x64name\xf6"].concat();
            decode::<Sample>(&message).map(|sample| sample.level)
        };
        assert_eq!(level(b"\x01").unwrap(), 1.0);
        assert_eq!(level(b"\x20").unwrap(), -1.0);
        assert_eq!(level(b"\xf9\x3e\x00").unwrap(), 1.5);
        assert!(level(b"\x61x").is_err());
    }

    #[test]
    fn tags_nobody_asked_for_are_skipped() {
        assert_eq!(decode::<String>(b"\xd8\x20\x61x").unwrap(), "x");
        let bytes: ciborium::Value = decode(b"\xd8\x40\x42\x01\x02").unwrap();
        assert_eq!(bytes, ciborium::Value::Tag(64, Box::new(ciborium::Value::Bytes(vec![1, 2]))));
    }

    #[test]
    fn what_is_no_value_is_an_error() {
        for (bytes, what) in [
            (&b""[..], "CBOR: the message ends within the value"),
            (b"\x82\x01", "CBOR: the message ends within the value"),
            (b"\x81\x1c", "CBOR: malformed at byte 1"),
            (b"\x61\xff", "CBOR: malformed at byte 0"),
        ] {
            assert_eq!(decode::<ciborium::Value>(bytes).unwrap_err().to_string(), what, "{bytes:?}");
        }
        assert!(decode::<u8>(b"\x61x").unwrap_err().to_string().contains("expected"));
        assert!(matches!(decode::<u8>(b"\x01\x02").unwrap_err(), CodecError::Trailing { offset: 1 }));
    }

    #[test]
    fn announced_lengths_and_deep_nesting_are_refused_not_followed() {
        let largest = [0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        for kind in [0x5b, 0x7b, 0x9b, 0xbb] {
            let message = [&[kind][..], &largest].concat();
            assert!(decode::<ciborium::Value>(&message).is_err());
            assert!(decode::<Vec<u64>>(&message).is_err());
        }
        for opening in [0x81, 0xa1, 0xc1, 0x9f, 0xbf, 0x5f, 0x7f] {
            let message = vec![opening; 1_000_000];
            assert!(decode::<ciborium::Value>(&message).is_err());
            assert!(decode::<serde::de::IgnoredAny>(&message).is_err());
        }
    }
}
