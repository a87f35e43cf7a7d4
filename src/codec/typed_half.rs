//! The halves of a connection that carries values.

use std::borrow::Borrow;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use futures_core::Stream;
use futures_sink::Sink;
use qwormhole_proto::{CloseReason, ConnId, PeerInfo, Sender};

use super::typed::decode_next;
use super::{Codec, TypedRecvError, TypedSendError};
use crate::connection::{ReceiveHalf, SendHalf};

/// The receiving half of a [`TypedConnection`](super::TypedConnection).
///
/// Dropping it discards what arrives from then on; the connection closes when both halves are gone.
#[derive(Debug)]
pub struct TypedReceiveHalf<C> {
    half: ReceiveHalf,
    codec: C,
}

/// The sending half of a [`TypedConnection`](super::TypedConnection); the connection closes when both halves are
/// gone.
#[derive(Debug)]
pub struct TypedSendHalf<C> {
    half: SendHalf,
    codec: C,
    buffer: BytesMut,
}

impl<C: Codec> TypedReceiveHalf<C> {
    pub(super) const fn new(half: ReceiveHalf, codec: C) -> Self {
        Self { half, codec }
    }

    /// The next value. See [`TypedConnection::recv`](super::TypedConnection::recv).
    ///
    /// # Cancel safety
    ///
    /// A future dropped before it is ready has taken no message.
    pub async fn recv(&mut self) -> Option<Result<C::Item, TypedRecvError>> {
        let next = self.half.recv().await;
        decode_next(&self.codec, next)
    }

    /// The connection's id, unique within its engine.
    pub fn id(&self) -> ConnId {
        self.half.id()
    }

    /// Who is at the other end.
    pub const fn peer(&self) -> &PeerInfo {
        self.half.peer()
    }

    /// The half without the codec.
    pub fn into_inner(self) -> ReceiveHalf {
        self.half
    }
}

impl<C: Codec> TypedSendHalf<C> {
    pub(super) const fn new(half: SendHalf, codec: C, buffer: BytesMut) -> Self {
        Self { half, codec, buffer }
    }

    /// Encodes `item` and sends it, waiting for room. See [`TypedConnection::send`](super::TypedConnection::send).
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
        self.half.send(message).await.map_err(|refused| refused.kind.into())
    }

    /// Encodes `item` and sends it without waiting.
    ///
    /// # Errors
    ///
    /// There is no room, the value cannot be encoded, its encoded form is too large, or the connection is over.
    pub fn try_send(&mut self, item: &C::Outgoing) -> Result<(), TypedSendError> {
        let message = self.codec.encode_shared(item, &mut self.buffer)?;
        self.half.try_send(message).map_err(|refused| refused.kind.into())
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
        self.half.flush().await
    }

    /// Closes the whole connection gracefully; see [`Connection::close`](crate::Connection::close).
    ///
    /// # Cancel safety
    ///
    /// A future dropped after its first poll leaves the close going on in the background.
    pub async fn close(&mut self) -> CloseReason {
        self.half.close().await
    }

    /// Ends the connection at once. See [`Connection::abort`](crate::Connection::abort).
    pub fn abort(&self) {
        self.half.abort();
    }

    /// A handle for other tasks and threads, which send bytes with it.
    pub fn sender(&self) -> Sender {
        self.half.sender()
    }

    /// The connection's id, unique within its engine.
    pub fn id(&self) -> ConnId {
        self.half.id()
    }

    /// The half without the codec; everything accepted stays accepted.
    pub fn into_inner(self) -> SendHalf {
        self.half
    }
}

impl<C: Codec + Unpin> Stream for TypedReceiveHalf<C> {
    type Item = Result<C::Item, TypedRecvError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        this.half.poll_recv(cx).map(|next| decode_next(&this.codec, next))
    }
}

impl<C: Codec + Unpin, T: Borrow<C::Outgoing>> Sink<T> for TypedSendHalf<C> {
    type Error = TypedSendError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), TypedSendError>> {
        Pin::new(&mut self.get_mut().half).poll_ready(cx).map_err(TypedSendError::from)
    }

    fn start_send(self: Pin<&mut Self>, item: T) -> Result<(), TypedSendError> {
        let this = self.get_mut();
        let message = this.codec.encode_shared(item.borrow(), &mut this.buffer)?;
        Pin::new(&mut this.half).start_send(message).map_err(TypedSendError::from)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), TypedSendError>> {
        Pin::new(&mut self.get_mut().half).poll_flush(cx).map_err(TypedSendError::from)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), TypedSendError>> {
        Pin::new(&mut self.get_mut().half).poll_close(cx).map_err(TypedSendError::from)
    }
}
