//! The user's code, run to completion on the shard that owns the connection.

use crate::close::CloseReason;
use crate::context::Context;
use crate::message::Message;
use crate::peer::PeerInfo;

/// The user's side of one connection. Methods run on the shard's thread and must not block: every connection
/// of the shard waits for them.
///
/// A panic closes this connection only, with [`CloseReason::HandlerPanicked`]; the handler is dropped without
/// being called again.
pub trait Handler: 'static {
    /// The connection is ready for messages in both directions.
    fn on_open(&mut self, conn: &mut Context<'_>) {
        let _ = conn;
    }

    /// One message arrived. `message` borrows the receive buffer; see [`Context::lease`] to keep it.
    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>);

    /// All messages of one receive buffer were delivered: the place to pass a batch on.
    fn on_batch_end(&mut self, conn: &mut Context<'_>) {
        let _ = conn;
    }

    /// The outbox fell back to its low watermark after it had been backed up or had refused a message.
    /// Called exactly once per such crossing.
    fn on_drain(&mut self, conn: &mut Context<'_>) {
        let _ = conn;
    }

    /// The peer ended its side and every message was delivered; this side may go on sending until it closes.
    /// Called once, and only with [`Config::allow_half_open`](crate::Config::allow_half_open). Closes by default.
    /// A peer that vanishes meanwhile is noticed when something is sent to it.
    fn on_peer_end(&mut self, conn: &mut Context<'_>) {
        conn.close();
    }

    /// The connection is over; called exactly once, after every other method. Messages can no longer be sent.
    fn on_close(&mut self, conn: &mut Context<'_>, reason: &CloseReason) {
        let _ = (conn, reason);
    }
}

impl<H: Handler + ?Sized> Handler for Box<H> {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        (**self).on_open(conn);
    }

    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        (**self).on_message(conn, message);
    }

    fn on_batch_end(&mut self, conn: &mut Context<'_>) {
        (**self).on_batch_end(conn);
    }

    fn on_drain(&mut self, conn: &mut Context<'_>) {
        (**self).on_drain(conn);
    }

    fn on_peer_end(&mut self, conn: &mut Context<'_>) {
        (**self).on_peer_end(conn);
    }

    fn on_close(&mut self, conn: &mut Context<'_>, reason: &CloseReason) {
        (**self).on_close(conn, reason);
    }
}

/// Makes the handlers of one shard's connections, and holds what they share.
///
/// One service exists per shard and never leaves its thread. A closure `|peer: &PeerInfo| -> impl Handler` is
/// a service; a zero-sized handler costs nothing.
pub trait Service: 'static {
    /// The handler of one connection.
    type Handler: Handler;

    /// A connection was accepted. A panic here closes that connection only.
    fn accept(&mut self, peer: &PeerInfo) -> Self::Handler;
}

impl<F, H> Service for F
where
    F: FnMut(&PeerInfo) -> H + 'static,
    H: Handler,
{
    type Handler = H;

    fn accept(&mut self, peer: &PeerInfo) -> H {
        self(peer)
    }
}
