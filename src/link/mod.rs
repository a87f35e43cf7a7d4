//! A client connection that outlives its connections.

mod builder;
mod course;
mod event;
mod inbox;
mod pending;
mod state;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;
use qwormhole_proto::{ConnId, Payload, Priority, SendError, SendErrorKind};

pub use crate::link::builder::LinkBuilder;
pub use crate::link::event::{LinkError, LinkEvent};
use crate::link::inbox::LinkInbox;
use crate::link::state::{Place, Shared};

/// A connection to one server that is made again whenever it is lost, until it is closed or dropped. Made by
/// [`Client::link`](crate::Client::link); works on any async runtime, and without one.
///
/// - **Sending.** While nothing is connected, messages are queued within
///   [`LinkBuilder::pending_bytes_max`]; they leave first when a connection is up. Messages of one sender are
///   accepted by connections in order, each by one connection at most: nothing queued is lost or doubled.
///   What a connection accepted and had not delivered when it ended **may be lost**; a link never sends it
///   again. Who must know that a message arrived has the other side answer it.
/// - **Receiving.** [`Link::recv`], or the `Stream` of [`Bytes`], gives the messages of whichever connection is
///   up, all of an earlier one before those of a later one. What is unread stays within the client's
///   [`InboxLimits`](crate::InboxLimits) over all connections: while it is full, none is read from.
/// - **Retries.** A refused attempt and a lost connection both lead to a retry after the delay of
///   [`Backoff`](crate::Backoff). The count of retries begins anew after a connection that was of use, which is
///   one that brought a message: a server that accepts and closes at once is tried less and less often.
///
/// All links of a process share one housekeeping thread, which ends with the last of them. Dropping a link
/// closes it in the background as [`Link::close`] does.
pub struct Link {
    inbox: Arc<LinkInbox>,
    sender: LinkSender,
}

/// Sends on a [`Link`] from any task or thread; cheap to clone. It does not keep the link open.
#[derive(Clone)]
pub struct LinkSender(Arc<Shared>);

/// The events of a [`Link`] as a stream, from [`Link::events`]; it ends with the link.
///
/// A link has one queue of events: with several streams each event is given to one of them.
pub struct LinkEvents(Place);

impl Link {
    pub(crate) const fn new(shared: Arc<Shared>, inbox: Arc<LinkInbox>) -> Self {
        Self { inbox, sender: LinkSender(shared) }
    }

    /// The next message of whichever connection is up; `None` once the link was closed or gave up and every
    /// message before was taken.
    ///
    /// # Cancel safety
    ///
    /// A future dropped before it is ready has taken no message.
    pub async fn recv(&mut self) -> Option<Bytes> {
        std::future::poll_fn(|cx| self.inbox.poll_next(cx)).await
    }

    /// Sends one message, waiting for room. See [`LinkSender::send`].
    ///
    /// # Errors
    ///
    /// Gives the message back; see [`LinkSender::send`].
    ///
    /// # Cancel safety
    ///
    /// A future dropped before it is ready has sent nothing; the message is dropped with it.
    pub async fn send<P: Payload>(&self, payload: P) -> Result<(), SendError<P>> {
        self.sender.send(payload).await
    }

    /// Sends one message without waiting. See [`LinkSender::try_send`].
    ///
    /// # Errors
    ///
    /// Gives the message back; see [`LinkSender::try_send`].
    pub fn try_send<P: Payload>(&self, payload: P) -> Result<(), SendError<P>> {
        self.sender.try_send(payload)
    }

    /// Waits until everything accepted before was handed to the kernel. See [`LinkSender::flush`].
    ///
    /// # Errors
    ///
    /// As [`LinkSender::flush`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing; what was accepted still leaves.
    pub async fn flush(&self) -> Result<(), SendErrorKind> {
        self.sender.flush().await
    }

    /// Ends the link: no more attempts, no more messages accepted. A connection that is up takes what is queued,
    /// within `close_flush_timeout`, and is closed gracefully. Returns, in order, the queued messages that no
    /// connection took; what arrived before the end can still be received.
    ///
    /// # Cancel safety
    ///
    /// A future dropped after its first poll leaves the close going on in the background.
    pub async fn close(&mut self) -> Vec<Bytes> {
        let shared = &self.sender.0;
        shared.close(false);
        shared.wait(|state| state.ended().map(|_| ())).await;
        shared.take_unsent()
    }

    /// Waits for a connection; returns its id, at once if one is up.
    ///
    /// # Errors
    ///
    /// Why there will be none.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn connected(&self) -> Result<ConnId, LinkError> {
        self.sender.0.wait(|state| state.id().map(Ok).or_else(|| state.ended().cloned().map(Err))).await
    }

    /// Whether a connection is up.
    pub fn is_connected(&self) -> bool {
        self.sender.is_connected()
    }

    /// The next event; `None` when the link has ended and every event was taken.
    ///
    /// # Cancel safety
    ///
    /// A future dropped before it is ready has taken no event.
    pub async fn next_event(&self) -> Option<LinkEvent> {
        self.sender.0.wait(state::State::next_event).await
    }

    /// The events as a stream for another task.
    pub fn events(&self) -> LinkEvents {
        LinkEvents(self.sender.0.place())
    }

    /// Events that were dropped because nobody took them in time.
    pub fn events_dropped(&self) -> u64 {
        self.sender.0.lock().events_dropped()
    }

    /// A handle with which other tasks and threads send.
    pub fn sender(&self) -> LinkSender {
        self.sender.clone()
    }
}

impl LinkSender {
    /// Sends one message, waiting for room. `Ok` means accepted, in order, by the queue or by the connection;
    /// not delivered.
    ///
    /// # Errors
    ///
    /// Gives the message back when it is too large, the link was closed or gave up, or nothing is connected and
    /// [`LinkBuilder::require_connected_for_send`] is set.
    ///
    /// # Cancel safety
    ///
    /// A future dropped before it is ready has sent nothing; the message is dropped with it.
    pub async fn send<P: Payload>(&self, payload: P) -> Result<(), SendError<P>> {
        self.send_with(Priority::DEFAULT, payload).await
    }

    /// As [`LinkSender::send`], with a priority; lower goes sooner. Among what is queued for a connection the
    /// order stays; the priority counts from when a connection has taken the message.
    ///
    /// # Errors
    ///
    /// As [`LinkSender::send`].
    ///
    /// # Cancel safety
    ///
    /// As [`LinkSender::send`].
    pub async fn send_with<P: Payload>(
        &self,
        priority: Priority,
        mut payload: P,
    ) -> Result<(), SendError<P>> {
        loop {
            payload = match self.try_send_with(priority, payload) {
                Err(refused) if refused.is_retryable() => refused.payload,
                done => return done,
            };
            self.0.ready(payload.as_bytes().len()).await;
        }
    }

    /// Sends one message without waiting.
    ///
    /// # Errors
    ///
    /// Gives the message back when there is no room (`Full`), and as [`LinkSender::send`].
    pub fn try_send<P: Payload>(&self, payload: P) -> Result<(), SendError<P>> {
        self.try_send_with(Priority::DEFAULT, payload)
    }

    /// As [`LinkSender::try_send`], with a priority; see [`LinkSender::send_with`].
    ///
    /// # Errors
    ///
    /// As [`LinkSender::try_send`].
    pub fn try_send_with<P: Payload>(&self, priority: Priority, payload: P) -> Result<(), SendError<P>> {
        self.0.try_send(priority, payload)
    }

    /// Waits until everything accepted before was handed to the kernel; while nothing is connected and messages
    /// are queued, until a connection has taken them.
    ///
    /// # Errors
    ///
    /// `Closed` when a connection ended that had accepted messages since the last flush: they may be lost; what
    /// is queued is not. Told once. `NotConnected` when the link has ended with messages queued.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing; what was accepted still leaves.
    pub async fn flush(&self) -> Result<(), SendErrorKind> {
        self.0.flush().await
    }

    /// Whether a connection is up.
    pub fn is_connected(&self) -> bool {
        self.0.lock().id().is_some()
    }
}

impl Stream for Link {
    type Item = Bytes;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.inbox.poll_next(cx)
    }
}

impl Stream for LinkEvents {
    type Item = LinkEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<LinkEvent>> {
        Poll::Ready(ready!(self.0.poll(cx, &mut state::State::next_event)))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.sender.0.close(true);
        self.inbox.abandon();
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("connection", &self.sender.0.lock().id()).finish_non_exhaustive()
    }
}

impl fmt::Debug for LinkSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkSender").field("connection", &self.0.lock().id()).finish_non_exhaustive()
    }
}

impl fmt::Debug for LinkEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkEvents").finish_non_exhaustive()
    }
}
