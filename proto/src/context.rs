//! What a handler may do with its connection.

use bytes::Bytes;

use crate::close::CloseReason;
use crate::connection::{Connection, PAUSE_REPLY, PAUSE_USER};
use crate::error::{SendError, SendErrorKind};
use crate::handshake::HandshakeInfo;
use crate::id::ConnId;
use crate::local::ShardLocal;
use crate::message::Message;
use crate::payload::Payload;
use crate::peer::PeerInfo;
use crate::priority::Priority;
use crate::remote::Sender;
use crate::stats::ConnectionStats;
use crate::time::Time;

/// The connection as its handler sees it, for the length of one call.
#[derive(Debug)]
pub struct Context<'a> {
    pub(crate) conn: &'a mut Connection,
    pub(crate) local: &'a mut ShardLocal,
}

impl Context<'_> {
    /// Sends one message. `Ok` means accepted into the outbox, in order; the engine batches at the end of the
    /// turn, so sending one message at a time is the fast way.
    ///
    /// # Errors
    ///
    /// Gives the message back when the outbox is full (`on_drain` follows, or the connection ends:
    /// [`OverflowPolicy`](crate::OverflowPolicy)), the message is too large or the connection is ending.
    #[inline]
    pub fn send<P: Payload>(&mut self, payload: P) -> Result<(), SendError<P>> {
        self.send_with(Priority::DEFAULT, payload)
    }

    /// Sends one message with a priority; lower goes sooner.
    ///
    /// # Errors
    ///
    /// As [`Context::send`].
    #[inline]
    pub fn send_with<P: Payload>(&mut self, priority: Priority, payload: P) -> Result<(), SendError<P>> {
        if priority == Priority::DEFAULT && self.send_quick(payload.as_bytes()) {
            return Ok(());
        }
        self.send_slow(priority, payload)
    }

    /// What most messages need: a copy behind the last one.
    #[inline]
    fn send_quick(&mut self, payload: &[u8]) -> bool {
        // Whatever ends this half seals the outbox.
        let accepted = self.conn.outbox.push_quick(payload);
        debug_assert!(!accepted || self.conn.is_sendable(), "an end seals the outbox");
        self.conn.stats.messages_out += u64::from(accepted);
        self.local.stats.messages_out += u64::from(accepted);
        accepted
    }

    fn send_slow<P: Payload>(&mut self, priority: Priority, payload: P) -> Result<(), SendError<P>> {
        if !self.conn.is_sendable() {
            return Err(SendError { kind: SendErrorKind::Closed(self.conn.refusal()), payload });
        }
        if let Err(refused) = self.conn.outbox.push(&self.conn.config, priority, payload, self.local) {
            self.conn.note_output(self.local.now, false);
            return Err(self.conn.refuse(refused));
        }
        self.conn.stats.messages_out += 1;
        self.local.stats.messages_out += 1;
        self.conn.note_output(self.local.now, false);
        Ok(())
    }

    /// Answers the message at hand: never refused for lack of room. Instead, when the outbox is backed up,
    /// reading from this peer stops until it has drained, so that a peer that does not read its replies
    /// cannot make them pile up: the outbox exceeds its high watermark by the replies to one message at most.
    ///
    /// Meant for request and response. Two peers that both stream unasked and both use `reply` can stop each
    /// other for good; they use [`Context::send`].
    ///
    /// # Errors
    ///
    /// Gives the message back when it is too large or the connection is ending.
    #[inline]
    pub fn reply<P: Payload>(&mut self, payload: P) -> Result<(), SendError<P>> {
        if !self.conn.outbox.is_backed_up() && self.send_quick(payload.as_bytes()) {
            return Ok(());
        }
        self.reply_slow(payload)
    }

    fn reply_slow<P: Payload>(&mut self, payload: P) -> Result<(), SendError<P>> {
        if !self.conn.is_sendable() {
            return Err(SendError { kind: SendErrorKind::Closed(self.conn.refusal()), payload });
        }
        self.conn.outbox.push_over(&self.conn.config, Priority::DEFAULT, payload, self.local)?;
        self.conn.stats.messages_out += 1;
        self.local.stats.messages_out += 1;
        if self.conn.outbox.is_backed_up() {
            self.conn.pause(PAUSE_REPLY);
            self.conn.note_output(self.local.now, false);
        }
        Ok(())
    }

    /// Keeps a message beyond the handler's call. Short messages are copied into memory shared with their
    /// neighbours, longer ones keep the receive buffer alive within the shard's lease budget, else they are
    /// copied.
    ///
    /// A kept message pins up to 64 KiB of shared memory; copy what is kept for long.
    pub fn lease(&mut self, message: Message<'_>) -> Bytes {
        if message.len() < LEASE_MIN {
            return self.local.copy_small(&message);
        }
        message.into_shared().unwrap_or_else(|message| Bytes::copy_from_slice(&message))
    }

    /// Ends the connection: what is queued still leaves (within `close_flush_timeout`), later input is
    /// discarded.
    pub fn close(&mut self) {
        self.conn.begin_close(self.local.now, CloseReason::Local);
    }

    /// Ends the connection at once; what is queued is lost and the peer may see a reset.
    pub fn abort(&mut self) {
        self.conn.abort(CloseReason::Local);
    }

    /// Stops delivery at once, even in the middle of a receive buffer, and reading with it; the peer is
    /// slowed down by its transport.
    pub fn pause(&mut self) {
        self.conn.pause(PAUSE_USER);
    }

    /// Undoes [`Context::pause`].
    pub fn resume(&mut self) {
        self.conn.resume(PAUSE_USER, self.local.now);
    }

    /// The connection's id, by which other threads may name it.
    pub const fn id(&self) -> ConnId {
        self.conn.id
    }

    /// Who is at the other end.
    pub const fn peer(&self) -> &PeerInfo {
        &self.conn.peer
    }

    /// Counters of this connection.
    pub const fn stats(&self) -> &ConnectionStats {
        &self.conn.stats
    }

    /// Whether the connection wants more: false from the high watermark (or a refused message) until
    /// [`on_drain`](crate::Handler::on_drain), and once it is ending. A source that sends as fast as it can and stops
    /// here keeps at most the high watermark in memory, which is faster than filling the outbox until it refuses: what
    /// waits stays in the caches. `send` is not bound to it.
    #[inline]
    pub fn is_writable(&self) -> bool {
        self.conn.is_sendable() && !self.conn.outbox.is_backed_up()
    }

    /// Wire bytes accepted and not yet taken by the kernel.
    pub fn queued_bytes(&self) -> usize {
        self.conn.outbox.bytes()
    }

    /// The handshake with which the peer was accepted, where one is asked for.
    pub fn handshake(&self) -> Option<&HandshakeInfo> {
        self.conn.peer.handshake.as_deref()
    }

    /// The time of this turn on the driver's monotonic clock.
    pub const fn now(&self) -> Time {
        self.local.now
    }

    /// A handle with which other threads send on this connection. The first call allocates, later ones clone.
    pub fn sender(&mut self) -> Sender {
        Sender::new(self.conn.remote(&self.local.port))
    }

    /// The shard's service, if it is an `S`.
    pub fn service<S: 'static>(&mut self) -> Option<&mut S> {
        self.local.service.downcast_mut()
    }
}

/// Below this a lease costs more than a copy: an allocation for its owner, and a pinned receive buffer.
const LEASE_MIN: usize = 4 << 10;
