//! Cases that random schedules meet rarely, one by one, over a kernel that does everything at once unless
//! the case says otherwise.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use qwormhole_proto::{ConnectError, Dial, Endpoint, Time};

use crate::control::Control;
use crate::fake_ring::choices::Choices;
use crate::fake_ring::kernel::Kind;
use crate::fake_ring::net::{FakeSocket, Net, SocketKind};
use crate::fake_ring::pool::FakeBuffer;
use crate::fake_ring::{FakeAddr, FakeRing};
use crate::ring::Ring;
use crate::schedule::service::{Script, Scripts};
use crate::schedule::{Plan, Schedule, config};
use crate::shard::Shard;

#[test]
fn starved_connections_are_fed_in_the_order_they_starved() {
    let mut bench = Bench::new(|plan| plan.buffers = 1);
    let streams: Vec<usize> = (0..3).map(|_| bench.connect()).collect();
    bench.rest();
    let mut held = bench.take_buffers();
    for stream in [2, 0, 1] {
        bench.say(streams[stream]);
        bench.rest();
    }
    assert_eq!(bench.shard().starved.len(), 3);
    held.clear();
    let mut fed = Vec::new();
    bench.turn_until(|bench| {
        let delivered = streams.iter().filter(|stream| bench.unseen(**stream) == 0 && !fed.contains(*stream));
        fed.extend(delivered.copied().collect::<Vec<_>>());
        fed.len() == 3
    });
    assert_eq!(fed, [streams[2], streams[0], streams[1]]);
    assert_eq!(bench.shard().local.stats.starved, 3, "nobody is asked while there is no buffer for him");
    bench.shut_down();
}

#[test]
fn a_shard_sleeps_while_its_connections_starve() {
    let mut bench = Bench::new(|plan| plan.buffers = 2);
    let streams: Vec<usize> = (0..4).map(|_| bench.connect()).collect();
    bench.rest();
    let held = bench.take_buffers();
    streams.iter().for_each(|stream| bench.say(*stream));
    bench.rest();
    for _ in 0..50 {
        bench.turn();
        assert!(bench.shard().ring.rests(), "a turn did not sleep though no buffer is free");
    }
    drop(held);
    bench.rest();
    assert!(streams.iter().all(|stream| bench.unseen(*stream) == 0));
    bench.shut_down();
}

#[test]
fn one_free_buffer_is_enough_for_many_idle_connections() {
    let mut bench = Bench::new(|plan| plan.buffers = 1);
    let held = bench.take_buffers();
    // Without a free buffer, even receives on idle sockets end at once.
    let streams: Vec<usize> = (0..4).map(|_| bench.connect()).collect();
    bench.rest();
    assert_eq!(bench.shard().starved.len(), 4);
    drop(held);
    bench.rest();
    assert_eq!(bench.shard().starved.len(), 0, "connections starve beside a free buffer");
    streams.iter().for_each(|stream| bench.say(*stream));
    bench.rest();
    assert!(streams.iter().all(|stream| bench.unseen(*stream) == 0));
    bench.shut_down();
}

#[test]
fn connections_that_end_while_they_starve_are_forgotten() {
    let mut bench = Bench::new(|plan| plan.streams_max = 1000);
    let held = bench.take_buffers();
    for _ in 0..100 {
        let stream = bench.connect();
        bench.rest();
        bench.sender(stream).abort();
        bench.rest();
    }
    assert!(bench.shard().starved.len() <= 2, "{} are listed", bench.shard().starved.len());
    drop(held);
    bench.shut_down();
}

#[test]
fn a_listener_that_cannot_accept_is_asked_again_ever_more_rarely() {
    for errno in [24, 23, 12, 105, 22] {
        let mut bench = Bench::new(|_| ());
        bench.rest();
        bench.net().lock().script.accept_fails = Some(errno);
        let stream = bench.connect();
        let (began, turns) = (bench.now(), bench.0.turns);
        bench.turn_until(|bench| bench.now() >= began + Duration::from_secs(10));
        let turns = bench.0.turns - turns;
        assert!(turns < 60, "error {errno}: {turns} turns in 10 s");
        bench.net().lock().script.accept_fails = None;
        let began = bench.now();
        bench.rest();
        assert_eq!(bench.opened(stream), 1, "error {errno}");
        assert!(
            bench.now() <= began + Duration::from_millis(1020),
            "asked again after a second at the latest"
        );
        bench.net().lock().script.accept_fails = Some(errno);
        let (began, stream) = (bench.now(), bench.connect());
        bench.turn_until(|bench| bench.shard().ring.in_flight() == 1);
        bench.net().lock().script.accept_fails = None;
        bench.rest();
        assert_eq!(bench.opened(stream), 1);
        assert!(bench.now() <= began + Duration::from_millis(30), "a success did not start the pace over");
        bench.shut_down();
    }
}

#[test]
fn a_listener_may_be_closed_while_it_waits_to_accept_again() {
    let mut bench = Bench::new(|_| ());
    bench.net().lock().script.accept_fails = Some(24);
    let stream = bench.connect();
    bench.turn_until(|bench| bench.shard().ring.in_flight() == 0 && bench.0.turns > 2);
    bench.net().lock().script.accept_fails = None;
    bench.shut_down();
    assert_eq!(bench.opened(stream), 0);
    assert!(bench.net().lock().streams[stream].closed.is_some(), "the backlog goes with its listener");
}

#[test]
fn a_dial_gives_up_at_its_timeout_and_ends_its_attempts() {
    let mut bench = Bench::new(|_| ());
    bench.rest();
    bench.net().lock().script.connects_hang_from = Some(0);
    let (began, outcome) = (bench.now(), bench.dial(5, Some(600)));
    let mut attempts = Vec::new();
    bench.turn_until(|bench| {
        attempts.push(bench.shard().ring.in_flight() - 1);
        outcome.lock().unwrap().is_some()
    });
    let failed = outcome.lock().unwrap().take().unwrap();
    assert!(matches!(failed, ConnectError::TimedOut), "{failed}");
    let took = bench.now().saturating_since(began).as_millis();
    assert!((600..=620).contains(&took), "{took} ms");
    assert_eq!(attempts.iter().max(), Some(&3), "one more attempt every 250 ms: {attempts:?}");
    bench.rest();
    assert_eq!(bench.shard().ring.in_flight(), 1, "only the accept is left");
    bench.shut_down();
}

#[test]
fn a_slot_waits_for_the_attempts_that_lost_its_race() {
    let mut bench = Bench::new(|_| ());
    bench.rest();
    bench.net().lock().script.connects_hang_from = Some(0);
    bench.dial(2, None);
    bench.turn_until(|bench| bench.shard().ring.in_flight() == 3);
    {
        let mut net = bench.net().lock();
        net.script.connects_hang_from = Some(1);
        net.script.cancels_hang = &[Kind::Connect];
    }
    bench.turn_until(|bench| bench.shard().local.stats.connections == 1);
    bench.sender(0).abort();
    bench.rest();
    assert_eq!(bench.closed(0), 1);
    assert_eq!(bench.shard().ring.in_flight(), 2, "the accept, and the attempt that lost");
    assert_eq!(bench.shard().slots.used(), 1);
    bench.net().lock().script.cancels_hang = &[];
    bench.rest();
    assert_eq!(bench.shard().slots.used(), 0);
    bench.shut_down();
}

#[test]
fn a_shutdown_ends_dials_and_refuses_what_comes_later() {
    let mut bench = Bench::new(|_| ());
    let stream = bench.connect();
    bench.rest();
    bench.net().lock().script.connects_hang_from = Some(0);
    let pending = bench.dial(2, None);
    bench.turn_until(|bench| bench.shard().ring.in_flight() == 3);
    bench.begin_shutdown(Duration::from_secs(5));
    let late = bench.dial(1, None);
    let endpoint = bench.0.endpoint.clone();
    let admission = endpoint.admit().unwrap();
    let socket = bench.socket();
    bench.control(Control::Adopt { socket, admission, config: config() });
    let socket = bench.listener();
    bench.control(Control::Listen { socket, endpoint: Endpoint::new(1), config: config(), spread: false });
    bench.turn();
    for outcome in [pending, late] {
        let failed = outcome.lock().unwrap().take();
        assert!(matches!(failed, Some(ConnectError::ShuttingDown)), "{failed:?}");
    }
    bench.finish();
    assert_eq!(bench.0.report.drained, 1);
    assert_eq!(bench.opened(stream), 1);
    assert_eq!((endpoint.open_connections(), bench.net().lock().listeners), (0, 0));
}

#[test]
fn a_kernel_that_confirms_nothing_is_left_a_second_after_the_deadline() {
    let mut bench = Bench::new(|_| ());
    bench.connect();
    bench.rest();
    bench.net().lock().script.cancels_hang = &[Kind::Accept, Kind::Recv];
    let began = bench.now();
    bench.begin_shutdown(Duration::from_millis(100));
    bench.turn_until(|bench| bench.0.is_over());
    let took = bench.now().saturating_since(began).as_millis();
    assert!((1100..1150).contains(&took), "{took} ms");
    bench.0.finish().unwrap();
    let report = bench.0.report;
    assert!(report.ops_in_flight > 0 && report.leaked_bytes > 0, "{report:?}");
}

#[test]
fn a_later_shutdown_can_only_shorten_the_first() {
    let mut bench = Bench::new(|_| ());
    let stream = bench.connect_stubborn();
    bench.rest();
    bench.begin_shutdown(Duration::from_secs(5));
    bench.turn();
    let began = bench.now();
    bench.control(Control::Shutdown(Duration::from_millis(20)));
    bench.control(Control::Shutdown(Duration::from_secs(50)));
    bench.turn_until(|bench| bench.0.is_over());
    let took = bench.now().saturating_since(began).as_millis();
    assert!(took < 60, "the peer of stream {stream} never ends its side, {took} ms");
    bench.0.finish().unwrap();
    assert_eq!((bench.0.report.drained, bench.0.report.cut), (0, 1));
}

#[test]
fn a_flood_of_completions_is_handled_over_several_turns_without_sleeping() {
    let mut bench = Bench::new(|plan| {
        plan.buffers = 3000;
        plan.buffer_len = 16;
    });
    let stream = bench.connect();
    bench.rest();
    for _ in 0..10_000 {
        bench.say(stream);
    }
    let (began, turns) = (bench.now(), bench.0.turns);
    bench.turn_until(|bench| bench.unseen(stream) == 0);
    assert!(bench.0.turns - turns >= 3, "40,000 bytes by 16 are 2,500 completions");
    assert!(bench.now() < began + Duration::from_millis(1), "the shard slept before it was done");
    bench.shut_down();
}

#[test]
fn a_lost_ring_ends_every_connection_and_every_dial() {
    let mut bench = Bench::new(|_| ());
    let stream = bench.connect();
    bench.rest();
    bench.net().lock().script.connects_hang_from = Some(0);
    let pending = bench.dial(2, None);
    bench.turn();
    let late = bench.dial(1, None);
    bench.net().lock().script.enter_fails = true;
    let shard = bench.0.shard.take().unwrap();
    shard.run().unwrap_err();
    assert_eq!((bench.opened(stream), bench.closed(stream)), (1, 1));
    for outcome in [pending, late] {
        assert!(outcome.lock().unwrap().is_some(), "a dial was not answered");
    }
    assert_eq!(bench.0.endpoint.open_connections(), 0);
    assert_eq!(bench.0.scene.books().handlers, 0);
}

/// A schedule played by hand.
struct Bench(Schedule);

type Outcome = Arc<Mutex<Option<ConnectError>>>;

impl Bench {
    fn new(change: impl FnOnce(&mut Plan)) -> Self {
        let net = Net::new(Choices::from_data(&[]), false);
        let mut plan = Plan::new(&mut net.lock().choices);
        plan.streams_max = 16;
        change(&mut plan);
        Self(Schedule::new(net, &plan, None))
    }

    fn net(&self) -> &Net {
        &self.0.net
    }

    fn shard(&mut self) -> &mut Shard<FakeRing, Scripts> {
        self.0.shard.as_mut().unwrap()
    }

    fn now(&self) -> Time {
        self.net().lock().now
    }

    fn turn(&mut self) {
        self.0.turn().unwrap();
    }

    fn turn_until(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        for _ in 0..1000 {
            if done(self) {
                return;
            }
            self.turn();
        }
        panic!("it never came");
    }

    fn rest(&mut self) {
        self.0.turn_until_rest().unwrap();
    }

    /// A peer connects; returns its stream, of which the peer answers the end.
    fn connect(&mut self) -> usize {
        while self.next_stream() % 4 == 3 {
            self.socket();
        }
        let stream = self.next_stream();
        self.0.world.borrow().connect();
        stream
    }

    /// As [`Bench::connect`], but the peer never ends its side.
    fn connect_stubborn(&mut self) -> usize {
        while self.next_stream() % 4 != 3 {
            self.socket();
        }
        let stream = self.next_stream();
        self.0.world.borrow().connect();
        stream
    }

    fn next_stream(&self) -> usize {
        self.net().lock().streams.len()
    }

    /// The peer sends a message.
    fn say(&self, stream: usize) {
        self.0.world.borrow().peer_speaks(stream);
    }

    /// Messages of the peer that its handler has not seen.
    fn unseen(&self, stream: usize) -> usize {
        self.0.scene.books().ledger(stream).inbound.len()
    }

    fn opened(&self, stream: usize) -> u32 {
        self.0.scene.books().ledger(stream).opened
    }

    fn closed(&self, stream: usize) -> u32 {
        self.0.scene.books().ledger(stream).closed
    }

    fn sender(&self, stream: usize) -> qwormhole_proto::Sender {
        let mut books = self.0.scene.books();
        let ledger = books.ledger(stream);
        (ledger.local_end, ledger.aborted) = (true, true);
        ledger.sender.clone().unwrap()
    }

    /// Takes all free buffers, as leases would.
    fn take_buffers(&self) -> Vec<FakeBuffer> {
        std::iter::from_fn(|| self.0.pool.fill([0].into_iter())).collect()
    }

    fn socket(&self) -> FakeSocket {
        let mut net = self.0.net.lock();
        let stream = net.add_stream(true);
        FakeSocket::new(&self.0.net, &mut net, SocketKind::Stream(stream))
    }

    fn listener(&self) -> FakeSocket {
        let mut net = self.0.net.lock();
        let listener = net.add_listener();
        FakeSocket::new(&self.0.net, &mut net, SocketKind::Listener(listener))
    }

    fn control(&self, control: Control<FakeRing, Scripts>) {
        self.0.world.borrow().shard.send(control);
    }

    /// Dials `addrs` addresses; the failure is put into what is returned.
    fn dial(&self, addrs: usize, timeout_ms: Option<u64>) -> Outcome {
        let outcome = Outcome::default();
        let failed = outcome.clone();
        let net = self.0.net.clone();
        let dial = Dial {
            addrs: vec![FakeAddr; addrs],
            open_socket: Arc::new(move |_| {
                let mut state = net.lock();
                let stream = state.add_stream(false);
                Ok(FakeSocket::new(&net, &mut state, SocketKind::Stream(stream)))
            }),
            config: config(),
            handler: Script::new(self.0.scene.clone(), None),
            timeout: timeout_ms.map(Duration::from_millis),
            failed: Box::new(move |error| *failed.lock().unwrap() = Some(error)),
        };
        self.control(Control::Connect(Box::new(move |shard| match shard {
            Ok(shard) => shard.dial(dial),
            Err(error) => _ = dial.fail(error),
        })));
        outcome
    }

    fn begin_shutdown(&mut self, within: Duration) {
        let now = self.now();
        self.0.scene.books().shutdown = Some((now, now + within));
        self.control(Control::Shutdown(within));
    }

    fn finish(&mut self) {
        self.0.turn_until_over().unwrap();
        self.0.finish().unwrap();
        self.0.check_end().unwrap();
    }

    /// Shuts down and checks that everything came back.
    fn shut_down(&mut self) {
        self.begin_shutdown(Duration::from_secs(10));
        self.finish();
        let report = self.0.report;
        assert_eq!(report.cut, 0, "{report:?}");
    }
}
