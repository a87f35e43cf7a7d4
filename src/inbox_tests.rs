use super::*;

use std::sync::atomic::AtomicU64;
use std::task::Wake;
use std::time::{Duration, Instant};

use qwormhole_proto::{Config, ConnId, Owner, PeerAddr, PeerInfo, Port, Session, ShardLocal};

/// Counts how often the shard was asked to look, and how often the task was woken.
#[derive(Default)]
struct Counter(AtomicU64);

impl Counter {
    fn count(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Port for Counter {
    fn post(&self, _id: ConnId) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A session whose transport is the test, and the connection that reads from it.
struct Bench {
    session: Session<Inbox>,
    local: ShardLocal,
    conn: Connection,
    wakes: Arc<Counter>,
}

impl Bench {
    fn new(bytes_max: usize, messages_max: usize) -> Self {
        let (give, take) = std::sync::mpsc::channel();
        let inbox = Inbox::new(
            InboxLimits { bytes_max, messages_max },
            Box::new(move |conn| give.send(conn).unwrap()),
        );
        let peer = PeerInfo::new(PeerAddr::Unknown);
        let mut local = ShardLocal::new(Box::new(()), Arc::new(Counter::default()));
        let mut session =
            Session::new(ConnId::new(0, 0, 0), peer, Arc::new(Config::default()), Owner::handler(inbox));
        session.open(&mut local);
        Self { session, local, conn: take.recv().unwrap(), wakes: Arc::default() }
    }

    /// One receive buffer with these messages.
    fn receive<'a>(&mut self, messages: impl IntoIterator<Item = &'a [u8]>) {
        let mut wire = Vec::new();
        for message in messages {
            wire.extend_from_slice(&(message.len() as u32).to_be_bytes());
            wire.extend_from_slice(message);
        }
        self.session.handle_bytes(&mut self.local, &Whole(wire));
    }

    /// What a task finds when it looks once.
    fn recv(&mut self) -> Option<Option<Result<Bytes, CloseReason>>> {
        let waker = Waker::from(self.wakes.clone());
        let mut recv = std::pin::pin!(self.conn.recv());
        match recv.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => None,
            Poll::Ready(next) => Some(next.map(|next| next.map_err(|error| error.reason().clone()))),
        }
    }

    fn message(&mut self) -> Option<Vec<u8>> {
        self.recv().map(|next| next.unwrap().unwrap().to_vec())
    }

    /// Takes everything that is there, lets the shard see it, and counts.
    fn drain(&mut self) -> usize {
        let mut taken = 0;
        while self.message().is_some() {
            taken += 1;
            self.session.handle_remote(&mut self.local);
        }
        taken
    }
}

struct Whole(Vec<u8>);

impl qwormhole_proto::RecvBuffer for Whole {
    fn as_slice(&self) -> &[u8] {
        &self.0
    }

    fn lease(&self, _range: std::ops::Range<usize>) -> Option<Bytes> {
        None
    }
}

#[test]
fn a_batch_costs_one_wake_up() {
    let mut bench = Bench::new(1 << 20, 1024);
    assert_eq!(bench.recv(), None);
    bench.receive([&b"one"[..], b"", b"three"]);
    assert_eq!(bench.wakes.count(), 1);
    assert_eq!(bench.message().unwrap(), b"one");
    assert_eq!(bench.message().unwrap(), b"");
    assert_eq!(bench.message().unwrap(), b"three");
    assert_eq!(bench.recv(), None);
}

#[test]
fn messages_are_bounded_and_reading_goes_on_at_half() {
    let mut bench = Bench::new(1 << 20, 8);
    bench.receive([&b"x"[..]; 20]);
    assert!(!bench.session.wants_read(), "the inbox is full");
    for _ in 0..3 {
        assert!(bench.message().is_some());
        bench.session.handle_remote(&mut bench.local);
        assert!(!bench.session.wants_read(), "still more than half");
    }
    assert!(bench.message().is_some());
    bench.session.handle_remote(&mut bench.local);
    assert!(!bench.session.wants_read(), "the held messages filled it again");
    assert_eq!(bench.drain(), 16);
    assert!(bench.session.wants_read());
}

#[test]
fn bytes_are_bounded_by_one_message_more_at_most() {
    let mut bench = Bench::new(10_000, 1024);
    let message = vec![7; 3_000];
    bench.receive([&message[..]; 10]);
    let unread = bench.session.connection().stats().messages_in;
    assert_eq!(unread, 4, "12,000 bytes: the bound and less than one message");
    assert!(!bench.session.wants_read());
    assert_eq!(bench.drain(), 10);
}

#[test]
fn a_message_above_the_bound_still_arrives() {
    let mut bench = Bench::new(100, 10);
    let large = vec![9; 5_000];
    bench.receive([&large[..], b"next"]);
    assert_eq!(bench.message().unwrap(), large);
    bench.session.handle_remote(&mut bench.local);
    assert_eq!(bench.message().unwrap(), b"next");
}

#[test]
fn a_clean_end_comes_after_the_last_message_and_is_no_error() {
    let mut bench = Bench::new(1 << 20, 1024);
    bench.receive([&b"last"[..]]);
    bench.session.handle_eof(&mut bench.local);
    bench.session.finish(&mut bench.local);
    let mut conn = bench.conn;
    let mut cx = Context::from_waker(Waker::noop());
    let mut next = || match std::pin::pin!(conn.recv()).as_mut().poll(&mut cx) {
        Poll::Ready(next) => next,
        Poll::Pending => panic!("pending"),
    };
    assert_eq!(next().unwrap().unwrap(), "last");
    assert_eq!(next(), None);
    assert_eq!(next(), None);
}

#[test]
fn an_end_with_an_error_is_reported_once() {
    let mut bench = Bench::new(1 << 20, 1024);
    bench.receive([&b"last"[..]]);
    bench.session.handle_transport_error(std::io::ErrorKind::ConnectionReset);
    let Bench { session, mut local, conn, wakes } = bench;
    session.finish(&mut local);
    let again = Bench::new(1, 1);
    let mut bench = Bench { conn, wakes, ..again };
    assert_eq!(bench.message().unwrap(), b"last");
    assert_eq!(bench.recv(), Some(Some(Err(CloseReason::PeerReset))));
    assert_eq!(bench.recv(), Some(None));
}

#[test]
fn a_handler_dropped_without_a_word_ends_the_stream() {
    let mut bench = Bench::new(1 << 20, 1024);
    assert_eq!(bench.recv(), None);
    let Bench { session, conn, wakes, .. } = bench;
    drop(session);
    assert_eq!(wakes.count(), 1);
    let again = Bench::new(1, 1);
    let mut bench = Bench { conn, wakes, ..again };
    assert_eq!(bench.recv(), Some(Some(Err(CloseReason::HandlerPanicked))));
}

#[test]
fn nobody_reading_does_not_hold_the_peer_up() {
    let mut bench = Bench::new(1 << 20, 4);
    bench.receive([&b"x"[..]; 20]);
    assert!(!bench.session.wants_read());
    let Bench { mut session, mut local, conn, .. } = bench;
    let (receive, send) = conn.into_split();
    drop(receive);
    session.handle_remote(&mut local);
    assert!(session.wants_read());
    assert_eq!(session.connection().stats().messages_in, 20);
    assert!(session.connection().is_open(), "the other half is alive");
    drop(send);
    session.handle_remote(&mut local);
    assert!(!session.connection().is_open());
}

#[test]
fn a_reader_on_another_thread_never_stalls_the_shard() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let Bench { mut session, mut local, mut conn, .. } = Bench::new(64, 4);
    const TOTAL: u32 = 20_000;
    const STALL: Duration = Duration::from_secs(60);
    let begun = Instant::now();
    let reader = std::thread::spawn(move || {
        for expected in 0..TOTAL {
            let message = pollster::block_on(conn.recv()).unwrap().unwrap();
            assert_eq!(message[..4], expected.to_be_bytes());
        }
    });
    let mut next = 0;
    while next < TOTAL {
        session.handle_remote(&mut local);
        assert!(begun.elapsed() < STALL, "stalled after {next} messages");
        if !session.wants_read() {
            std::thread::yield_now();
            continue;
        }
        let mut wire = Vec::new();
        for _ in 0..rng.u32(1..=12).min(TOTAL - next) {
            let len = 4 + rng.u32(0..40);
            wire.extend_from_slice(&len.to_be_bytes());
            wire.extend_from_slice(&next.to_be_bytes());
            wire.resize(wire.len() + len as usize - 4, 0);
            next += 1;
        }
        session.handle_bytes(&mut local, &Whole(wire));
    }
    while !reader.is_finished() {
        assert!(begun.elapsed() < STALL, "stalled at the end");
        session.handle_remote(&mut local);
        std::thread::yield_now();
    }
    reader.join().unwrap();
}
