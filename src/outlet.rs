//! The sending side of a connection as a state machine for `Sink`, and the async methods over it.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use qwormhole_proto::{CloseReason, Payload, SendError, SendErrorKind, Sender, Waiter};

/// A sender with room for the one message that a `Sink` may be given before there is room.
///
/// Every other way of sending lets that message go first, so order holds whichever way is used.
#[derive(Debug)]
pub(crate) struct Outlet {
    sender: Sender,
    /// The place among those that wait; kept while it is of use.
    waiter: Option<Waiter>,
    stash: Option<Bytes>,
    /// What the flush in progress waits for.
    flush_mark: Option<u64>,
    closing: bool,
}

impl Outlet {
    pub(crate) const fn new(sender: Sender) -> Self {
        Self { sender, waiter: None, stash: None, flush_mark: None, closing: false }
    }

    pub(crate) async fn send<P: Payload>(&mut self, payload: P) -> Result<(), SendError<P>> {
        // An end is found out, and the message given back, by the send itself.
        let _ = poll_fn(|cx| self.poll_ready(cx)).await;
        if self.closing {
            return Err(SendError { kind: SendErrorKind::Closed(CloseReason::Local), payload });
        }
        self.flush_mark = None;
        self.sender.send(payload).await
    }

    pub(crate) fn try_send<P: Payload>(&mut self, payload: P) -> Result<(), SendError<P>> {
        if self.closing {
            return Err(SendError { kind: SendErrorKind::Closed(CloseReason::Local), payload });
        }
        self.flush_mark = None;
        match self.unstash() {
            Err(SendErrorKind::Full) => Err(SendError { kind: SendErrorKind::Full, payload }),
            _ => self.sender.try_send(payload),
        }
    }

    pub(crate) async fn flush(&mut self) -> Result<(), CloseReason> {
        match poll_fn(|cx| self.poll_flush(cx)).await {
            Err(SendErrorKind::Closed(reason)) => Err(reason),
            _ => Ok(()),
        }
    }

    pub(crate) async fn close(&mut self) -> CloseReason {
        poll_fn(|cx| self.poll_close(cx)).await
    }

    /// Ready when nothing is stashed.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendErrorKind>> {
        while let Err(refused) = self.unstash() {
            if refused != SendErrorKind::Full {
                return Poll::Ready(Err(refused));
            }
            let len = self.stash.as_ref().map_or(0, Bytes::len);
            let waiter = self.waiter.get_or_insert_with(|| self.sender.waiter());
            ready!(waiter.poll_ready(len, cx));
            self.waiter = None;
        }
        Poll::Ready(Ok(()))
    }

    pub(crate) fn start_send(&mut self, message: Bytes) -> Result<(), SendErrorKind> {
        match self.try_send(message) {
            Err(refused) if refused.is_retryable() && self.stash.is_none() => {
                self.stash = Some(refused.payload);
                Ok(())
            }
            done => done.map_err(|refused| refused.kind),
        }
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendErrorKind>> {
        if let Err(ended) = ready!(self.poll_ready(cx)) {
            return Poll::Ready(Err(ended));
        }
        let mark = *self.flush_mark.get_or_insert_with(|| self.sender.request_flush());
        let waiter = self.waiter.get_or_insert_with(|| self.sender.waiter());
        let flushed = ready!(waiter.poll_flushed(mark, cx));
        self.waiter = None;
        self.flush_mark = None;
        Poll::Ready(flushed.map_err(SendErrorKind::Closed))
    }

    pub(crate) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        // A stashed message that can no longer be sent does not stand in the way.
        let _ = ready!(self.poll_ready(cx));
        if !self.closing {
            self.closing = true;
            self.sender.close();
        }
        let waiter = self.waiter.get_or_insert_with(|| self.sender.waiter());
        let reason = ready!(waiter.poll_closed(cx));
        self.waiter = None;
        Poll::Ready(reason)
    }

    /// Sends the stashed message; it stays stashed when there is no room and is lost when the connection ended.
    fn unstash(&mut self) -> Result<(), SendErrorKind> {
        let Some(message) = self.stash.take() else { return Ok(()) };
        self.sender.try_send(message).map_err(|refused| {
            if refused.is_retryable() {
                self.stash = Some(refused.payload);
            }
            refused.kind
        })
    }
}

#[cfg(test)]
#[path = "outlet_tests.rs"]
mod tests;
