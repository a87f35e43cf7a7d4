//! The fuzzed session with its surroundings, and the rules that must hold at every step.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use qwormhole_proto::{
    Action, ChunkPool, CloseReason, Config, ConnId, Framing, Owner, PeerAddr, PeerInfo, Port, Priority,
    RecvBuffer, SendErrorKind, Session, ShardLocal, Transmit,
};

use super::kernel::Kernel;
use super::player::{Notes, Player};
use super::reference::Reference;

/// A session driven by a fuzzer's choices.
pub(super) struct Bench {
    /// `None` once it is finished.
    session: Option<Session<Player>>,
    local: ShardLocal,
    config: Arc<Config>,
    notes: Rc<RefCell<Notes>>,
    port: Arc<Posts>,
    kernel: Kernel,
    /// What the session received while it was open.
    fed: Reference,
    /// How many delivered messages were compared, and how many bytes they have.
    compared: (usize, usize),
    eof: bool,
    /// Flush marks asked for and how many messages were accepted before each.
    marks: VecDeque<(u64, usize)>,
    actions: Vec<Action>,
}

#[derive(Default)]
struct Posts(AtomicUsize);

impl Port for Posts {
    fn post(&self, _id: ConnId) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Bench {
    pub(super) fn new(config: Config) -> Self {
        let notes = Rc::new(RefCell::new(Notes {
            low_watermark_bytes: config.limits.low_watermark_bytes,
            ..Notes::default()
        }));
        let port = Arc::new(Posts::default());
        let mut local = ShardLocal::new(Box::new(()), port.clone());
        let config_limit = config.limits.max_frame_len;
        let config = Arc::new(config);
        let peer = PeerInfo::new(PeerAddr::Unknown);
        let mut session =
            Session::new(ConnId::new(0, 0, 0), peer, config.clone(), Owner::handler(Player(notes.clone())));
        session.open(&mut local);
        Self {
            session: Some(session),
            local,
            config,
            notes,
            port,
            kernel: Kernel::default(),
            fed: Reference::new(config_limit),
            compared: (0, 0),
            eof: false,
            marks: VecDeque::new(),
            actions: Vec::new(),
        }
    }

    pub(super) fn notes(&self) -> std::cell::RefMut<'_, Notes> {
        self.notes.borrow_mut()
    }

    pub(super) const fn is_over(&self) -> bool {
        self.session.is_none()
    }

    pub(super) fn receive(&mut self, bytes: &[u8]) {
        let Some(session) = self.session.as_mut().filter(|_| !self.eof) else { return };
        if session.connection().is_open() {
            self.fed.feed(bytes);
        }
        session.handle_bytes(&mut self.local, &Chunk(bytes));
    }

    pub(super) fn receive_eof(&mut self) {
        if let Some(session) = self.session.as_mut().filter(|_| !std::mem::replace(&mut self.eof, true)) {
            session.handle_eof(&mut self.local);
        }
    }

    pub(super) fn fail(&mut self) {
        if let Some(session) = self.session.as_mut() {
            session.handle_transport_error(io::ErrorKind::ConnectionReset);
        }
    }

    /// Submits what there is to submit.
    pub(super) fn submit(&mut self) {
        let Some(session) = self.session.as_mut() else { return };
        let transmit = session.poll_transmit(&mut self.local);
        if self.kernel.in_flight.is_some() {
            assert!(transmit.is_none(), "two submissions at once");
            return;
        }
        let Some(transmit) = transmit else {
            return self.check_idle();
        };
        assert!(!transmit.is_empty() && transmit.segments().len() <= Transmit::SEGMENTS_MAX);
        assert!(transmit.segments().iter().all(|segment| !segment.is_empty()));
        let bound = self.config.limits.transmit_bytes_max + (64 << 10).max(self.notes.borrow().longest + 4);
        assert!(transmit.len() <= bound, "a submission of {} bytes", transmit.len());
        self.kernel.in_flight = Some(transmit);
    }

    /// Nothing is left to submit: whatever the handler sent has left, and nobody waits for a drain.
    fn check_idle(&self) {
        let Some(session) = self.session.as_ref().filter(|session| session.connection().is_open()) else {
            return;
        };
        let notes = self.notes.borrow();
        assert!(!notes.refused, "a refusal was never followed by a drain: {:?}", session.id());
        if self.config.framing == Framing::LengthPrefixed {
            let posted = self.port.0.load(Ordering::Relaxed) > 0;
            self.kernel.assert_left(&notes.accepted, usize::MAX, !posted);
        }
    }

    /// The kernel takes up to `max` bytes of the submission in flight, or fails it.
    pub(super) fn complete(&mut self, max: Option<usize>) {
        let Some(transmit) = self.kernel.in_flight.take() else { return };
        let Some(session) = self.session.as_mut() else {
            return self.local.give_transmit(transmit);
        };
        let Some(max) = max else {
            return session.handle_transmitted(&mut self.local, transmit, Err(io::ErrorKind::BrokenPipe));
        };
        let taken = max.min(transmit.len());
        let bytes: Vec<u8> =
            transmit.segments().iter().flat_map(|segment| segment.as_slice()).take(taken).copied().collect();
        self.kernel.take(&bytes, self.config.framing, &self.notes.borrow());
        session.handle_transmitted(&mut self.local, transmit, Ok(taken));
    }

    /// Another thread sends.
    pub(super) fn remote_send(&mut self, len: usize, priority: Priority) {
        let mut notes = self.notes.borrow_mut();
        let Some(sender) = notes.sender.clone() else { return };
        let payload = notes.next_payload(len);
        match sender.try_send_with(priority, payload.clone()) {
            Ok(()) => {
                notes.accept(true, priority, payload);
            }
            Err(error) => assert!(error.payload == payload, "a refused message came back changed"),
        }
    }

    pub(super) fn remote_flush(&mut self) {
        let accepted = self.notes.borrow().accepted.len();
        if let Some(sender) = &self.notes.borrow().sender {
            self.marks.push_back((sender.request_flush(), accepted));
        }
    }

    pub(super) fn remote_resume(&self) {
        self.notes.borrow().sender.iter().for_each(qwormhole_proto::Sender::resume);
    }

    pub(super) fn remote_close(&self, abort: bool) {
        if let Some(sender) = &self.notes.borrow().sender {
            if abort { sender.abort() } else { sender.close() }
        }
    }

    /// The shard takes its mail.
    pub(super) fn take_mail(&mut self) {
        let posted = self.port.0.swap(0, Ordering::Relaxed);
        assert!(posted <= 1, "posted {posted} times before the shard looked");
        if let Some(session) = self.session.as_mut().filter(|_| posted > 0) {
            session.handle_remote(&mut self.local);
        }
    }

    pub(super) fn shut_down(&mut self, abort: bool) {
        match &mut self.session {
            Some(session) if abort => session.abort(CloseReason::Shutdown),
            Some(session) => session.close(&mut self.local, CloseReason::Shutdown),
            None => {}
        }
    }

    pub(super) fn advance(&mut self, by: Duration) {
        self.local.now = self.local.now + by;
        let Some(session) = self.session.as_mut() else { return };
        session.handle_timeout(&mut self.local);
        let next = session.poll_timeout();
        assert!(next.is_none_or(|next| next > self.local.now), "a deadline that passed is still asked for");
    }

    /// Does what the session asks for.
    pub(super) fn act(&mut self) {
        while let Some(session) = self.session.as_mut()
            && let Some(action) = session.poll_action(&self.local)
        {
            assert!(!self.actions.contains(&action), "{action:?} asked for twice");
            self.actions.push(action);
            if action == Action::Close {
                self.finish();
            }
        }
    }

    /// Everything ends; the checks of a finished session.
    pub(super) fn finish(&mut self) {
        let Some(session) = self.session.take() else { return };
        session.finish(&mut self.local);
        if let Some(transmit) = self.kernel.in_flight.take() {
            self.local.give_transmit(transmit);
        }
        let notes = self.notes.borrow();
        assert_eq!(notes.opened, 1);
        assert_eq!(notes.closed, usize::from(!notes.panicked), "on_close runs once, or never after a panic");
        let stats = self.local.stats;
        assert_eq!((stats.opened, stats.closed, stats.connections), (1, 1, 0));
        assert_eq!(stats.panics, u64::from(notes.panicked));
        assert_eq!(stats.messages_in, notes.delivered.len() as u64);
        assert!(self.local.pool.retained_bytes() <= ChunkPool::RETAINED_BYTES_MAX);
        let sender = notes.sender.as_ref().expect("on_open made it");
        let refused = sender.try_send("").map_err(|error| error.kind);
        assert!(matches!(refused, Err(SendErrorKind::Closed(_))), "a closed connection accepts messages");
    }

    /// The rules that hold after every step.
    pub(super) fn check(&mut self) {
        let notes = self.notes.clone();
        let notes = notes.borrow();
        assert_eq!(notes.broken, None);
        let limits = &self.config.limits;
        // One frame above the bound into an empty outbox, one batch of other threads, the replies to one message.
        let bound = limits.max_backpressure_bytes + 2 * limits.remote_bytes_max + 3 * (notes.longest + 4);
        assert!(notes.queued_bytes_max <= bound, "{} bytes queued, bound {bound}", notes.queued_bytes_max);
        self.check_marks(&notes);
        match self.config.framing {
            Framing::LengthPrefixed => self.check_frames(&notes),
            _ => self.check_unframed(&notes),
        }
    }

    /// A flush that was reached means that everything accepted before it has left.
    fn check_marks(&mut self, notes: &Notes) {
        let Some(sender) = &notes.sender else { return };
        let mut waiter = sender.waiter();
        let mut cx = std::task::Context::from_waker(Waker::noop());
        let framed = self.config.framing == Framing::LengthPrefixed;
        while let Some((mark, accepted)) = self.marks.front()
            && waiter.poll_flushed(*mark, &mut cx) == Poll::Ready(Ok(()))
        {
            if framed {
                self.kernel.assert_left(&notes.accepted, *accepted, true);
            }
            self.marks.pop_front();
        }
    }

    fn check_frames(&mut self, notes: &Notes) {
        for (number, delivered) in notes.delivered.iter().enumerate().skip(self.compared.0) {
            assert!(self.fed.frame(number) == Some(delivered), "delivered message {number} differs");
        }
        self.compared.0 = notes.delivered.len();
        let Some(session) = &self.session else { return };
        let (delivered, whole) = (notes.delivered.len(), self.fed.frames());
        let reason = session.connection().close_reason();
        if let Some(CloseReason::FrameTooLarge(error)) = reason {
            assert_eq!((Some(error.len), delivered), (self.fed.too_large(), whole));
        }
        if session.connection().is_open() && session.wants_read() {
            assert_eq!(delivered, whole, "a whole frame was not delivered");
            assert_eq!(self.fed.too_large(), None, "an oversize frame was not noticed");
            let timed = self.config.limits.frame_timeout != Duration::ZERO;
            assert!(
                self.fed.partial() == 0 || !timed || session.poll_timeout().is_some(),
                "an unfinished frame has no deadline"
            );
        }
    }

    fn check_unframed(&mut self, notes: &Notes) {
        let (count, mut bytes) = self.compared;
        for delivered in &notes.delivered[count..] {
            assert!(self.fed.stream()[bytes..].starts_with(delivered), "delivered bytes differ");
            bytes += delivered.len();
        }
        self.compared = (notes.delivered.len(), bytes);
        if let Some(session) = &self.session
            && session.connection().is_open()
            && session.wants_read()
        {
            assert_eq!(bytes, self.fed.stream().len(), "bytes were not delivered");
        }
    }
}

/// A receive buffer that leases every other request, by length.
struct Chunk<'a>(&'a [u8]);

impl RecvBuffer for Chunk<'_> {
    fn as_slice(&self) -> &[u8] {
        self.0
    }

    fn lease(&self, range: std::ops::Range<usize>) -> Option<Bytes> {
        let leased = self.0.get(range)?;
        (leased.len() % 2 == 0).then(|| Bytes::copy_from_slice(leased))
    }
}
