//! Values and codecs of QWormhole's built-in serializers, byte for byte.
//!
//! They carry JavaScript's peculiarities: a string is sent as plain text, not as JSON; a `Buffer` and a
//! `Uint8Array` have different forms in JSON and in CBOR; what is no JSON is received as null. To speak to peers
//! that use plain serializers of their own, take [`Json`](super::Json) and [`Cbor`](super::Cbor).

#[cfg(feature = "cbor")]
mod cbor;
#[cfg(feature = "json")]
mod json;
#[cfg(feature = "json")]
mod plain;
mod value;

#[cfg(feature = "cbor")]
pub use cbor::Cbor;
#[cfg(feature = "json")]
pub use json::Json;
#[cfg(feature = "json")]
pub use plain::Plain;
pub use value::Value;
