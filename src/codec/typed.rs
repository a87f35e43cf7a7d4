//! A connection for async code that carries values.

use std::borrow::Borrow;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use futures_sink::Sink;
use qwormhole_proto::{CloseReason, ConnId, PeerInfo, Sender};

use super::typed_half::{TypedReceiveHalf, TypedSendHalf};
use super::{Codec, TypedRecvError, TypedSendError};
use crate::connection::Connection;
use crate::error::RecvError;

/// A [`Connection`] whose messages are values of a [`Codec`]; made by [`Connection::with_codec`].
///
/// It is a [`Stream`] of `Result<C::Item, TypedRecvError>` and a [`Sink`] of anything that borrows as
/// `C::Outgoing`: the value or a reference to it. A message that does not decode is an error of that message only:
/// it comes back as bytes, and the next `recv` gives the next message. Dropping it closes as a connection does.
///
/// Besides what the connection holds it keeps up to 64 KiB to encode in.
#[derive(Debug)]
pub struct TypedConnection<C> {
    conn: Connection,
    codec: C,
    buffer: BytesMut,
}

impl Connection {
    /// The same connection, carrying values of `codec`. Messages that wait already are decoded by it too.
    pub fn with_codec<C: Codec>(self, codec: C) -> TypedConnection<C> {
        TypedConnection::new(self, codec)
    }
}

impl<C: Codec> TypedConnection<C> {
    fn new(conn: Connection, codec: C) -> Self {
        Self { conn, codec, buffer: BytesMut::new() }
    }

    /// The next value; `None` when the connection has ended cleanly, after every message before the end. An end
    /// with an error is reported once. After [`TypedRecvError::Decode`] the connection goes on.
    ///
    /// # Cancel safety
    ///
    /// A future dropped before it is ready has taken no message.
    pub async fn recv(&mut self) -> Option<Result<C::Item, TypedRecvError>> {
        let next = self.conn.recv().await;
        decode_next(&self.codec, next)
    }

    /// Encodes `item` and sends it, waiting for room. `Ok` means accepted, in order, not delivered.
    ///
    /// # Errors
    ///
    /// The value cannot be encoded, its encoded form is too large, or the connection is over.
    ///
    /// # Cancel safety
    ///
    /// A future dropped before it is ready has sent nothing.
    pub async fn send(&mut self, item: &C::Outgoing) -> Result<(), TypedSendError> {
        let message = self.codec.encode_shared(item, &mut self.buffer)?;
        self.conn.send(message).await.map_err(|refused| refused.kind.into())
    }

    /// Encodes `item` and sends it without waiting.
    ///
    /// # Errors
    ///
    /// There is no room, the value cannot be encoded, its encoded form is too large, or the connection is over.
    pub fn try_send(&mut self, item: &C::Outgoing) -> Result<(), TypedSendError> {
        let message = self.codec.encode_shared(item, &mut self.buffer)?;
        self.conn.try_send(message).map_err(|refused| refused.kind.into())
    }

    /// Waits until everything accepted before was handed to the kernel.
    ///
    /// # Errors
    ///
    /// The connection's end, when it came first.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing; what was accepted still leaves.
    pub async fn flush(&mut self) -> Result<(), CloseReason> {
        self.conn.flush().await
    }

    /// Closes gracefully and waits until that is finished; see [`Connection::close`].
    ///
    /// # Cancel safety
    ///
    /// A future dropped after its first poll leaves the close going on in the background.
    pub async fn close(&mut self) -> CloseReason {
        self.conn.close().await
    }

    /// Ends the connection at once: what is queued is lost and the peer may see a reset.
    pub fn abort(&self) {
        self.conn.abort();
    }

    /// A handle with which other tasks and threads send bytes on this connection; see [`Sender`].
    pub fn sender(&self) -> Sender {
        self.conn.sender()
    }

    /// The connection's id, unique within its engine.
    pub fn id(&self) -> ConnId {
        self.conn.id()
    }

    /// Who is at the other end.
    pub const fn peer(&self) -> &PeerInfo {
        self.conn.peer()
    }

    /// The codec.
    pub const fn codec(&self) -> &C {
        &self.codec
    }

    /// The connection without the codec; nothing is lost, everything accepted stays accepted.
    pub fn into_inner(self) -> Connection {
        self.conn
    }

    /// Two halves that live in different tasks, each with the codec.
    pub fn into_split(self) -> (TypedReceiveHalf<C>, TypedSendHalf<C>)
    where
        C: Clone,
    {
        let (receive, send) = self.conn.into_split();
        let codec = self.codec.clone();
        (TypedReceiveHalf::new(receive, self.codec), TypedSendHalf::new(send, codec, self.buffer))
    }
}

impl<C: Codec + Unpin> Stream for TypedConnection<C> {
    type Item = Result<C::Item, TypedRecvError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        Pin::new(&mut this.conn).poll_next(cx).map(|next| decode_next(&this.codec, next))
    }
}

impl<C: Codec + Unpin, T: Borrow<C::Outgoing>> Sink<T> for TypedConnection<C> {
    type Error = TypedSendError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), TypedSendError>> {
        Pin::new(&mut self.get_mut().conn).poll_ready(cx).map_err(TypedSendError::from)
    }

    fn start_send(self: Pin<&mut Self>, item: T) -> Result<(), TypedSendError> {
        let this = self.get_mut();
        let message = this.codec.encode_shared(item.borrow(), &mut this.buffer)?;
        Pin::new(&mut this.conn).start_send(message).map_err(TypedSendError::from)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), TypedSendError>> {
        Pin::new(&mut self.get_mut().conn).poll_flush(cx).map_err(TypedSendError::from)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), TypedSendError>> {
        Pin::new(&mut self.get_mut().conn).poll_close(cx).map_err(TypedSendError::from)
    }
}

/// Decodes what a connection gave; the message is kept until that has succeeded.
pub(super) fn decode_next<C: Codec>(
    codec: &C,
    next: Option<Result<Bytes, RecvError>>,
) -> Option<Result<C::Item, TypedRecvError>> {
    let message = match next? {
        Ok(message) => message,
        Err(ended) => return Some(Err(ended.into())),
    };
    let decoded = codec.decode(message.clone());
    Some(decoded.map_err(|source| TypedRecvError::Decode { source, message }))
}
