//! How other threads send on a connection of a shard.

use std::fmt;
use std::mem;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::Waker;

use crate::chunk::ChunkPool;
use crate::close::CloseReason;
use crate::config::{Config, Framing, OverflowPolicy};
use crate::error::{SendError, SendErrorKind};
use crate::id::ConnId;
use crate::limits::Limits;
use crate::outbox::{Outbox, check_len, wire_len};
use crate::payload::Payload;
use crate::priority::Priority;
use crate::queue::FrameQueue;
use crate::tls::TlsExporter;
use crate::waiter::{Interest, Waiter, Waiters};

/// The way into a shard: a bounded mailbox and, if the shard sleeps, a wake-up.
pub trait Port: Send + Sync {
    /// Asks the owner of `id` to call [`Session::handle_remote`](crate::Session::handle_remote) soon.
    ///
    /// A connection is posted at most once until the shard has taken it, so a mailbox with room for every
    /// connection never overflows.
    fn post(&self, id: ConnId);
}

/// What other threads share with the owner of a connection.
///
/// Messages are encoded by the sending thread into staging buffers that the shard takes over whole: the shard
/// pays per batch, not per message, and is woken once per batch. Staged bytes are bounded by
/// `remote_bytes_max`; while the outbox is backed up the shard leaves them staged, so the bound reaches the
/// sender.
pub struct Remote {
    id: ConnId,
    port: Arc<dyn Port>,
    pub(crate) terms: Terms,
    requests: AtomicU8,
    staged: Mutex<Staged>,
}

/// The part of the configuration that senders need, copied: they may outlive the connection for long, and its
/// callbacks, certificates and keys must not. State that a callback owns may even hold the sender.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    framing: Framing,
    overflow: OverflowPolicy,
    max_send_frame_len: u32,
    remote_bytes_max: usize,
}

#[derive(Default)]
pub(crate) struct Staged {
    queue: FrameQueue,
    pool: ChunkPool,
    messages: u64,
    pub(crate) closed: Option<CloseReason>,
    /// The end has begun: nothing more is accepted, because it could not leave.
    ending: Option<CloseReason>,
    /// Flush marks handed out, handed to the outbox, and reached.
    flush_asked: u64,
    flush_passed: u64,
    pub(crate) flushed: u64,
    pub(crate) waiters: Waiters,
    exports: Vec<Export>,
}

/// Somebody asks for keying material.
pub(crate) struct Export {
    pub(crate) exporter: TlsExporter,
    pub(crate) done: Box<dyn FnOnce(Option<Vec<u8>>) + Send>,
}

/// What a shard finds when it looks at a posted connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Requests {
    pub(crate) close: bool,
    pub(crate) abort: bool,
    pub(crate) finish: bool,
    pub(crate) export: bool,
    pub(crate) resume: bool,
    /// A message found no room, and that ends a connection that is backed up.
    pub(crate) overflow: bool,
}

impl Remote {
    pub(crate) fn new(id: ConnId, port: Arc<dyn Port>, config: &Config) -> Arc<Self> {
        let terms = Terms::of(config);
        Arc::new(Self { id, port, terms, requests: AtomicU8::new(0), staged: Mutex::default() })
    }

    pub(crate) fn take_requests(&self) -> Requests {
        let bits = self.requests.swap(0, Ordering::AcqRel);
        Requests {
            close: bits & CLOSE != 0,
            abort: bits & ABORT != 0,
            finish: bits & FINISH != 0,
            export: bits & EXPORT != 0,
            resume: bits & RESUME != 0,
            overflow: bits & OVERFLOW != 0,
        }
    }

    /// Moves everything staged into the outbox; returns the number of messages. A shard never waits for a
    /// sending thread that was preempted in the middle of its copy: unless `must`, it comes back later.
    pub(crate) fn take_staged(&self, outbox: &mut Outbox, limits: &Limits, must: bool) -> u64 {
        let mut staged = match self.staged.try_lock() {
            Ok(staged) => staged,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) if must => self.lock(),
            Err(TryLockError::WouldBlock) => {
                self.request(0);
                return 0;
            }
        };
        outbox.append(&mut staged.queue, limits);
        if staged.flush_asked > staged.flush_passed {
            staged.flush_passed = staged.flush_asked;
            outbox.mark(staged.flush_asked);
        }
        let woken = staged.waiters.take(Interest::Ready);
        let messages = mem::take(&mut staged.messages);
        drop(staged);
        woken.into_iter().for_each(Waker::wake);
        messages
    }

    /// The end has begun: from now on messages are refused; those accepted before still leave.
    pub(crate) fn refuse(&self, reason: CloseReason) {
        let mut staged = self.lock();
        staged.ending.get_or_insert(reason);
        let woken = staged.waiters.take(Interest::Ready);
        drop(staged);
        woken.into_iter().for_each(Waker::wake);
    }

    /// The outbox reached a flush mark.
    pub(crate) fn note_flushed(&self, mark: u64) {
        let mut staged = self.lock();
        staged.flushed = staged.flushed.max(mark);
        let woken = staged.waiters.take(Interest::Flushed);
        drop(staged);
        woken.into_iter().for_each(Waker::wake);
    }

    /// The connection is over: everybody who waits learns it, staged messages are dropped.
    pub(crate) fn close(&self, reason: CloseReason) {
        let mut staged = self.lock();
        staged.closed.get_or_insert(reason);
        let unsent = mem::take(&mut staged.queue);
        let woken = staged.waiters.take_all();
        let exports = mem::take(&mut staged.exports);
        drop(staged);
        drop(unsent);
        exports.into_iter().for_each(|export| (export.done)(None));
        woken.into_iter().for_each(Waker::wake);
    }

    /// The keying material that others ask for.
    pub(crate) fn take_exports(&self) -> Vec<Export> {
        mem::take(&mut self.lock().exports)
    }

    /// Has the shard look at the connection, for nothing in particular.
    pub(crate) fn recheck(&self) {
        self.request(0);
    }

    fn request(&self, bit: u8) {
        if self.requests.fetch_or(bit | POSTED, Ordering::AcqRel) & POSTED == 0 {
            self.port.post(self.id);
        }
    }

    /// Held for the length of a copy or a swap only. No waker is woken or dropped meanwhile: that may run an
    /// executor, which may drop a waiter of this connection.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Staged> {
        self.staged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Terms {
    const fn of(config: &Config) -> Self {
        Self {
            framing: config.framing,
            overflow: config.overflow,
            max_send_frame_len: config.limits.max_send_frame_len,
            remote_bytes_max: config.limits.remote_bytes_max,
        }
    }
}

impl Staged {
    /// Why nothing is accepted any more.
    pub(crate) fn refusal(&self) -> Option<&CloseReason> {
        self.closed.as_ref().or(self.ending.as_ref())
    }

    /// Stages one message.
    #[inline]
    fn accept<P: Payload>(
        &mut self,
        remote: &Remote,
        priority: Priority,
        payload: P,
    ) -> Result<(), SendError<P>> {
        let len = payload.as_bytes().len();
        if let Err(kind) = check_len(remote.terms.max_send_frame_len, len) {
            return Err(SendError { kind, payload });
        }
        if let Some(reason) = self.refusal() {
            return Err(SendError { kind: SendErrorKind::Closed(reason.clone()), payload });
        }
        if !self.has_room(len, &remote.terms) {
            return Err(SendError { kind: SendErrorKind::Full, payload });
        }
        self.queue.push(remote.terms.framing, priority, payload, &mut self.pool);
        self.messages += 1;
        Ok(())
    }

    /// Whether a message of `len` bytes is accepted now.
    pub(crate) fn has_room(&self, len: usize, terms: &Terms) -> bool {
        let wire = wire_len(terms.framing, len);
        self.queue.is_empty() || self.queue.cost() + wire <= terms.remote_bytes_max
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Sends on one connection from any thread; cheap to clone. Messages of one sender arrive in order.
///
/// It outlives its connection harmlessly: everything then answers [`SendErrorKind::Closed`].
#[derive(Clone, Debug)]
pub struct Sender(Arc<Remote>);

impl Sender {
    pub(crate) const fn new(remote: Arc<Remote>) -> Self {
        Self(remote)
    }

    /// The connection's id.
    pub fn id(&self) -> ConnId {
        self.0.id
    }

    /// Sends one message without waiting. `Ok` means accepted, in order, not delivered.
    ///
    /// # Errors
    ///
    /// Gives the message back when `remote_bytes_max` are staged already (one message always fits), it is too
    /// large, or the connection is over. With [`OverflowPolicy::Close`] a message that finds no room behind an
    /// outbox that is backed up ends the connection.
    pub fn try_send<P: Payload>(&self, payload: P) -> Result<(), SendError<P>> {
        self.try_send_with(Priority::DEFAULT, payload)
    }

    /// As [`Sender::try_send`], with a priority; lower goes sooner.
    ///
    /// # Errors
    ///
    /// As [`Sender::try_send`].
    pub fn try_send_with<P: Payload>(&self, priority: Priority, payload: P) -> Result<(), SendError<P>> {
        let result = self.offer(priority, payload);
        if self.0.terms.overflow == OverflowPolicy::Close
            && result.as_ref().is_err_and(SendError::is_retryable)
        {
            self.0.request(OVERFLOW);
        }
        result
    }

    /// Sends messages in order, as [`Sender::try_send_with`] does one, with one lock for all of them. `messages` must not
    /// use this connection.
    ///
    /// # Errors
    ///
    /// How many were accepted, and what stood in the way of the next one, which is dropped; the rest is not looked at.
    pub fn try_send_all<P: Payload>(
        &self,
        priority: Priority,
        messages: impl IntoIterator<Item = P>,
    ) -> Result<usize, (usize, SendErrorKind)> {
        let remote = &*self.0;
        let mut guard = remote.lock();
        let staged = &mut *guard;
        let was_empty = staged.queue.is_empty();
        let before = staged.messages;
        let mut refused = None;
        for payload in messages {
            if let Err(kind) = staged.accept(remote, priority, payload) {
                refused = Some(kind.kind);
                break;
            }
        }
        let accepted = usize::try_from(staged.messages - before).unwrap_or(usize::MAX);
        drop(guard);
        if was_empty && accepted > 0 {
            remote.request(0);
        }
        if refused == Some(SendErrorKind::Full) && remote.terms.overflow == OverflowPolicy::Close {
            remote.request(OVERFLOW);
        }
        refused.map_or(Ok(accepted), |kind| Err((accepted, kind)))
    }

    /// Sends one message if there is room; no room has no consequences.
    pub(crate) fn offer<P: Payload>(&self, priority: Priority, payload: P) -> Result<(), SendError<P>> {
        let remote = &*self.0;
        let mut guard = remote.lock();
        let staged = &mut *guard;
        let was_empty = staged.queue.is_empty();
        staged.accept(remote, priority, payload)?;
        drop(guard);
        if was_empty {
            remote.request(0);
        }
        Ok(())
    }

    /// Asks for a flush; hand the result to [`Waiter::poll_flushed`].
    pub fn request_flush(&self) -> u64 {
        let mut staged = self.0.lock();
        staged.flush_asked += 1;
        let mark = staged.flush_asked;
        drop(staged);
        self.0.request(0);
        mark
    }

    /// Begins a lingering close: what was accepted still leaves, nothing more is accepted.
    pub fn close(&self) {
        self.0.refuse(CloseReason::Local);
        self.0.request(CLOSE);
    }

    /// Ends this side's half of the stream once what was accepted has left; nothing more is accepted. Messages of the
    /// peer still arrive, and the connection ends when the peer ends its half: what a half-close of TCP is. A peer that
    /// never ends is left to [`Sender::close`]. Over TLS nothing is received after one's own end.
    pub fn finish(&self) {
        self.0.refuse(CloseReason::Local);
        self.0.request(FINISH);
    }

    /// Derives keying material from the connection's TLS session, as [`TlsOptions::export_keying_material`] does for all
    /// connections. `done` runs on the connection's shard and must not block; it gets `None` without TLS, when the
    /// connection is over, for values that [`TlsExporter`] does not allow, or while 64 other requests wait.
    ///
    /// [`TlsOptions::export_keying_material`]: crate::TlsOptions::export_keying_material
    pub fn export_keying_material(
        &self,
        exporter: TlsExporter,
        done: impl FnOnce(Option<Vec<u8>>) + Send + 'static,
    ) {
        let mut staged = self.0.lock();
        if staged.closed.is_some() || staged.exports.len() >= EXPORTS_MAX {
            drop(staged);
            return done(None);
        }
        staged.exports.push(Export { exporter, done: Box::new(done) });
        drop(staged);
        self.0.request(EXPORT);
    }

    /// Ends the connection at once.
    pub fn abort(&self) {
        self.0.refuse(CloseReason::Local);
        self.0.request(ABORT);
    }

    /// Undoes [`Context::pause`](crate::Context::pause).
    pub fn resume(&self) {
        self.0.request(RESUME);
    }

    /// Registers a task that waits for room, a flush or the end.
    pub fn waiter(&self) -> Waiter {
        Waiter::new(self.0.clone())
    }

    /// Why the connection is over, once it is.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.0.lock().closed.clone()
    }
}

const POSTED: u8 = 1;
const CLOSE: u8 = 2;
const ABORT: u8 = 4;
const RESUME: u8 = 8;
const OVERFLOW: u8 = 16;
const FINISH: u8 = 32;
const EXPORT: u8 = 64;
/// Requests for keying material that may wait.
const EXPORTS_MAX: usize = 64;

#[cfg(test)]
#[path = "remote_tests.rs"]
mod tests;
