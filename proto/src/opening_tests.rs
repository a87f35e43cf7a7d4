//! Handshakes as a hostile or hasty peer makes them, and verifiers as users write them.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::*;
use crate::handshake::{HandshakePolicy, Verifier};
use crate::message::RecvBuffer;
use crate::{Action, Config, ConnId, Context, Message, Owner, PeerAddr, PeerInfo, Port, RejectHook};

const HELLO: &str = r#"{"type":"handshake","version":"1"}"#;
const HELLO_ACK: &str = r#"{"type":"handshake","version":"1","caps":{"ack":true}}"#;

#[derive(Clone, Default)]
struct Seen(Rc<RefCell<Vec<String>>>);

impl Seen {
    fn note(&self, what: impl Into<String>) {
        self.0.borrow_mut().push(what.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.borrow_mut())
    }
}

impl Handler for Seen {
    fn on_open(&mut self, _conn: &mut Context<'_>) {
        self.note("open");
    }

    fn on_message(&mut self, _conn: &mut Context<'_>, message: Message<'_>) {
        self.note(String::from_utf8_lossy(&message));
    }

    fn on_peer_end(&mut self, conn: &mut Context<'_>) {
        self.note("peer end");
        conn.close();
    }

    fn on_close(&mut self, _conn: &mut Context<'_>, reason: &CloseReason) {
        self.note(format!("close: {reason:?}"));
    }
}

#[derive(Default)]
struct Posts(AtomicU64);

impl Port for Posts {
    fn post(&self, _id: ConnId) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

struct Wire(Vec<u8>);

impl RecvBuffer for Wire {
    fn as_slice(&self) -> &[u8] {
        &self.0
    }

    fn lease(&self, _range: std::ops::Range<usize>) -> Option<bytes::Bytes> {
        None
    }
}

struct Bench {
    session: Option<Session<Seen>>,
    local: ShardLocal,
    posts: Arc<Posts>,
    seen: Seen,
    rejected: Arc<Mutex<Vec<CloseReason>>>,
}

impl Bench {
    fn new(mut config: Config) -> Self {
        let rejected = Arc::<Mutex<Vec<CloseReason>>>::default();
        let told = rejected.clone();
        config.on_reject = RejectHook::new(move |_, reason| told.lock().unwrap().push(reason.clone()));
        let (posts, seen) = (Arc::<Posts>::default(), Seen::default());
        let mut local = ShardLocal::new(Box::new(()), posts.clone());
        let owner = seen.clone();
        let owner = Owner::made_by(move |_| owner);
        let peer = PeerInfo::new(PeerAddr::Unknown);
        let mut session = Session::new(ConnId::new(0, 0, 0), peer, Arc::new(config), owner);
        session.open(&mut local);
        Self { session: Some(session), local, posts, seen, rejected }
    }

    /// A server with `policy`.
    fn server(framing: Framing, policy: HandshakePolicy) -> Self {
        let handshake = Some(HandshakeRole::Expect(Arc::new(policy)));
        Self::new(Config { framing, handshake, ..Config::default() })
    }

    /// A server whose verifier answers as `answer` does.
    fn asking<F>(answer: impl Fn() -> F + Send + Sync + 'static, config: impl Fn(&mut Config)) -> Self
    where
        F: Future<Output = bool> + Send + 'static,
    {
        let policy = HandshakePolicy::new("1").verifier(Verifier::future(move |_, _| answer()));
        let handshake = Some(HandshakeRole::Expect(Arc::new(policy)));
        let mut all = Config { handshake, ..Config::default() };
        config(&mut all);
        Self::new(all)
    }

    fn session(&mut self) -> &mut Session<Seen> {
        self.session.as_mut().unwrap()
    }

    fn receive(&mut self, bytes: &[u8]) {
        let session = self.session.as_mut().unwrap();
        session.handle_bytes(&mut self.local, &Wire(bytes.to_vec()));
    }

    fn end(&mut self) {
        self.session.as_mut().unwrap().handle_eof(&mut self.local);
    }

    /// What the driver does about posts, until there are none.
    fn answer_posts(&mut self) -> u64 {
        let mut answered = 0;
        while self.posts.0.swap(0, Ordering::SeqCst) > 0 {
            answered += 1;
            self.session.as_mut().unwrap().handle_remote(&mut self.local);
        }
        answered
    }

    fn leave(&mut self) -> Vec<u8> {
        let mut wire = Vec::new();
        let session = self.session.as_mut().unwrap();
        while let Some(transmit) = session.poll_transmit(&mut self.local) {
            transmit.segments().iter().for_each(|segment| wire.extend_from_slice(segment.as_slice()));
            let taken = transmit.len();
            session.handle_transmitted(&mut self.local, transmit, Ok(taken));
        }
        wire
    }

    fn action(&mut self) -> Option<Action> {
        let session = self.session.as_mut().unwrap();
        session.poll_action(&self.local)
    }

    fn finish(&mut self) -> Vec<CloseReason> {
        self.session.take().unwrap().finish(&mut self.local);
        std::mem::take(&mut self.rejected.lock().unwrap())
    }
}

fn framed(payload: &str) -> Vec<u8> {
    [&(payload.len() as u32).to_be_bytes()[..], payload.as_bytes()].concat()
}

/// Answers after it was asked `times` times, and asks to be asked again at once.
fn hasty(times: u32) -> impl Future<Output = bool> + Send {
    let mut left = times;
    poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(true);
        }
        left -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
}

#[test]
fn a_handshake_and_what_follows_may_be_cut_anywhere() {
    for framing in [Framing::LengthPrefixed, Framing::None] {
        let wire = match framing {
            Framing::LengthPrefixed => [framed(HELLO), framed("data")].concat(),
            Framing::None => [HELLO, "data"].concat().into_bytes(),
        };
        for cut in 0..=wire.len() {
            let mut bench = Bench::server(framing, HandshakePolicy::new("1"));
            let (first, second) = wire.split_at(cut);
            [first, second].iter().filter(|part| !part.is_empty()).for_each(|part| bench.receive(part));
            let seen = bench.seen.take();
            assert_eq!(seen[0], "open");
            assert_eq!(seen[1..].concat(), "data", "cut at {cut} of {framing:?}");
        }
        let mut bench = Bench::server(framing, HandshakePolicy::new("1"));
        wire.iter().for_each(|byte| bench.receive(&[*byte]));
        assert_eq!(bench.seen.take().concat(), "opendata", "byte by byte, {framing:?}");
        assert!(bench.finish().is_empty());
    }
}

#[test]
fn a_second_handshake_is_an_ordinary_message() {
    let mut bench = Bench::server(Framing::LengthPrefixed, HandshakePolicy::new("1"));
    bench.receive(&[framed(HELLO), framed(HELLO)].concat());
    assert_eq!(bench.seen.take(), ["open", HELLO]);
}

#[test]
fn a_verifier_that_wakes_itself_is_asked_again_each_time() {
    for times in 1..6 {
        let mut bench = Bench::asking(move || hasty(times), |_| {});
        bench.receive(&[framed(HELLO), framed("data")].concat());
        assert!(bench.seen.take().is_empty());
        assert_eq!(bench.answer_posts(), u64::from(times));
        assert_eq!(bench.seen.take(), ["open", "data"]);
    }
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        std::panic::resume_unwind(Box::new("dropped"));
    }
}

#[test]
fn a_verifier_that_never_answers_may_panic_when_it_is_dropped() {
    let verifier = || {
        let bomb = PanicsWhenDropped;
        async move {
            std::future::pending::<()>().await;
            drop(bomb);
            true
        }
    };
    let mut bench = Bench::asking(verifier, |_| {});
    bench.receive(&framed(HELLO));
    bench.local.now = bench.session().poll_timeout().unwrap();
    bench.session.as_mut().unwrap().handle_timeout(&mut bench.local);
    assert_eq!(bench.finish(), [CloseReason::HandshakeTimeout]);

    let mut bench = Bench::asking(verifier, |_| {});
    bench.receive(&framed(HELLO));
    bench.session().abort(CloseReason::Shutdown);
    assert_eq!(bench.finish(), [CloseReason::Shutdown]);
    assert!(bench.seen.take().is_empty());
}

#[test]
fn a_peer_that_ends_while_it_is_verified_is_heard_first() {
    let mut bench = Bench::asking(|| hasty(1), |_| {});
    bench.receive(&framed(HELLO));
    bench.end();
    assert_eq!(bench.action(), None);
    bench.answer_posts();
    assert_eq!(bench.finish(), []);
    assert_eq!(bench.seen.take(), ["open", "close: PeerClosed"]);

    let mut bench = Bench::asking(|| hasty(1), |config| config.allow_half_open = true);
    bench.receive(&framed(HELLO));
    bench.end();
    bench.answer_posts();
    assert_eq!(bench.seen.take(), ["open", "peer end"]);
}

#[test]
fn a_peer_that_ends_before_its_handshake_is_not_waited_for() {
    let mut bench = Bench::asking(|| hasty(0), |config| config.allow_half_open = true);
    bench.end();
    assert_eq!(bench.action(), Some(Action::Close));
    assert_eq!(bench.finish(), [CloseReason::PeerClosed]);
}

#[test]
fn an_answer_that_comes_after_the_end_began_changes_nothing() {
    let mut bench = Bench::asking(|| hasty(1), |_| {});
    bench.receive(&framed(HELLO_ACK));
    bench.session.as_mut().unwrap().close(&mut bench.local, CloseReason::Shutdown);
    bench.answer_posts();
    assert!(bench.leave().is_empty(), "no acknowledgement of a connection that never opens");
    assert_eq!(bench.action(), Some(Action::ShutdownWrite));
    assert_eq!(bench.finish(), [CloseReason::Shutdown]);
    assert!(bench.seen.take().is_empty());
    assert_eq!((bench.local.stats.opened, bench.local.stats.rejected), (0, 1));
}

#[test]
fn a_refused_connection_that_lingers_makes_room_too() {
    let mut bench = Bench::server(Framing::LengthPrefixed, HandshakePolicy::new("1"));
    bench.receive(&framed("garbage"));
    assert_eq!(bench.action(), Some(Action::ShutdownWrite));
    let peer = PeerInfo::new(PeerAddr::Unknown);
    let mut others = 1..;
    while bench.local.unfinished.enter(ConnId::new(0, others.next().unwrap(), 0), &peer) == Place::Taken {}
    bench.session.as_mut().unwrap().handle_remote(&mut bench.local);
    assert_eq!(bench.action(), Some(Action::Close));
    assert_eq!(bench.finish(), [CloseReason::Handshake(HandshakeFault::NotJson { at: 0 })]);
    assert!(!bench.local.unfinished.was_evicted(ConnId::new(0, 0, 0)), "nothing is kept of it");
}

#[test]
fn an_end_within_the_handshake_is_named() {
    for (framing, begun) in [
        (Framing::LengthPrefixed, &framed(HELLO)[..20]),
        (Framing::LengthPrefixed, &framed(HELLO)[..2]),
        (Framing::None, b"{\"type\":".as_slice()),
    ] {
        let mut bench = Bench::server(framing, HandshakePolicy::new("1"));
        bench.receive(begun);
        bench.end();
        assert_eq!(bench.finish(), [CloseReason::PeerTruncated], "{framing:?}");
    }
}

#[test]
fn a_handshake_that_keeps_coming_is_not_a_frame_that_stopped() {
    let handshake = Some(HandshakeRole::Expect(Arc::new(HandshakePolicy::new("1"))));
    let mut config = Config { handshake, ..Config::default() };
    config.limits.frame_timeout = Duration::from_secs(1);
    config.limits.frame_bytes_per_s_min = 0;
    let mut bench = Bench::new(config);
    for piece in framed(HELLO).chunks(8) {
        bench.receive(piece);
        bench.local.now = bench.local.now + Duration::from_millis(400);
        bench.session.as_mut().unwrap().handle_timeout(&mut bench.local);
    }
    assert_eq!(bench.seen.take(), ["open"]);
}

#[test]
fn a_drain_before_the_opening_is_not_counted() {
    let handshake = Some(HandshakeRole::Send(Arc::new(ClientHandshake::new("1").ask_ack())));
    let mut config = Config { handshake, ..Config::default() };
    (config.limits.high_watermark_bytes, config.limits.low_watermark_bytes) = (10, 5);
    let mut bench = Bench::new(config);
    bench.leave();
    assert_eq!(bench.local.stats.drains, 0);
    bench.receive(&framed(std::str::from_utf8(&HandshakeAck::default().encode()).unwrap()));
    assert_eq!(bench.seen.take(), ["open"]);
    assert_eq!(bench.session().connection().stats().drains, 0);
}

/// A client that asked for an acknowledgement and got `wire`, byte by byte or at once.
fn acknowledged(framing: Framing, wire: &[u8], piece: usize) -> (Vec<String>, Vec<CloseReason>) {
    let handshake = Some(HandshakeRole::Send(Arc::new(ClientHandshake::new("1").ask_ack())));
    let mut bench = Bench::new(Config { framing, handshake, ..Config::default() });
    assert!(!bench.leave().is_empty());
    assert!(bench.seen.take().is_empty(), "open before it was acknowledged");
    wire.chunks(piece).for_each(|part| bench.receive(part));
    (bench.seen.take(), bench.finish())
}

#[test]
fn an_acknowledgement_and_what_follows_may_be_cut_anywhere() {
    let ack = String::from_utf8(HandshakeAck { version: Some("1".into()) }.encode()).unwrap();
    for framing in [Framing::LengthPrefixed, Framing::None] {
        let wire = match framing {
            Framing::LengthPrefixed => [framed(&ack), framed("data")].concat(),
            Framing::None => format!("{ack}data").into_bytes(),
        };
        for piece in [1, 2, 7, ack.len() - 1, ack.len() + 1, wire.len()] {
            let (seen, rejected) = acknowledged(framing, &wire, piece);
            assert_eq!(seen.concat(), "opendata", "pieces of {piece}, {framing:?}");
            assert!(rejected.is_empty());
        }
        for other in ["data", "{\"type\":\"handshake\"}", "{\"a\":[[[[[[]]]]]]}"] {
            let wire = if framing == Framing::None { other.into() } else { framed(other) };
            let (seen, rejected) = acknowledged(framing, &wire, 3);
            assert!(seen.is_empty());
            assert_eq!(rejected, [CloseReason::Handshake(HandshakeFault::Unacknowledged)], "{other}");
        }
    }
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(5000));
    let (_, rejected) = acknowledged(Framing::None, long.as_bytes(), 1000);
    assert_eq!(rejected, [CloseReason::Handshake(HandshakeFault::Unacknowledged)]);
}

#[test]
fn a_deadline_ends_a_handshake_that_trickles() {
    let mut bench = Bench::server(Framing::LengthPrefixed, HandshakePolicy::new("1"));
    let wire = framed(HELLO);
    let deadline = bench.session().poll_timeout().unwrap();
    assert_eq!(deadline, Time::ZERO + Duration::from_secs(5));
    for (n, byte) in wire.iter().take(20).enumerate() {
        bench.local.now = Time::ZERO + Duration::from_millis(200 * n as u64);
        bench.receive(&[*byte]);
        assert_eq!(bench.session().poll_timeout(), Some(deadline), "bytes win no time");
    }
    bench.local.now = deadline;
    bench.session.as_mut().unwrap().handle_timeout(&mut bench.local);
    assert_eq!(bench.finish(), [CloseReason::HandshakeTimeout]);
}
