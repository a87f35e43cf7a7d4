//! What a message means: codecs between bytes and values, and connections that carry values.
//!
//! A [`Codec`] turns one message into one value and back. [`Raw`], [`Text`], [`Json`] and [`Cbor`] are here; the
//! examples `protobuf` and `flatbuffers` show codecs of one's own, [`qwormhole`] speaks as QWormhole's built-in
//! serializers do.
//!
//! For async code, [`Connection::with_codec`](crate::Connection::with_codec) makes a [`TypedConnection`]:
//!
//! ```
//! # #[cfg(feature = "json")] {
//! use qwormhole::codec::Json;
//! use qwormhole::{Client, Codec, Context, Handler, Message, PeerInfo, Server};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize, Debug, PartialEq)]
//! struct Point {
//!     x: i32,
//!     y: i32,
//! }
//!
//! /// In a handler a codec is called by hand: on the message, or on its lease when the value keeps bytes of it.
//! struct Mirror(Json<Point>);
//! impl Handler for Mirror {
//!     fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
//!         let message = conn.lease(message);
//!         // What is no point is the peer's mistake: this one hangs up.
//!         let Ok(Point { x, y }) = self.0.decode(message) else { return conn.close() };
//!         let mut answer = qwormhole::BytesMut::new();
//!         if self.0.encode(&Point { x: y, y: x }, &mut answer).is_ok() {
//!             let _ = conn.reply(answer);
//!         }
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Server::builder().bind("tcp://127.0.0.1:0")?.start(|_peer: &PeerInfo| Mirror(Json::new()))?;
//! let answer = pollster::block_on(async {
//!     let conn = Client::builder().connect(&server.local_addrs()[0]).await?;
//!     let mut conn = conn.with_codec(Json::<Point>::new());
//!     conn.send(&Point { x: 1, y: 2 }).await?;
//!     Ok::<_, Box<dyn std::error::Error>>(conn.recv().await.transpose()?)
//! })?;
//! assert_eq!(answer, Some(Point { x: 2, y: 1 }));
//! server.shutdown(std::time::Duration::from_secs(5));
//! # Ok(())
//! # }
//! # main().unwrap();
//! # }
//! ```

#[cfg(feature = "cbor")]
mod cbor;
mod error;
#[cfg(feature = "json")]
mod json;
#[cfg(any(feature = "json", feature = "cbor"))]
mod number;
#[cfg(any(feature = "json", feature = "cbor"))]
pub mod qwormhole;
mod raw;
mod text;
mod typed;
mod typed_half;

use bytes::{Bytes, BytesMut};

#[cfg(feature = "cbor")]
pub use cbor::Cbor;
pub use error::{CodecError, TypedRecvError, TypedSendError};
#[cfg(feature = "json")]
pub use json::Json;
#[cfg(any(feature = "json", feature = "cbor"))]
pub use number::number;
pub use raw::Raw;
pub use text::Text;
pub use typed::TypedConnection;
pub use typed_half::{TypedReceiveHalf, TypedSendHalf};

/// Turns one message into one value and back. Shared by every message of a connection, so it keeps no state of a
/// message; called in the task that sends or receives, or on the shard by a [`Handler`](crate::Handler).
///
/// An implementation does not panic, whatever the bytes: they come from a peer. It neither allocates by a length
/// that the bytes announce nor recurses as deep as they nest.
///
/// Size limits apply to the encoded form: `max_send_frame_len` after encoding, `max_frame_len` before decoding. A
/// decoded value may be larger than its bytes; each codec here says by how much.
pub trait Codec {
    /// What a received message becomes.
    type Item;
    /// What can be sent; taken by reference.
    type Outgoing: ?Sized;

    /// Appends the bytes of `item` to `out`.
    ///
    /// # Errors
    ///
    /// The value has no encoded form. What was appended by then is discarded by the caller.
    fn encode(&self, item: &Self::Outgoing, out: &mut BytesMut) -> Result<(), CodecError>;

    /// Reads the one value that `message` holds.
    ///
    /// # Errors
    ///
    /// The bytes are not the encoded form of an item, or something follows it.
    fn decode(&self, message: Bytes) -> Result<Self::Item, CodecError>;

    /// The bytes of `item`, encoded in `buffer`, which is left empty with its spare memory. A codec whose values
    /// are shared bytes already gives them away without a copy.
    ///
    /// # Errors
    ///
    /// As [`Codec::encode`].
    fn encode_shared(&self, item: &Self::Outgoing, buffer: &mut BytesMut) -> Result<Bytes, CodecError> {
        buffer.clear();
        self.encode(item, buffer)?;
        let message = buffer.split().freeze();
        if buffer.capacity() > BUFFER_KEPT_MAX {
            *buffer = BytesMut::new();
        }
        Ok(message)
    }
}

/// Spare memory kept between messages; more would stay with a connection that sent one large message.
const BUFFER_KEPT_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_reused_for_short_messages_and_given_back_after_long_ones() {
        let mut buffer = BytesMut::with_capacity(16);
        let mut address = || Text.encode_shared("0123456789abcdef", &mut buffer).unwrap().as_ptr();
        assert_eq!(address(), address(), "the memory of a message that is gone");
        let long = Text.encode_shared(&"x".repeat(BUFFER_KEPT_MAX * 3), &mut buffer).unwrap();
        assert_eq!(long.len(), BUFFER_KEPT_MAX * 3);
        let _ = Text.encode_shared("short", &mut buffer).unwrap();
        assert!(buffer.capacity() <= BUFFER_KEPT_MAX);
    }

    /// Encodes half of its value and then refuses.
    struct Moody;

    impl Codec for Moody {
        type Item = ();
        type Outgoing = bool;

        fn encode(&self, item: &bool, out: &mut BytesMut) -> Result<(), CodecError> {
            out.extend_from_slice(b"half");
            if *item { Ok(()) } else { Err(CodecError::custom("not today")) }
        }

        fn decode(&self, _message: Bytes) -> Result<(), CodecError> {
            Ok(())
        }
    }

    #[test]
    fn a_refused_value_leaves_nothing_in_the_next_message() {
        let mut buffer = BytesMut::new();
        assert_eq!(Moody.encode_shared(&false, &mut buffer).unwrap_err().to_string(), "not today");
        assert_eq!(Moody.encode_shared(&true, &mut buffer).unwrap(), "half");
    }
}
