//! A connection for async code: a stream of messages in, a sink of messages out.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use futures_sink::Sink;
use qwormhole_proto::{CloseReason, ConnId, Payload, PeerInfo, SendError, SendErrorKind, Sender};

use crate::client_engine::ClientEngine;
use crate::error::RecvError;
use crate::inbox::Reader;
use crate::outlet::Outlet;

/// One connection, used from any task on any async runtime, or from none.
///
/// It is a [`Stream`] of `Result<Bytes, RecvError>` and a [`Sink`] of [`Bytes`]. What arrives waits in a bounded
/// inbox; when that is full the peer is slowed down. Dropping the connection closes it gracefully in the
/// background: what was accepted still leaves. To be sure of that before the process ends, await
/// [`Connection::close`].
#[derive(Debug)]
pub struct Connection {
    receive: ReceiveHalf,
    send: SendHalf,
}

/// The receiving half of a [`Connection`].
///
/// Dropping it discards what arrives from then on; the connection closes when both halves are gone.
#[derive(Debug)]
pub struct ReceiveHalf {
    reader: Reader,
    /// The end was reported.
    ended: bool,
    peer: PeerInfo,
    lifeline: Arc<Lifeline>,
}

/// The sending half of a [`Connection`]; the connection closes when both halves are gone.
#[derive(Debug)]
pub struct SendHalf {
    outlet: Outlet,
    lifeline: Arc<Lifeline>,
}

/// Closes the connection when both halves are gone, and keeps a client's own engine running until then.
#[derive(Debug)]
struct Lifeline {
    sender: Sender,
    engine: OnceLock<Arc<ClientEngine>>,
}

impl Connection {
    pub(crate) fn new(sender: Sender, peer: PeerInfo, reader: Reader) -> Self {
        let lifeline = Arc::new(Lifeline { sender: sender.clone(), engine: OnceLock::new() });
        Self {
            receive: ReceiveHalf { reader, ended: false, peer, lifeline: lifeline.clone() },
            send: SendHalf { outlet: Outlet::new(sender), lifeline },
        }
    }

    /// Keeps `engine` running as long as the connection is held.
    pub(crate) fn keep(self, engine: Arc<ClientEngine>) -> Self {
        // A connection is kept once, by the client that made it.
        let _ = self.send.lifeline.engine.set(engine);
        self
    }

    /// The next message; `None` when the connection has ended cleanly, after every message before the end.
    /// An end with an error is reported once, as `Some(Err(..))`.
    ///
    /// # Cancel safety
    ///
    /// A future dropped before it is ready has taken no message.
    pub async fn recv(&mut self) -> Option<Result<Bytes, RecvError>> {
        self.receive.recv().await
    }

    /// Sends one message, waiting for room. See [`SendHalf::send`].
    ///
    /// # Errors
    ///
    /// Gives the message back when it is too large or the connection is over.
    ///
    /// # Cancel safety
    ///
    /// A future dropped before it is ready has sent nothing; the message is dropped with it.
    pub async fn send<P: Payload>(&mut self, payload: P) -> Result<(), SendError<P>> {
        self.send.send(payload).await
    }

    /// Sends one message without waiting. See [`SendHalf::try_send`].
    ///
    /// # Errors
    ///
    /// Gives the message back when there is no room, it is too large or the connection is over.
    pub fn try_send<P: Payload>(&mut self, payload: P) -> Result<(), SendError<P>> {
        self.send.try_send(payload)
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
        self.send.flush().await
    }

    /// Closes gracefully and waits until that is finished: what was accepted leaves, the peer is told, and its
    /// input is discarded until it ends too, all within the limits' deadlines. Returns why the connection
    /// ended: [`CloseReason::Local`], unless something else came first.
    ///
    /// # Cancel safety
    ///
    /// A future dropped after its first poll leaves the close going on in the background.
    pub async fn close(&mut self) -> CloseReason {
        self.send.close().await
    }

    /// Ends the connection at once: what is queued is lost and the peer may see a reset.
    pub fn abort(&self) {
        self.send.abort();
    }

    /// A handle with which other tasks and threads send on this connection; see [`Sender`]. It does not keep
    /// the connection open.
    pub fn sender(&self) -> Sender {
        self.send.sender()
    }

    /// The connection's id, unique within its engine.
    pub fn id(&self) -> ConnId {
        self.send.id()
    }

    /// Who is at the other end.
    pub const fn peer(&self) -> &PeerInfo {
        self.receive.peer()
    }

    /// Two halves that live in different tasks.
    pub fn into_split(self) -> (ReceiveHalf, SendHalf) {
        (self.receive, self.send)
    }
}

impl ReceiveHalf {
    /// The next message. See [`Connection::recv`].
    ///
    /// # Cancel safety
    ///
    /// A future dropped before it is ready has taken no message.
    pub async fn recv(&mut self) -> Option<Result<Bytes, RecvError>> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// As [`ReceiveHalf::recv`], for code that polls.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, RecvError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.reader.poll_next(cx).map(|next| match next {
            Ok(message) => Some(Ok(message)),
            Err(reason) => {
                self.ended = true;
                reason.had_error().then(|| Err(RecvError::new(reason)))
            }
        })
    }

    /// The connection's id, unique within its engine.
    pub fn id(&self) -> ConnId {
        self.lifeline.sender.id()
    }

    /// Who is at the other end.
    pub const fn peer(&self) -> &PeerInfo {
        &self.peer
    }
}

impl SendHalf {
    /// Sends one message, waiting for room. `Ok` means accepted, in order, not delivered.
    ///
    /// # Errors
    ///
    /// Gives the message back when it is too large or the connection is over.
    ///
    /// # Cancel safety
    ///
    /// A future dropped before it is ready has sent nothing; the message is dropped with it.
    pub async fn send<P: Payload>(&mut self, payload: P) -> Result<(), SendError<P>> {
        self.outlet.send(payload).await
    }

    /// Sends one message without waiting. `Ok` means accepted, in order, not delivered.
    ///
    /// # Errors
    ///
    /// Gives the message back when there is no room, it is too large or the connection is over.
    pub fn try_send<P: Payload>(&mut self, payload: P) -> Result<(), SendError<P>> {
        self.outlet.try_send(payload)
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
        self.outlet.flush().await
    }

    /// Closes the whole connection gracefully. See [`Connection::close`].
    ///
    /// # Cancel safety
    ///
    /// A future dropped after its first poll leaves the close going on in the background.
    pub async fn close(&mut self) -> CloseReason {
        self.outlet.close().await
    }

    /// Ends the connection at once. See [`Connection::abort`].
    pub fn abort(&self) {
        self.lifeline.sender.abort();
    }

    /// A handle for other tasks and threads. See [`Connection::sender`].
    pub fn sender(&self) -> Sender {
        self.lifeline.sender.clone()
    }

    /// The connection's id, unique within its engine.
    pub fn id(&self) -> ConnId {
        self.lifeline.sender.id()
    }
}

impl Stream for ReceiveHalf {
    type Item = Result<Bytes, RecvError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_recv(cx)
    }
}

impl Stream for Connection {
    type Item = Result<Bytes, RecvError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().receive.poll_recv(cx)
    }
}

/// A message that an error concerns is lost; use [`SendHalf::send`] to get it back.
impl Sink<Bytes> for SendHalf {
    type Error = SendErrorKind;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendErrorKind>> {
        self.get_mut().outlet.poll_ready(cx)
    }

    fn start_send(self: Pin<&mut Self>, message: Bytes) -> Result<(), SendErrorKind> {
        self.get_mut().outlet.start_send(message)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendErrorKind>> {
        self.get_mut().outlet.poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendErrorKind>> {
        self.get_mut()
            .outlet
            .poll_close(cx)
            .map(|reason| if reason.had_error() { Err(SendErrorKind::Closed(reason)) } else { Ok(()) })
    }
}

/// As for [`SendHalf`].
impl Sink<Bytes> for Connection {
    type Error = SendErrorKind;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendErrorKind>> {
        Pin::new(&mut self.send).poll_ready(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Bytes) -> Result<(), SendErrorKind> {
        Pin::new(&mut self.send).start_send(message)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendErrorKind>> {
        Pin::new(&mut self.send).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendErrorKind>> {
        Pin::new(&mut self.send).poll_close(cx)
    }
}

impl Drop for Lifeline {
    fn drop(&mut self) {
        self.sender.close();
    }
}
