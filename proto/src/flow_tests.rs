//! Rate limit, heartbeat, idle timeout and overflow as a driver and a handler see them.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::*;

#[derive(Default)]
struct Seen {
    sender: Option<Sender>,
    drains: usize,
    closed: Vec<CloseReason>,
    /// Messages of this length are sent for each one received, until one is refused.
    answer_len: usize,
    refusal: Option<SendErrorKind>,
}

struct Recorder(Rc<RefCell<Seen>>);

impl Handler for Recorder {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        self.0.borrow_mut().sender = Some(conn.sender());
    }

    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        let mut seen = self.0.borrow_mut();
        if *message == *b"pause" {
            return conn.pause();
        }
        while seen.answer_len > 0 && seen.refusal.is_none() {
            seen.refusal = conn.send(vec![9; seen.answer_len]).err().map(|error| error.kind);
        }
    }

    fn on_drain(&mut self, _conn: &mut Context<'_>) {
        self.0.borrow_mut().drains += 1;
    }

    fn on_close(&mut self, _conn: &mut Context<'_>, reason: &CloseReason) {
        self.0.borrow_mut().closed.push(reason.clone());
    }
}

struct Bench {
    session: Session<Recorder>,
    local: ShardLocal,
    seen: Rc<RefCell<Seen>>,
    actions: Vec<Action>,
}

impl Bench {
    fn new(config: Config) -> Self {
        config.validate().unwrap();
        let seen = Rc::<RefCell<Seen>>::default();
        let peer = PeerInfo::new(PeerAddr::Unknown);
        let handler = Recorder(seen.clone());
        let mut session = Session::new(ConnId::new(0, 0, 0), peer, Arc::new(config), Owner::handler(handler));
        let mut local = ShardLocal::default();
        local.set_wall_clock(secs(1000));
        session.open(&mut local);
        Self { session, local, seen, actions: Vec::new() }
    }

    fn send(&mut self, payload: &[u8]) {
        self.seen.borrow().sender.as_ref().unwrap().try_send(payload).unwrap();
        self.session.handle_remote(&mut self.local);
    }

    fn receive(&mut self, payload: &[u8]) {
        let wire = [&frame_header(payload.len() as u32)[..], payload].concat();
        self.session.handle_bytes(&mut self.local, &Wire(wire));
    }

    /// What leaves now, all of it taken by the kernel.
    fn leave(&mut self) -> Vec<u8> {
        let mut wire = Vec::new();
        while let Some(transmit) = self.session.poll_transmit(&mut self.local) {
            transmit.segments().iter().for_each(|segment| wire.extend_from_slice(segment.as_slice()));
            let taken = transmit.len();
            self.session.handle_transmitted(&mut self.local, transmit, Ok(taken));
        }
        wire
    }

    /// Meets every deadline up to `until` as a driver does; returns what left, and when.
    fn run(&mut self, until: Duration) -> Vec<(Duration, Vec<u8>)> {
        let mut left = Vec::new();
        loop {
            let wire = self.leave();
            if !wire.is_empty() {
                left.push((self.now(), wire));
            }
            self.actions.extend(self.session.poll_action(&self.local));
            match self.session.poll_timeout() {
                Some(deadline) if deadline <= at(until) => {
                    self.local.now = deadline;
                    self.session.handle_timeout(&mut self.local);
                }
                _ => break,
            }
        }
        self.local.now = at(until);
        left
    }

    fn now(&self) -> Duration {
        self.local.now.saturating_since(Time::ZERO)
    }

    fn reason(&self) -> Option<&CloseReason> {
        self.session.connection().close_reason()
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

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn at(after: Duration) -> Time {
    Time::ZERO + after
}

fn limited(bytes_per_s: u64) -> Config {
    Config { rate_limit: Some(RateLimit::new(bytes_per_s)), ..Config::default() }
}

#[test]
fn a_limited_connection_is_not_stalled_by_its_own_limit() {
    let mut config = limited(1000);
    config.limits.high_watermark_bytes = 1000;
    config.limits.low_watermark_bytes = 100;
    config.limits.stall_timeout = secs(5);
    config.limits.idle_timeout = secs(5);
    let mut bench = Bench::new(config);
    bench.send(&[1; 60_000]);
    bench.send(&[2; 900]);
    bench.send(&[2; 60_000]);
    let left = bench.run(secs(300));
    let times: Vec<u64> = left.iter().map(|(at, _)| at.as_millis() as u64).collect();
    assert_eq!(times, [0, 59_004 + 904, 59_004 + 904 + 1000 - 96 + 96], "{times:?}");
    assert_eq!(bench.seen.borrow().drains, 2, "once per large message");
    assert_eq!(bench.reason(), Some(&CloseReason::IdleTimeout), "when all had left");
}

#[test]
fn a_limited_peer_that_takes_nothing_is_stalled_all_the_same() {
    let mut config = limited(1000);
    config.limits.high_watermark_bytes = 1000;
    config.limits.low_watermark_bytes = 100;
    let mut bench = Bench::new(config);
    for _ in 0..10 {
        bench.send(&[1; 996]);
    }
    let first = bench.leave();
    assert_eq!(first.len(), 1000);
    bench.local.now = at(secs(1));
    bench.session.handle_timeout(&mut bench.local);
    let stuck = bench.session.poll_transmit(&mut bench.local).unwrap();
    assert_eq!(bench.session.poll_timeout(), Some(at(secs(31))), "the kernel has it");
    bench.local.now = at(secs(31));
    bench.session.handle_timeout(&mut bench.local);
    assert_eq!(bench.reason(), Some(&CloseReason::Stalled));
    bench.local.give_transmit(stuck);
}

#[test]
fn a_close_flushes_at_the_limited_rate_and_gives_up_in_time() {
    for (messages, complete) in [(5, true), (7, false)] {
        let mut bench = Bench::new(limited(1000));
        for n in 0..messages {
            bench.send(&[n; 996]);
        }
        bench.session.close(&mut bench.local, CloseReason::Shutdown);
        let left = bench.run(secs(60));
        let wire: usize = left.iter().map(|(_, wire)| wire.len()).sum();
        assert_eq!(wire == usize::from(messages) * 1000, complete, "{wire} bytes left");
        assert_eq!(wire, 5000, "the burst, and what the rate allows in less than five seconds");
        let flushed: &[Action] = &[Action::ShutdownWrite, Action::Close];
        assert_eq!(bench.actions, if complete { flushed } else { &[Action::Close] });
        assert_eq!(bench.session.poll_timeout(), None, "a closed connection has no deadline");
    }
}

#[test]
fn traffic_in_either_direction_defers_the_idle_timeout() {
    let mut config = Config::default();
    config.limits.idle_timeout = secs(10);
    let mut bench = Bench::new(config);
    bench.run(secs(9));
    bench.receive(b"in");
    bench.run(secs(18));
    bench.send(b"out");
    bench.run(secs(27));
    assert_eq!(bench.session.poll_timeout(), Some(at(secs(28))));
    assert_eq!(bench.reason(), None);
    bench.run(secs(28));
    assert_eq!(bench.reason(), Some(&CloseReason::IdleTimeout));
    assert_eq!(bench.actions, [Action::ShutdownWrite], "a lingering close");
}

#[test]
fn a_connection_that_never_opened_is_not_idle_and_a_paused_one_neither() {
    let mut config = Config::default();
    config.limits.idle_timeout = secs(10);
    let mut bench = Bench::new(config);
    bench.receive(b"pause");
    bench.run(secs(100));
    assert_eq!(bench.session.poll_timeout(), None, "this side keeps the peer from talking");
    bench.seen.borrow().sender.as_ref().unwrap().resume();
    bench.session.handle_remote(&mut bench.local);
    assert_eq!(bench.session.poll_timeout(), Some(at(secs(110))), "and the peer gets its time again");
    let config = bench.session.connection().config.clone();
    let fresh = Connection::new(ConnId::new(0, 1, 0), PeerInfo::new(PeerAddr::Unknown), config);
    assert_eq!(fresh.poll_timeout(), None);
}

fn beating(interval: Duration) -> Config {
    Config { heartbeat: Some(Heartbeat::every(interval)), ..Config::default() }
}

#[test]
fn heartbeats_leave_at_every_interval_and_name_the_wall_clock() {
    let mut config = beating(secs(10));
    config.limits.idle_timeout = secs(15);
    let mut bench = Bench::new(config);
    let left = bench.run(secs(35));
    let beat = |ts: u64| {
        let text = format!(r#"{{"type":"ping","ts":{ts}}}"#);
        [&frame_header(text.len() as u32)[..], text.as_bytes()].concat()
    };
    let expected = [10u64, 20, 30].map(|second| (secs(second), beat(1_000_000 + second * 1000)));
    assert_eq!(left, expected);
    assert_eq!(bench.session.connection().stats().messages_out, 3);
    assert_eq!(bench.reason(), None, "a heartbeat is traffic");
    bench.session.close(&mut bench.local, CloseReason::Local);
    assert!(bench.run(secs(60)).is_empty(), "no heartbeat of a connection that ends");
}

#[test]
fn a_heartbeat_goes_behind_everything_and_not_twice() {
    let mut config = beating(secs(1));
    config.heartbeat = config.heartbeat.map(|heartbeat| heartbeat.with_payload("beat"));
    let mut bench = Bench::new(config);
    bench.send(b"first");
    let stuck = bench.session.poll_transmit(&mut bench.local).unwrap();
    for second in 1..=5 {
        bench.local.now = at(secs(second));
        bench.session.handle_timeout(&mut bench.local);
    }
    bench.send(b"second");
    bench.session.handle_transmitted(&mut bench.local, stuck, Ok(9));
    let beat = bench.session.poll_transmit(&mut bench.local).unwrap();
    let wire: Vec<u8> = beat.segments().iter().flat_map(|segment| segment.as_slice().to_vec()).collect();
    assert_eq!(wire, b"\0\0\0\x06second\0\0\0\x04beat");
    bench.local.now = at(secs(6));
    bench.session.handle_timeout(&mut bench.local);
    assert_eq!(bench.session.connection().queued_bytes(), wire.len(), "the kernel still has the last one");
    bench.session.handle_transmitted(&mut bench.local, beat, Ok(wire.len()));
    assert_eq!(bench.run(secs(7)), [(secs(7), b"\0\0\0\x04beat".to_vec())]);
}

#[test]
fn a_heartbeat_that_finds_the_outbox_full_is_skipped_without_consequences() {
    let mut config = beating(secs(1));
    config.limits.max_backpressure_bytes = 1000;
    config.limits.high_watermark_bytes = 990;
    config.limits.low_watermark_bytes = 980;
    config.limits.stall_timeout = Duration::ZERO;
    config.overflow = OverflowPolicy::Close;
    let mut bench = Bench::new(config);
    bench.send(&[1; 900]);
    let stuck = bench.session.poll_transmit(&mut bench.local).unwrap();
    bench.send(&[1; 4]);
    bench.local.now = at(secs(1));
    bench.session.handle_timeout(&mut bench.local);
    assert_eq!(bench.reason(), None);
    assert_eq!(bench.session.connection().stats().messages_out, 2);
    bench.session.handle_transmitted(&mut bench.local, stuck, Ok(904));
    bench.leave();
    assert_eq!(bench.seen.borrow().drains, 0, "nobody was stopped");
}

fn small(overflow: OverflowPolicy) -> Config {
    let mut config = Config { overflow, ..Config::default() };
    config.limits.max_backpressure_bytes = 10_000;
    config.limits.high_watermark_bytes = 5_000;
    config.limits.low_watermark_bytes = 1_000;
    config.limits.remote_bytes_max = 1_000;
    config
}

#[test]
fn a_full_outbox_ends_the_connection_once_if_that_was_asked_for() {
    for overflow in [OverflowPolicy::Refuse, OverflowPolicy::Close] {
        let mut bench = Bench::new(small(overflow));
        bench.seen.borrow_mut().answer_len = 500;
        bench.receive(b"go");
        let refusal = bench.seen.borrow().refusal.clone();
        let action = bench.session.poll_action(&bench.local);
        if overflow == OverflowPolicy::Refuse {
            assert_eq!((refusal, action), (Some(SendErrorKind::Full), None));
            bench.leave();
            assert_eq!(bench.seen.borrow().drains, 1);
            continue;
        }
        assert_eq!(refusal, Some(SendErrorKind::Closed(CloseReason::Backpressure)));
        assert_eq!(action, Some(Action::Close));
        assert_eq!(bench.reason().map(ToString::to_string).as_deref(), Some("Backpressure limit exceeded"));
        bench.session.finish(&mut bench.local);
        assert_eq!(bench.seen.borrow().closed, [CloseReason::Backpressure]);
        assert_eq!(bench.seen.borrow().drains, 0);
    }
}

#[test]
fn another_thread_ends_a_backed_up_connection_but_not_one_that_was_only_busy() {
    let mut bench = Bench::new(small(OverflowPolicy::Close));
    let sender = bench.seen.borrow().sender.clone().unwrap();
    let fill = |sender: &Sender| while sender.try_send(&[1; 100]).is_ok() {};
    fill(&sender);
    bench.session.handle_remote(&mut bench.local);
    assert_eq!(bench.reason(), None, "the outbox had room for all of it");
    for _ in 0..5 {
        fill(&sender);
        bench.session.handle_remote(&mut bench.local);
    }
    assert_eq!(bench.reason(), Some(&CloseReason::Backpressure));
    assert_eq!(bench.session.poll_action(&bench.local), Some(Action::Close));
}

#[test]
fn a_sender_that_waits_for_room_ends_nothing() {
    let mut bench = Bench::new(small(OverflowPolicy::Close));
    let sender = bench.seen.borrow().sender.clone().unwrap();
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        let mut sending = std::pin::pin!(sender.send(&[1; 100]));
        let blocked = sending.as_mut().poll(&mut cx).is_pending();
        bench.session.handle_remote(&mut bench.local);
        if blocked && sending.as_mut().poll(&mut cx).is_pending() {
            break;
        }
    }
    assert_eq!(bench.reason(), None);
    assert!(bench.session.connection().queued_bytes() >= 3_000);
}
