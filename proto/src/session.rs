//! A connection together with the handler that owns its messages: what a driver drives.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::broadcast::Broadcast;
use crate::close::{Action, CloseReason};
use crate::config::Config;
use crate::connection::{Connection, PAUSE_OPENING, PAUSE_REPLY, PAUSE_USER};
use crate::context::Context;
use crate::decoder::Frame;
use crate::handler::Handler;
use crate::id::ConnId;
use crate::local::ShardLocal;
use crate::message::{Message, RecvBuffer};
use crate::opening::Opening;
use crate::owner::{Owner, reject};
use crate::peer::PeerInfo;
use crate::remote::Sender;
use crate::secure::Secure;
use crate::time::Time;
use crate::transmit::Transmit;
use crate::trust::TrustSnapshot;

/// One established connection and its handler. See the crate's documentation for the driver's contract.
#[derive(Debug)]
pub struct Session<H> {
    pub(crate) conn: Connection,
    /// Who will own the messages; `None` once the connection opened.
    owner: Option<Owner<H>>,
    /// `None` before the connection opened, and after a panic.
    handler: Option<H>,
    /// What stands between the established transport and `on_open`.
    pub(crate) opening: Option<Box<Opening>>,
    opened: bool,
}

impl<H: Handler> Session<H> {
    /// A session over a transport that is established. Call [`Session::open`] next.
    pub fn new(id: ConnId, peer: PeerInfo, config: Arc<Config>, owner: Owner<H>) -> Self {
        Self {
            conn: Connection::new(id, peer, config),
            owner: Some(owner),
            handler: None,
            opening: None,
            opened: false,
        }
    }

    /// The peer is accepted: makes the handler and runs `on_open`.
    pub(crate) fn opened(&mut self, local: &mut ShardLocal) {
        if !self.conn.is_open() {
            return;
        }
        let Some(owner) = self.owner.take() else { return };
        if self.opening.take().is_some() {
            local.unfinished.leave(self.conn.id);
            self.conn.resume(PAUSE_OPENING, local.now);
        }
        self.handler = owner.make(local, &self.conn.peer);
        if self.handler.is_none() {
            self.conn.abort(CloseReason::HandlerPanicked);
            return;
        }
        self.opened = true;
        self.conn.start_clocks(local.now);
        local.stats.opened += 1;
        local.stats.connections += 1;
        local.stock();
        self.conn.outbox.stock();
        tracing::debug!(id = %self.conn.id, peer = ?self.conn.peer.addr, "connection open");
        self.call(local, |handler, conn| handler.on_open(conn));
        self.settle(local);
    }

    /// The connection's id.
    pub const fn id(&self) -> ConnId {
        self.conn.id
    }

    /// The protocol state.
    pub const fn connection(&self) -> &Connection {
        &self.conn
    }

    /// Received data, in order. Whole frames in it reach the handler without a copy.
    pub fn handle_bytes<B: RecvBuffer>(&mut self, local: &mut ShardLocal, buffer: &B) {
        let bytes = buffer.as_slice();
        self.conn.stats.bytes_in += bytes.len() as u64;
        local.stats.bytes_in += bytes.len() as u64;
        self.conn.note_activity(local.now);
        match self.conn.secure.take() {
            Some(secure) if self.conn.is_open() => self.handle_records(local, secure, bytes),
            secure => {
                self.conn.secure = secure;
                self.handle_input(local, buffer);
            }
        }
        self.settle(local);
    }

    /// Takes TLS records; what they carry is input like any other.
    fn handle_records(&mut self, local: &mut ShardLocal, mut secure: Box<Secure>, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() && self.conn.is_open() {
            let fault = secure.filter.read_tls(&mut rest).err();
            if !secure.filter.is_handshaking() && self.conn.peer.tls.is_none() && fault.is_none() {
                self.secured(local, &secure);
            }
            while let plain @ [_, ..] = secure.filter.plaintext() {
                let len = plain.len();
                self.handle_input(local, &Unleased(plain));
                secure.filter.consume(len);
            }
            if let Some(fault) = fault {
                secure.note_fault();
                self.opening = None;
                self.conn.outbox.clear(local);
                self.conn.begin_close(local.now, CloseReason::Tls(fault));
            } else if secure.filter.peer_has_closed() {
                self.conn.note_eof();
            }
        }
        self.conn.discard(rest.len());
        self.conn.secure = Some(secure);
    }

    /// Takes plain input, in order.
    fn handle_input(&mut self, local: &mut ShardLocal, buffer: &dyn RecvBuffer) {
        let bytes = buffer.as_slice();
        let mut taken = 0;
        if self.conn.is_open() && self.conn.held.is_empty() {
            taken = self.handle_opening(local, bytes);
            if self.opening.is_none() && self.conn.is_delivering() {
                taken = self.deliver(local, buffer, bytes, taken);
            }
        }
        let rest = bytes.get(taken..).unwrap_or_default();
        if self.conn.is_open() {
            self.conn.held.append(rest, &mut local.pool);
        } else {
            self.conn.discard(rest.len());
        }
    }

    /// The peer ended its stream: nothing more will be received.
    pub fn handle_eof(&mut self, local: &mut ShardLocal) {
        self.conn.note_eof();
        self.settle(local);
    }

    /// A receive or send failed: the connection is over.
    pub fn handle_transport_error(&mut self, kind: io::ErrorKind) {
        self.conn.abort(CloseReason::from_transport(kind));
    }

    /// The next submission. At most one is in flight; it comes back through
    /// [`Session::handle_transmitted`].
    pub fn poll_transmit(&mut self, local: &mut ShardLocal) -> Option<Transmit> {
        self.end_remote(local);
        let transmit = self.conn.poll_transmit(local);
        self.note_flushed();
        transmit
    }

    /// The kernel is done with a submission: it took the first `n` bytes, or failed.
    pub fn handle_transmitted(
        &mut self,
        local: &mut ShardLocal,
        transmit: Transmit,
        result: Result<usize, io::ErrorKind>,
    ) {
        let taken = *result.as_ref().unwrap_or(&0);
        self.conn.stats.bytes_out += taken as u64;
        local.stats.bytes_out += taken as u64;
        local.stats.short_sends += u64::from(result.is_ok() && taken < transmit.len());
        self.conn.handle_transmitted(transmit, taken, local);
        if let Err(kind) = result {
            self.handle_transport_error(kind);
            return;
        }
        self.note_flushed();
        self.note_opening_left(local);
        let drained = self.conn.outbox.take_drain();
        self.conn.note_output(local.now, taken > 0);
        if drained && self.opened && self.conn.is_open() {
            self.conn.stats.drains += 1;
            local.stats.drains += 1;
            self.conn.resume(PAUSE_REPLY, local.now);
            self.call(local, |handler, conn| handler.on_drain(conn));
        }
        if self.conn.remote_waits {
            self.take_staged(local, false);
        }
        self.settle(local);
    }

    /// Another thread posted this connection's id through the shard's [`Port`](crate::Port).
    pub fn handle_remote(&mut self, local: &mut ShardLocal) {
        // First of all: who asks from now on posts again.
        let asked = self.conn.remote.as_ref().map(|remote| remote.take_requests()).unwrap_or_default();
        if self.owner.is_some() {
            self.make_room(local);
            self.wake_opening(local);
        }
        if asked.abort {
            self.conn.abort(CloseReason::Local);
            return;
        }
        if asked.resume {
            self.conn.resume(PAUSE_USER, local.now);
        }
        if asked.export {
            self.export();
        }
        self.take_staged(local, asked.close || asked.finish);
        if asked.overflow && self.conn.remote_waits && self.conn.is_open() {
            self.conn.abort(CloseReason::Backpressure);
            return;
        }
        if asked.finish {
            self.conn.begin_finish(local.now);
        }
        if asked.close {
            self.conn.begin_close(local.now, CloseReason::Local);
        }
        self.settle(local);
    }

    /// The server sends a message to all of its connections. One that is not open does not get it.
    pub fn handle_broadcast(&mut self, local: &mut ShardLocal, broadcast: &Broadcast) {
        if self.opened {
            broadcast.offer(&mut self.conn, local);
        }
    }

    /// A handle for other threads, for whoever looks the connection up; `None` before it was opened.
    pub fn sender(&mut self, local: &mut ShardLocal) -> Option<Sender> {
        self.opened.then(|| Context { conn: &mut self.conn, local }.sender())
    }

    /// Ends the connection from the driver's side, as [`Context::close`] does from the handler's: what is
    /// queued still leaves.
    pub fn close(&mut self, local: &mut ShardLocal, reason: CloseReason) {
        self.take_staged(local, true);
        self.conn.begin_close(local.now, reason);
    }

    /// Ends the connection at once.
    pub fn abort(&mut self, reason: CloseReason) {
        self.conn.abort(reason);
    }

    /// Whether the driver should read from the transport now.
    pub const fn wants_read(&self) -> bool {
        self.conn.wants_read()
    }

    /// What the driver must do to end the connection, each action once.
    pub fn poll_action(&mut self, local: &ShardLocal) -> Option<Action> {
        self.conn.poll_action(local.now)
    }

    /// The earliest deadline; [`Session::handle_timeout`] wants to be called then. It may move later without
    /// notice, never earlier without a `handle_*` call.
    pub fn poll_timeout(&self) -> Option<Time> {
        let opening = self.opening.as_ref().and_then(|opening| opening.deadline);
        [self.conn.poll_timeout(), opening].into_iter().flatten().min()
    }

    /// Acts on the deadlines that have passed by now; early calls do nothing.
    pub fn handle_timeout(&mut self, local: &mut ShardLocal) {
        self.handle_opening_timeout(local.now);
        self.conn.handle_timeout(local);
    }

    /// The connection is over: runs `on_close`, tells other threads and gives buffers back.
    ///
    /// The session is used up; a submission still in flight is given to
    /// [`ShardLocal::give_transmit`] when the kernel is done with it.
    pub fn finish(mut self, local: &mut ShardLocal) {
        self.conn.abort(CloseReason::Local);
        let reason = self.conn.close_reason().cloned().unwrap_or(CloseReason::Local);
        if let Some(remote) = self.conn.remote.take() {
            remote.close(reason.clone());
        }
        if let Some(owner) = self.owner.take() {
            local.unfinished.leave(self.conn.id);
            owner.reject(local, &self.conn, &reason);
        } else if !self.opened {
            reject(local, &self.conn, &reason);
        }
        if self.opened {
            self.call(local, |handler, conn| handler.on_close(conn, &reason));
            local.stats.closed += 1;
            local.stats.connections -= 1;
        }
        self.report(local, &reason);
        let conn = &mut self.conn;
        // A sender made by `on_close` itself.
        if let Some(remote) = conn.remote.take() {
            remote.close(reason);
        }
        conn.secure.iter_mut().for_each(|secure| secure.clear(local));
        conn.outbox.clear(local);
        conn.decoder.abandon(&mut local.pool);
        conn.held.clear(&mut local.pool);
        drop_contained(self.handler.take(), local);
    }

    /// Tells the log and the user's registry of the end.
    fn report(&self, local: &mut ShardLocal, reason: &CloseReason) {
        let conn = &self.conn;
        let (received, sent) = (conn.stats.messages_in, conn.stats.messages_out);
        tracing::debug!(id = %conn.id, opened = self.opened, received, sent, %reason, "connection ended");
        if conn.config.on_trust_snapshot.is_set() {
            let snapshot = TrustSnapshot::of(conn, reason, self.opened, local.unix_ms());
            conn.config.on_trust_snapshot.call(&mut local.stats, &snapshot);
        }
    }

    /// Decodes `bytes` of `buffer` and runs the handler until the data or the handler's patience ends.
    /// Returns how many bytes were used. One unwind boundary for the whole buffer.
    fn deliver(
        &mut self,
        local: &mut ShardLocal,
        buffer: &dyn RecvBuffer,
        bytes: &[u8],
        start: usize,
    ) -> usize {
        let Some(handler) = self.handler.as_mut() else { return bytes.len() };
        let conn = &mut self.conn;
        let mut rest = bytes.get(start..).unwrap_or_default();
        let before = conn.stats.messages_in;
        let run = AssertUnwindSafe(|| {
            decode(handler, conn, local, buffer, bytes.len(), &mut rest);
            if conn.stats.messages_in != before {
                handler.on_batch_end(&mut Context { conn, local });
            }
        });
        if catch_unwind(run).is_err() {
            self.contain_panic(local);
        }
        let delivered = self.conn.stats.messages_in - before;
        local.stats.messages_in += delivered;
        self.conn.note_input(local.now, delivered > 0);
        bytes.len() - rest.len()
    }

    /// After anything that may have changed what is possible: delivers held data and a held end.
    fn settle(&mut self, local: &mut ShardLocal) {
        while self.conn.is_delivering() && !self.conn.held.is_empty() {
            let (held, start) = self.conn.held.take();
            let used = self.deliver(local, &Unleased(&held), &held, start);
            self.conn.held.put_back(held, used, &mut local.pool);
        }
        self.conn.restart_frame_clock(local.now);
        if self.settle_eof(local.now) {
            self.call(local, |handler, conn| handler.on_peer_end(conn));
        }
    }

    /// Moves what other threads staged into the outbox, unless it is backed up and `anyway` is false.
    fn take_staged(&mut self, local: &mut ShardLocal, anyway: bool) {
        let Some(remote) = self.conn.remote.clone() else { return };
        if !self.conn.is_open() {
            return;
        }
        self.conn.remote_waits = self.conn.outbox.is_backed_up() && !anyway;
        if !self.conn.remote_waits {
            let was_backed_up = self.conn.outbox.is_backed_up();
            let messages = remote.take_staged(&mut self.conn.outbox, &self.conn.config.limits, anyway);
            let crossed = !was_backed_up && self.conn.outbox.is_backed_up();
            local.stats.backpressure_events += u64::from(crossed);
            self.conn.stats.messages_out += messages;
            local.stats.messages_out += messages;
            self.conn.note_output(local.now, false);
            self.note_flushed();
        }
    }

    /// Once the end has begun: refuses later messages of other threads and takes over those accepted before it.
    fn end_remote(&mut self, local: &mut ShardLocal) {
        if self.conn.is_open() || self.conn.remote_ended {
            return;
        }
        let (Some(remote), Some(reason)) = (&self.conn.remote, self.conn.close_reason()) else { return };
        remote.refuse(reason.clone());
        self.conn.remote_ended = true;
        if self.conn.secure.as_ref().is_some_and(|secure| secure.has_ended()) {
            // A fault of TLS: they could not leave, and no flush may be told that they did.
            return;
        }
        let messages = remote.take_staged(&mut self.conn.outbox, &self.conn.config.limits, true);
        self.conn.stats.messages_out += messages;
        local.stats.messages_out += messages;
    }

    /// Tells other threads about a flush mark that was reached.
    fn note_flushed(&mut self) {
        let flushed = self.conn.outbox.flushed();
        if flushed > self.conn.flushed_told
            && let Some(remote) = &self.conn.remote
        {
            self.conn.flushed_told = flushed;
            remote.note_flushed(flushed);
        }
    }

    fn call(&mut self, local: &mut ShardLocal, method: impl FnOnce(&mut H, &mut Context<'_>)) {
        let Some(handler) = self.handler.as_mut() else { return };
        let mut context = Context { conn: &mut self.conn, local };
        if catch_unwind(AssertUnwindSafe(|| method(handler, &mut context))).is_err() {
            self.contain_panic(local);
        }
    }

    fn contain_panic(&mut self, local: &mut ShardLocal) {
        local.stats.panics += 1;
        drop_contained(self.handler.take(), local);
        self.conn.begin_close(local.now, CloseReason::HandlerPanicked);
    }
}

/// The hot loop: frame by frame from `rest` to the handler.
fn decode<H: Handler>(
    handler: &mut H,
    conn: &mut Connection,
    local: &mut ShardLocal,
    buffer: &dyn RecvBuffer,
    total: usize,
    rest: &mut &[u8],
) {
    while conn.is_delivering() {
        match conn.decoder.next(rest, &mut local.pool) {
            Ok(Some(Frame::Whole(payload))) => {
                conn.stats.messages_in += 1;
                let at = total - rest.len() - payload.len();
                let message = Message::whole(payload, buffer, at);
                handler.on_message(&mut Context { conn, local }, message);
            }
            Ok(Some(Frame::Stitched(mut payload))) => {
                conn.stats.messages_in += 1;
                handler.on_message(&mut Context { conn, local }, Message::stitched(&mut payload));
                local.pool.give(payload);
            }
            Ok(None) => return,
            Err(too_large) => conn.begin_close(local.now, too_large.into()),
        }
    }
}

/// A handler whose drop panics must not take the shard with it.
fn drop_contained<H>(handler: Option<H>, local: &mut ShardLocal) {
    if catch_unwind(AssertUnwindSafe(|| drop(handler))).is_err() {
        local.stats.panics += 1;
    }
}

/// Held data lives in recycled memory, so it is copied by whoever keeps it.
struct Unleased<'a>(&'a [u8]);

impl RecvBuffer for Unleased<'_> {
    fn as_slice(&self) -> &[u8] {
        self.0
    }

    fn lease(&self, _range: std::ops::Range<usize>) -> Option<bytes::Bytes> {
        None
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
