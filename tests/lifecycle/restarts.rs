//! A server that goes away and comes back under load.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use qwormhole::{Context, Handler, Link, LinkEvent, LinkSender, Message, PeerInfo, Server};

use crate::link::{exact, free_address, link, short};
use crate::support::{Bed, PATIENCE, block_on, on_every_backend};

on_every_backend!(restarts_lose_reorder_and_double_nothing_that_was_acknowledged);

pub(crate) const RESTARTS: usize = 20;
const DELAY_MAX_MS: u64 = 40;
/// What a connection may take beyond the delay.
const GRACE: Duration = Duration::from_millis(100);
/// What it takes when the machine lets this process wait; twice in a run that may happen.
const GRACE_MAX: Duration = Duration::from_secs(2);
const LATE_MAX: usize = 2;

/// What the application on the other side has seen: the numbers that each connection brought.
type Book = Arc<Mutex<Vec<Vec<u64>>>>;

/// Writes every number into the book before it acknowledges it.
struct Clerk {
    book: Book,
    page: usize,
}

impl Handler for Clerk {
    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        self.book.lock().expect("no panic")[self.page].push(number(&message));
        conn.reply(message).expect("a reply is refused only if too large");
    }
}

pub(crate) fn number(message: &[u8]) -> u64 {
    u64::from_be_bytes(message[..8].try_into().expect("a number"))
}

fn serve(bed: Bed, address: SocketAddr, book: &Book) -> Server {
    let book = book.clone();
    let service = move |_: &PeerInfo| {
        let mut pages = book.lock().expect("no panic");
        pages.push(Vec::new());
        Clerk { book: book.clone(), page: pages.len() - 1 }
    };
    bed.server().bind(address).expect("a valid address").start(service).expect("start")
}

/// Sends numbers as fast as they are accepted; `accepted` counts them.
fn send_until(sender: &LinkSender, stop: &AtomicBool, accepted: &AtomicU64, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    for n in 0u64.. {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let mut message = vec![0; random.usize(8..300)];
        message[..8].copy_from_slice(&n.to_be_bytes());
        block_on(sender.send(message)).expect("accepted in the end");
        accepted.fetch_add(1, Ordering::SeqCst);
    }
}

/// A link under load through all the restarts of its server, and what the server acknowledged.
pub(crate) struct Load {
    link: Link,
    log: JoinHandle<Vec<(Instant, LinkEvent)>>,
    stop: Arc<AtomicBool>,
    accepted: Arc<AtomicU64>,
    /// Until it is joined.
    sending: Option<JoinHandle<()>>,
    acknowledged: Vec<u64>,
    restarts: Vec<Range<Instant>>,
    random: fastrand::Rng,
}

impl Load {
    pub(crate) fn begin(bed: Bed, address: SocketAddr) -> Self {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let link = link(bed, &address.to_string()).reconnect(exact(5, DELAY_MAX_MS)).open().expect("open");
        let (stop, accepted) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let sending = thread::spawn({
            let (sender, stop, accepted, seed) =
                (link.sender(), stop.clone(), accepted.clone(), random.u64(..));
            move || send_until(&sender, &stop, &accepted, seed)
        });
        let (acknowledged, restarts) = (Vec::new(), Vec::new());
        Self {
            log: log_events(&link),
            link,
            stop,
            accepted,
            sending: Some(sending),
            acknowledged,
            restarts,
            random,
        }
    }

    pub(crate) fn wait_for_the_end(&self) {
        let begun = Instant::now();
        while self.link.is_connected() {
            assert!(begun.elapsed() < PATIENCE, "the end is noticed");
            thread::yield_now();
        }
    }

    /// Begins the server's next life.
    pub(crate) fn restart<S>(&mut self, begin: impl FnOnce() -> S) -> S {
        let begun = Instant::now();
        let server = begin();
        self.restarts.push(begun..Instant::now());
        server
    }

    /// Receives until this life acknowledges something that no earlier one has `seen`, and some more.
    pub(crate) fn receive_beyond(&mut self, seen: Option<u64>) {
        // What an earlier life brought may come first.
        while self.receive() <= seen {}
        for _ in 0..self.random.u32(0..3000) {
            self.receive();
        }
    }

    fn receive(&mut self) -> Option<u64> {
        self.acknowledged.push(number(&block_on(self.link.recv()).expect("an acknowledgement")));
        self.acknowledged.last().copied()
    }

    /// Stops, waits for what was accepted, and checks it against what the connections brought.
    pub(crate) fn end(mut self, pages: impl FnOnce() -> Vec<Vec<u64>>, queued_from: &[(usize, u64)]) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(sending) = self.sending.take() {
            sending.join().expect("everything was accepted");
        }
        while self.acknowledged.last() != Some(&(self.accepted() - 1)) {
            self.receive();
        }
        assert!(block_on(self.link.close()).is_empty());
        assert_book(&pages(), &self.acknowledged, queued_from);
        assert_events(&self.log.join().expect("no panic"), &self.restarts);
    }

    fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::SeqCst)
    }
}

/// The events as they come, with their times.
fn log_events(link: &Link) -> JoinHandle<Vec<(Instant, LinkEvent)>> {
    let mut events = link.events();
    thread::spawn(move || {
        let mut log = Vec::new();
        while let Some(event) = block_on(events.next()) {
            log.push((Instant::now(), event));
        }
        log
    })
}

fn restarts_lose_reorder_and_double_nothing_that_was_acknowledged(bed: Bed) {
    let address = free_address();
    let book: Book = Arc::default();
    let mut load = Load::begin(bed, address);
    let (mut queued_from, mut server) = (Vec::new(), None);
    for _ in 0..=RESTARTS {
        // Gone before its successor binds.
        drop(server.take());
        load.wait_for_the_end();
        let seen = book.lock().expect("no panic").iter().flatten().next_back().copied();
        if load.random.bool() {
            // From here on everything is queued, so the next connection begins with it at the latest.
            let page = book.lock().expect("no panic").len();
            queued_from.push((page, load.accepted() + 1));
        }
        server = Some(load.restart(|| serve(bed, address, &book)));
        load.receive_beyond(seen);
    }
    load.end(|| book.lock().expect("no panic").clone(), &queued_from);
}

fn assert_book(pages: &[Vec<u64>], acknowledged: &[u64], queued_from: &[(usize, u64)]) {
    for page in pages {
        assert!(page.windows(2).all(|two| two[0] + 1 == two[1]), "a connection has no gaps");
    }
    let seen: Vec<u64> = pages.iter().flatten().copied().collect();
    assert!(seen.windows(2).all(|two| two[0] < two[1]), "nothing comes twice or out of order");
    assert!(acknowledged.windows(2).all(|two| two[0] < two[1]), "nor do acknowledgements");
    let missing = acknowledged.iter().find(|number| seen.binary_search(number).is_err());
    assert_eq!(missing, None, "acknowledged and not seen");
    for (page, first_max) in queued_from {
        let first = pages[*page..].iter().flatten().next().expect("the next connection brings something");
        assert!(first <= first_max, "queued from {first_max}, sent from {first}");
    }
}

fn assert_events(log: &[(Instant, LinkEvent)], restarts: &[Range<Instant>]) {
    let mut before = String::from("reconnecting 0");
    for (_, event) in log {
        let now = short(event);
        let in_order = match (before.split_once(' '), now.split_once(' ')) {
            (Some(("reconnecting", planned)), Some(("connecting", begun))) => planned == begun,
            (Some(("connecting", _)), None) => now == "connected" || now == "failed",
            (None, None) => before == "connected" && now == "disconnected",
            (None, Some(("reconnecting", _))) => before == "failed" || before == "disconnected",
            _ => false,
        };
        assert!(in_order, "{before}, then {now}");
        before = now;
    }
    assert_eq!(before, "disconnected", "the close comes last");
    let late: Vec<Duration> = restarts.iter().map(|restart| lateness(log, restart)).collect();
    println!("connected after the delay and {:?} at most", late.iter().max().expect("restarts"));
    assert!(late.iter().all(|late| *late < GRACE_MAX), "{late:?}");
    assert!(late.iter().filter(|late| **late > GRACE).count() <= LATE_MAX, "{late:?}");
    let retries = log.iter().filter(|(_, event)| matches!(event, LinkEvent::Reconnecting { attempt: 1, .. }));
    assert!(retries.count() >= RESTARTS, "the count begins anew after every useful connection");
}

/// How much later than the delay in force the client was back after a restart, which takes a while itself.
fn lateness(log: &[(Instant, LinkEvent)], restart: &Range<Instant>) -> Duration {
    let back = log.iter().position(|(at, event)| *at >= restart.start && short(event) == "connected");
    let back = back.expect("the client comes back");
    let delay = log[..back].iter().rev().find_map(|(_, event)| match event {
        LinkEvent::Reconnecting { delay, .. } => Some(*delay),
        _ => None,
    });
    log[back].0.saturating_duration_since(restart.end).saturating_sub(delay.unwrap_or_default())
}
