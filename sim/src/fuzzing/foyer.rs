//! A fuzzed server's front door: who may come in, who waits, and the rules that must hold at every step.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use qwormhole_proto::handshake::{ClientHandshake, HandshakePolicy};
use qwormhole_proto::{
    AcceptBackoff, Action, ChunkPool, CloseReason, Config, ConnId, Endpoint, Framing, HandshakeRole, Owner,
    PeerAddr, PeerInfo, Port, RecvBuffer, RejectHook, Session, ShardLocal, Time, TlsFilter, TlsRole,
};

use super::guest::{Answer, Guest, Kind, Question, Seen, Witness, judge, questioner};
use super::tls_bytes::cached_ends;

pub(super) struct Foyer {
    endpoint: Endpoint,
    backoff: AcceptBackoff,
    /// When a listener that starves asks again.
    retry_at: Option<Time>,
    local: ShardLocal,
    posts: Arc<Posts>,
    configs: Vec<(Kind, Arc<Config>)>,
    questions: Arc<Mutex<Vec<Question>>>,
    guests: Vec<Guest>,
    /// Panics of handlers and hooks.
    panics: Rc<Cell<u64>>,
    tally: Tally,
    /// Calls of `on_reject`.
    told: Arc<AtomicU64>,
    /// Steps since the last check.
    unchecked: usize,
}

/// What must have been counted.
#[derive(Default)]
struct Tally {
    refused: u64,
    rejected: u64,
    opened: u64,
}

#[derive(Default)]
struct Posts(Mutex<Vec<ConnId>>);

impl Port for Posts {
    fn post(&self, id: ConnId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(id);
    }
}

impl Foyer {
    pub(super) fn new(places: usize, timed: bool) -> Self {
        let (told, posts, questions) = (Arc::<AtomicU64>::default(), Arc::<Posts>::default(), Arc::default());
        let tell = told.clone();
        let on_reject = RejectHook::new(move |_, _| {
            tell.fetch_add(1, Ordering::Relaxed);
        });
        let asked = AtomicUsize::new(0);
        let endpoint =
            Endpoint::new(places).with_on_reject(on_reject.clone()).with_allow(move |_| {
                match asked.fetch_add(1, Ordering::Relaxed) % 64 {
                    13 => false,
                    31 => std::panic::resume_unwind(Box::new("asked to")),
                    _ => true,
                }
            });
        let kinds = [
            Kind::Plain,
            Kind::Judged,
            Kind::Asked,
            Kind::Unframed,
            Kind::Secure,
            Kind::SecureAsked,
            Kind::Dialed,
        ];
        let configs =
            kinds.map(|kind| (kind, Arc::new(config(kind, timed, &on_reject, &questions)))).to_vec();
        Self {
            endpoint,
            backoff: AcceptBackoff::default(),
            retry_at: None,
            local: ShardLocal::new(Box::new(()), posts.clone()),
            posts,
            configs,
            questions,
            guests: Vec::new(),
            panics: Rc::default(),
            tally: Tally::default(),
            told,
            unchecked: 0,
        }
    }

    /// Somebody connects, or we connect to somebody. `manners` says how the handler behaves.
    pub(super) fn enter(&mut self, kind: Kind, address: u8, manners: u8) {
        if self.guests.len() >= GUESTS_MAX {
            return;
        }
        let peer = PeerInfo::new(PeerAddr::Ip((ADDRESSES[usize::from(address) % 4], self.port()).into()));
        let mut admission = None;
        if kind != Kind::Dialed {
            self.backoff.handle_success();
            self.retry_at = None;
            let panics = self.local.stats.panics;
            admission = self.endpoint.admit_peer(&mut self.local.stats, || peer.clone());
            self.panics.set(self.panics.get() + self.local.stats.panics - panics);
            if admission.is_none() {
                self.tally.refused += 1;
                return;
            }
        }
        let id = ConnId::new(0, self.guests.len() as u32, 0);
        let config = self.configs.iter().find(|(found, _)| *found == kind).expect("every kind has one");
        let seen = Rc::<RefCell<Seen>>::default();
        let owner = self.owner(kind, manners, &seen);
        let mut session = Session::new(id, peer, config.1.clone(), owner);
        session.open(&mut self.local);
        let mut guest = Guest::new(kind, address % 4, session, seen);
        guest.admission = admission;
        if kind.is_secure() {
            guest.tls =
                Some(Box::new(TlsFilter::client(&cached_ends().0, "worm.test").expect("a good name")));
        }
        self.guests.push(guest);
    }

    fn owner(&self, kind: Kind, manners: u8, seen: &Rc<RefCell<Seen>>) -> Owner<Witness> {
        let panics = self.panics.clone();
        let panics_on_open = manners % 16 == 1;
        let witness = Witness { seen: seen.clone(), panics: panics.clone(), panics_on_open };
        if kind == Kind::Dialed {
            let failures = seen.borrow().failures.clone();
            let failed = move |_| {
                failures.fetch_add(1, Ordering::Relaxed);
            };
            return Owner::dialed(witness, Box::new(failed));
        }
        Owner::made_by(move |_| {
            if manners % 16 == 2 {
                panics.set(panics.get() + 1);
                std::panic::resume_unwind(Box::new("asked to"));
            }
            witness
        })
    }

    fn port(&self) -> u16 {
        u16::try_from(self.guests.len()).unwrap_or(u16::MAX)
    }

    /// A guest that is not gone, and its number.
    fn guest(&mut self, number: usize) -> Option<(usize, &mut Guest)> {
        let count = self.guests.len().max(1);
        // Late numbers reach everybody of a crowd.
        let number = if number >= 128 { count - 1 - (number - 128) % count } else { number % count };
        let guest = self.guests.get_mut(number)?;
        guest.session.is_some().then_some((number, guest))
    }

    fn with<R>(
        &mut self,
        number: usize,
        act: impl FnOnce(&mut Session<Witness>, &mut ShardLocal) -> R,
    ) -> Option<R> {
        let (number, _) = self.guest(number)?;
        let session = self.guests.get_mut(number)?.session.as_mut()?;
        Some(act(session, &mut self.local))
    }

    pub(super) fn say(&mut self, number: usize, what: u8) {
        if let Some((_, guest)) = self.guest(number) {
            guest.say(what);
        }
    }

    /// Up to `len` bytes of what a guest sent arrive.
    pub(super) fn receive(&mut self, number: usize, len: usize) {
        let Some((_, guest)) = self.guest(number).filter(|(_, guest)| !guest.eof) else { return };
        guest.flush();
        let len = len.min(guest.stream.len());
        let bytes: Vec<u8> = guest.stream.drain(..len).collect();
        if !bytes.is_empty() {
            self.with(number, |session, local| session.handle_bytes(local, &Chunk(&bytes)));
        }
    }

    pub(super) fn receive_eof(&mut self, number: usize) {
        if let Some((_, guest)) = self.guest(number)
            && !std::mem::replace(&mut guest.eof, true)
        {
            self.with(number, |session, local| session.handle_eof(local));
        }
    }

    /// A guest and its session talk until both are silent.
    pub(super) fn exchange(&mut self, number: usize) {
        for _ in 0..6 {
            self.receive(number, usize::MAX);
            self.submit(number);
            self.complete(number, Some(usize::MAX));
        }
    }

    /// The verifier answers one of its questions.
    pub(super) fn answer(&mut self, number: usize, answer: Answer) {
        let question = {
            let questions = self.questions.lock().unwrap_or_else(PoisonError::into_inner);
            let count = questions.len().max(1);
            questions.get(number % count).cloned()
        };
        let Some(question) = question else { return };
        if let Some(guest) = self.guests.get_mut(usize::from(question.port)) {
            guest.may_open |= answer == Answer::Yes;
        }
        question.answer(answer);
    }

    /// The shard takes its mail.
    pub(super) fn take_mail(&mut self) {
        let posted = std::mem::take(&mut *self.posts.0.lock().unwrap_or_else(PoisonError::into_inner));
        for id in posted {
            if let Some(session) =
                self.guests.get_mut(id.slot() as usize).and_then(|guest| guest.session.as_mut())
            {
                session.handle_remote(&mut self.local);
            }
        }
        let waiting = self.guests.iter().filter(|guest| guest.is_waiting());
        assert!(waiting.clone().count() <= UNFINISHED_MAX, "too many wait");
        for address in 1..4 {
            let same = waiting.clone().filter(|guest| guest.address == address).count();
            assert!(same <= UNFINISHED_PER_ADDRESS_MAX, "{same} of one address wait");
        }
    }

    pub(super) fn submit(&mut self, number: usize) {
        let Some(transmit) = self.with(number, |session, local| session.poll_transmit(local)) else { return };
        let Some((_, guest)) = self.guest(number) else { return };
        if let Some(transmit) = transmit {
            assert!(guest.in_flight.is_none(), "two submissions at once");
            assert!(!transmit.is_empty(), "an empty submission");
            guest.in_flight = Some(transmit);
        }
    }

    /// The kernel takes up to `max` bytes of a submission, or fails it.
    pub(super) fn complete(&mut self, number: usize, max: Option<usize>) {
        let Some((_, guest)) = self.guest(number) else { return };
        let Some(transmit) = guest.in_flight.take() else { return };
        let result = max.map(|max| max.min(transmit.len())).ok_or(io::ErrorKind::BrokenPipe);
        let bytes = transmit.segments().iter().flat_map(|segment| segment.as_slice());
        let bytes: Vec<u8> = bytes.take(*result.as_ref().unwrap_or(&0)).copied().collect();
        guest.take(&bytes);
        self.with(number, |session, local| session.handle_transmitted(local, transmit, result));
    }

    pub(super) fn fail(&mut self, number: usize) {
        self.with(number, |session, _| session.handle_transport_error(io::ErrorKind::ConnectionReset));
    }

    pub(super) fn shut_down(&mut self, number: usize, abort: bool) {
        self.with(number, |session, local| {
            if abort {
                session.abort(CloseReason::Shutdown);
            } else {
                session.close(local, CloseReason::Shutdown);
            }
        });
    }

    /// Does what a session asks for.
    pub(super) fn act(&mut self, number: usize) {
        let Some((number, _)) = self.guest(number) else { return };
        for _ in 0..3 {
            let Some(session) = self.guests.get_mut(number).and_then(|guest| guest.session.as_mut()) else {
                return;
            };
            match session.poll_action(&self.local) {
                Some(Action::Close) => self.finish_guest(number),
                Some(Action::ShutdownWrite) => {}
                None => return,
            }
        }
    }

    /// The driver gives a session up.
    pub(super) fn leave(&mut self, number: usize) {
        if let Some((number, _)) = self.guest(number) {
            self.finish_guest(number);
        }
    }

    fn finish_guest(&mut self, number: usize) {
        let Some(guest) = self.guests.get_mut(number) else { return };
        let Some(session) = guest.session.take() else { return };
        session.finish(&mut self.local);
        if let Some(transmit) = guest.in_flight.take() {
            self.local.give_transmit(transmit);
        }
        guest.admission = None;
        guest.tls = None;
        let seen = guest.seen.borrow();
        seen.check();
        let opened = seen.opened == 1;
        assert!(seen.closed == usize::from(opened && !seen.panicked), "on_close runs once, or never");
        if guest.kind == Kind::Dialed {
            assert!(opened != (seen.failed() == 1), "a dial succeeds or fails");
        } else if !opened {
            self.tally.rejected += 1;
        }
    }

    /// The system has no room for connections.
    pub(super) fn starve(&mut self, choice: u8) {
        if choice & 1 == 0 {
            let at = self.backoff.handle_failure(self.local.now);
            let least = self.local.now + Duration::from_millis(10);
            assert!(at >= least && at <= self.local.now + Duration::from_secs(1));
            self.retry_at = Some(at);
        }
        assert_eq!(self.backoff.poll_timeout(), self.retry_at);
    }

    pub(super) fn advance(&mut self, by: Duration) {
        self.local.now = self.local.now + by;
        let due = self.retry_at.is_some_and(|at| at <= self.local.now);
        assert_eq!(self.backoff.handle_timeout(self.local.now), due);
        if due {
            self.retry_at = None;
        }
        for session in self.guests.iter_mut().filter_map(|guest| guest.session.as_mut()) {
            session.handle_timeout(&mut self.local);
            let next = session.poll_timeout();
            assert!(
                next.is_none_or(|next| next > self.local.now),
                "a deadline that passed is still asked for"
            );
        }
    }

    /// Checks a small crowd at every step, a large one now and then.
    pub(super) fn check_sometimes(&mut self) {
        self.unchecked += 1;
        if self.unchecked * 32 >= self.guests.len() {
            self.unchecked = 0;
            self.check();
        }
    }

    /// The rules that hold after every step.
    fn check(&mut self) {
        let (mut here, mut admitted, mut opened_here, mut opened) = (0, 0, 0, 0);
        for guest in &self.guests {
            let seen = guest.seen.borrow();
            seen.check();
            assert!(seen.opened == 0 || guest.may_open, "{:?} came in without being let in", guest.kind);
            opened += seen.opened as u64;
            if guest.session.is_some() {
                here += 1;
                admitted += usize::from(guest.admission.is_some());
                opened_here += seen.opened as u64;
            }
        }
        self.tally.opened = opened;
        let stats = &self.local.stats;
        assert!(here <= GUESTS_MAX);
        assert_eq!(self.endpoint.open_connections(), admitted, "places");
        assert_eq!((stats.opened, stats.connections), (opened, opened_here));
        assert_eq!(stats.opened, stats.closed + stats.connections);
        assert_eq!((stats.refused, stats.rejected), (self.tally.refused, self.tally.rejected));
        assert_eq!(self.told.load(Ordering::Relaxed), stats.refused + stats.rejected, "on_reject");
        assert_eq!(stats.panics, self.panics.get());
        assert!(self.local.pool.retained_bytes() <= ChunkPool::RETAINED_BYTES_MAX);
    }

    /// Everybody leaves; then there is room for everybody again.
    pub(super) fn finish(&mut self) {
        self.take_mail();
        (0..self.guests.len()).for_each(|number| self.finish_guest(number));
        self.check();
        assert_eq!(self.endpoint.open_connections(), 0);
        self.questions.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.guests.clear();
        self.tally = Tally::default();
        let config = config(Kind::Judged, true, &RejectHook::default(), &self.questions);
        let config = Arc::new(config);
        let peer = PeerInfo::new(PeerAddr::Ip((ADDRESSES[1], 1).into()));
        let sessions: Vec<_> = (0..UNFINISHED_PER_ADDRESS_MAX)
            .map(|slot| {
                let seen = Rc::default();
                let witness = Witness { seen, panics: self.panics.clone(), panics_on_open: false };
                let id = ConnId::new(0, slot as u32, 1);
                let mut session = Session::new(id, peer.clone(), config.clone(), Owner::handler(witness));
                session.open(&mut self.local);
                assert!(session.connection().is_open(), "somebody left and still takes a place");
                session
            })
            .collect();
        sessions.into_iter().for_each(|session| session.finish(&mut self.local));
    }
}

fn config(kind: Kind, timed: bool, on_reject: &RejectHook, questions: &Arc<Mutex<Vec<Question>>>) -> Config {
    let mut config = Config::default();
    config.on_reject = on_reject.clone();
    config.limits.handshake_timeout = Duration::from_secs(if timed { 5 } else { 0 });
    config.limits.max_frame_len = 10_000;
    config.limits.max_backpressure_bytes = 4000;
    config.limits.high_watermark_bytes = 2000;
    config.limits.low_watermark_bytes = 100;
    config.limits.linger_bytes_max = 10_000;
    config.allow_half_open = !timed;
    if kind == Kind::Unframed {
        config.framing = Framing::None;
    }
    if kind.is_secure() {
        config.tls = Some(TlsRole::Server(cached_ends().1));
    }
    let expect = |verifier| {
        let mut policy = HandshakePolicy::default().verifier(verifier);
        policy.bytes_max = 5000;
        Some(HandshakeRole::Expect(Arc::new(policy)))
    };
    config.handshake = match kind {
        Kind::Plain | Kind::Secure => None,
        Kind::Judged | Kind::Unframed => expect(judge()),
        Kind::Asked | Kind::SecureAsked => expect(questioner(questions)),
        Kind::Dialed => Some(HandshakeRole::Send(Arc::new(ClientHandshake::new("1").ask_ack()))),
    };
    config.validate().expect("the limits fit together");
    config
}

/// A receive buffer that is not leased.
struct Chunk<'a>(&'a [u8]);

impl RecvBuffer for Chunk<'_> {
    fn as_slice(&self) -> &[u8] {
        self.0
    }

    fn lease(&self, _range: std::ops::Range<usize>) -> Option<Bytes> {
        None
    }
}

/// The first is this host's, which is not counted.
const ADDRESSES: [Ipv4Addr; 4] = [
    Ipv4Addr::LOCALHOST,
    Ipv4Addr::new(10, 0, 0, 1),
    Ipv4Addr::new(10, 0, 0, 2),
    Ipv4Addr::new(192, 168, 0, 3),
];
/// The documented bounds of connections that are not open yet.
const UNFINISHED_MAX: usize = 512;
const UNFINISHED_PER_ADDRESS_MAX: usize = 32;
/// Enough for a flood, few enough to be quick.
const GUESTS_MAX: usize = 1100;
