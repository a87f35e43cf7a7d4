use super::*;
use std::cell::RefCell;
use std::future::poll_fn;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Mutex;
use std::time::Duration;

use crate::close::Action;
use crate::config::Config;
use crate::context::Context;
use crate::handshake::{HandshakePolicy, Verifier};
use crate::id::ConnId;
use crate::message::{Message, RecvBuffer};
use crate::owner::Owner;
use crate::peer::{PeerAddr, PeerInfo};
use crate::remote::Port;

#[derive(Clone, Default)]
struct Recorder(Rc<RefCell<Vec<String>>>);

impl Recorder {
    fn events(&self) -> Vec<String> {
        std::mem::take(&mut self.0.borrow_mut())
    }

    fn note(&self, event: &str) {
        self.0.borrow_mut().push(event.into());
    }
}

impl Handler for Recorder {
    fn on_open(&mut self, _conn: &mut Context<'_>) {
        self.note("open");
    }

    fn on_message(&mut self, _conn: &mut Context<'_>, message: Message<'_>) {
        self.note(&String::from_utf8_lossy(&message));
    }

    fn on_peer_end(&mut self, _conn: &mut Context<'_>) {
        self.note("peer end");
    }

    fn on_close(&mut self, _conn: &mut Context<'_>, reason: &CloseReason) {
        self.note(&format!("close {reason}"));
    }
}

/// Posted connections.
#[derive(Default)]
struct Posts(Mutex<Vec<ConnId>>);

impl Port for Posts {
    fn post(&self, id: ConnId) {
        self.0.lock().unwrap().push(id);
    }
}

struct Bench {
    session: Session<Recorder>,
    local: ShardLocal,
    recorder: Recorder,
    posts: Arc<Posts>,
}

impl Bench {
    fn server(policy: HandshakePolicy) -> Self {
        Self::of(config(policy))
    }

    fn of(config: Config) -> Self {
        let (recorder, posts) = (Recorder::default(), Arc::new(Posts::default()));
        let mut local = ShardLocal::new(Box::new(()), posts.clone());
        let maker = recorder.clone();
        let owner = Owner::made_by(move |_| maker.clone());
        let mut session = Session::new(ConnId::new(0, 1, 0), peer(), Arc::new(config), owner);
        session.open(&mut local);
        Self { session, local, recorder, posts }
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.session.handle_bytes(&mut self.local, &Chunk(bytes));
    }

    /// The shard looks at its mail until there is none.
    fn take_mail(&mut self) {
        for _ in 0..100 {
            let posted = std::mem::take(&mut *self.posts.0.lock().unwrap());
            if posted.is_empty() {
                return;
            }
            posted.iter().for_each(|_| self.session.handle_remote(&mut self.local));
        }
        panic!("the mail never ends");
    }

    fn transmit(&mut self) -> Vec<u8> {
        let mut wire = Vec::new();
        while let Some(transmit) = self.session.poll_transmit(&mut self.local) {
            wire.extend(transmit.segments().iter().flat_map(|segment| segment.as_slice().to_vec()));
            let len = transmit.len();
            self.session.handle_transmitted(&mut self.local, transmit, Ok(len));
        }
        wire
    }

    fn reason(&self) -> String {
        self.session.connection().close_reason().map_or_else(String::new, ToString::to_string)
    }

    fn advance(&mut self, by: Duration) {
        self.local.now = self.local.now + by;
        self.session.handle_timeout(&mut self.local);
    }
}

struct Chunk<'a>(&'a [u8]);

impl RecvBuffer for Chunk<'_> {
    fn as_slice(&self) -> &[u8] {
        self.0
    }

    fn lease(&self, _range: std::ops::Range<usize>) -> Option<bytes::Bytes> {
        None
    }
}

fn peer() -> PeerInfo {
    PeerInfo::new(PeerAddr::Ip((Ipv4Addr::LOCALHOST, 1).into()))
}

fn config(policy: HandshakePolicy) -> Config {
    Config { handshake: Some(HandshakeRole::Expect(Arc::new(policy))), ..Config::default() }
}

fn frame(payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32).to_be_bytes()[..], payload].concat()
}

fn hello(ack: bool) -> Vec<u8> {
    let client = ClientHandshake::new("1");
    let client = if ack { client.ask_ack() } else { client };
    frame(&client.encode(&[], 1, [7; 16]).unwrap())
}

/// Asks `turns` times to be polled again before it says yes.
fn slow_yes(turns: usize) -> Verifier {
    Verifier::future(move |_, _| {
        let mut left = turns;
        poll_fn(move |cx| {
            if left == 0 {
                return Poll::Ready(true);
            }
            left -= 1;
            cx.waker().wake_by_ref();
            Poll::Pending
        })
    })
}

/// Says yes when the switch is on.
fn switched(switch: &Arc<Mutex<(bool, Option<Waker>)>>) -> Verifier {
    let switch = switch.clone();
    Verifier::future(move |_, _| {
        let switch = switch.clone();
        poll_fn(move |cx| {
            let mut switch = switch.lock().unwrap();
            if switch.0 {
                return Poll::Ready(true);
            }
            switch.1 = Some(cx.waker().clone());
            Poll::Pending
        })
    })
}

fn switch_on(switch: &Arc<Mutex<(bool, Option<Waker>)>>) {
    let waker = {
        let mut switch = switch.lock().unwrap();
        switch.0 = true;
        switch.1.take()
    };
    waker.unwrap().wake();
}

#[test]
fn a_verifier_is_asked_again_however_often_it_wakes() {
    for turns in 0..5 {
        let mut bench = Bench::server(HandshakePolicy::default().verifier(slow_yes(turns)));
        bench.feed(&[hello(false), frame(b"first")].concat());
        bench.take_mail();
        assert_eq!(bench.recorder.events(), ["open", "first"], "{turns} turns");
    }
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        std::panic::resume_unwind(Box::new("dropped"));
    }
}

#[test]
fn a_verifier_that_is_given_up_may_panic() {
    let never = || {
        Verifier::future(|_, _| {
            let fragile = PanicsWhenDropped;
            async move {
                let _fragile = fragile;
                std::future::pending().await
            }
        })
    };
    let mut late = Bench::server(HandshakePolicy::default().verifier(never()));
    late.feed(&hello(false));
    late.advance(Duration::from_secs(6));
    assert_eq!(late.session.connection().close_reason(), Some(&CloseReason::HandshakeTimeout));
    let mut cut = Bench::server(HandshakePolicy::default().verifier(never()));
    cut.feed(&hello(false));
    cut.session.finish(&mut cut.local);
    assert_eq!(cut.local.stats.rejected, 1);
}

#[test]
fn a_rejected_peer_that_stays_makes_room_too() {
    let mut bench = Bench::server(HandshakePolicy::default());
    bench.feed(&frame(b"nonsense"));
    assert!(!bench.session.connection().is_open());
    for slot in 10..522 {
        if let Place::TakenFrom(oldest) = bench.local.unfinished.enter(ConnId::new(0, slot, 0), &peer()) {
            assert_eq!(oldest, bench.session.id());
            bench.local.port.post(oldest);
        }
    }
    bench.take_mail();
    assert_eq!(bench.session.poll_action(&bench.local), Some(Action::Close), "at once");
    assert!(bench.reason().contains("handshake"), "the first reason stays: {}", bench.reason());
    bench.session.finish(&mut bench.local);
    assert!(!bench.local.unfinished.was_evicted(ConnId::new(0, 1, 0)));
}

#[test]
fn an_end_before_the_handshake_ends_the_connection_although_half_open_ones_are_allowed() {
    let half_open = || {
        let mut config = config(HandshakePolicy::default());
        config.allow_half_open = true;
        config.limits.handshake_timeout = Duration::ZERO;
        config
    };
    let mut silent = Bench::of(half_open());
    silent.session.handle_eof(&mut silent.local);
    assert_eq!(silent.session.connection().close_reason(), Some(&CloseReason::PeerClosed));
    let mut cut = Bench::of(half_open());
    cut.feed(&hello(false)[..20]);
    cut.session.handle_eof(&mut cut.local);
    assert_eq!(cut.session.connection().close_reason(), Some(&CloseReason::PeerTruncated));
    let mut object = Bench::of(Config { framing: Framing::None, ..half_open() });
    object.feed(b"{\"type\":");
    object.session.handle_eof(&mut object.local);
    assert_eq!(object.session.connection().close_reason(), Some(&CloseReason::PeerTruncated));
}

#[test]
fn a_peer_that_ends_while_it_is_verified_is_told_of_after_the_opening() {
    let switch = Arc::default();
    let mut config = config(HandshakePolicy::default().verifier(switched(&switch)));
    config.allow_half_open = true;
    let mut bench = Bench::of(config);
    bench.feed(&hello(false));
    bench.session.handle_eof(&mut bench.local);
    assert!(bench.session.connection().is_open());
    switch_on(&switch);
    bench.take_mail();
    assert_eq!(bench.recorder.events(), ["open", "peer end"]);
}

#[test]
fn nothing_is_acknowledged_once_the_end_has_begun() {
    let switch = Arc::default();
    let mut bench = Bench::server(HandshakePolicy::default().verifier(switched(&switch)));
    bench.feed(&hello(true));
    bench.session.close(&mut bench.local, CloseReason::Shutdown);
    switch_on(&switch);
    bench.take_mail();
    assert_eq!(bench.transmit(), b"");
    bench.session.finish(&mut bench.local);
    assert_eq!(bench.recorder.events(), [""; 0]);
    assert_eq!((bench.local.stats.opened, bench.local.stats.rejected), (0, 1));
}

#[test]
fn a_handshake_that_keeps_coming_is_not_a_frame_that_stopped() {
    let mut config = config(HandshakePolicy::default());
    config.limits.frame_timeout = Duration::from_secs(1);
    config.limits.frame_bytes_per_s_min = 0;
    let mut bench = Bench::of(config);
    for piece in hello(false).chunks(12).take(6) {
        bench.feed(piece);
        bench.advance(Duration::from_millis(400));
    }
    assert!(bench.reason().is_empty() || bench.recorder.events() == ["open"], "{}", bench.reason());
    assert_eq!(bench.reason(), "");
}

#[test]
fn a_drain_before_the_opening_is_not_counted() {
    let handshake = Some(HandshakeRole::Send(Arc::new(ClientHandshake::new("1").ask_ack())));
    let mut config = Config { handshake, ..Config::default() };
    (config.limits.high_watermark_bytes, config.limits.low_watermark_bytes) = (10, 5);
    let mut bench = Bench::of(config);
    bench.transmit();
    assert_eq!(bench.local.stats.drains, 0);
    bench.feed(&frame(&HandshakeAck::default().encode()));
    assert_eq!(bench.recorder.events(), ["open"]);
    assert_eq!(bench.session.connection().stats().drains, 0);
}
