use super::*;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use crate::close::{Action, CloseReason};
use crate::config::{Config, TlsRole};
use crate::context::Context;
use crate::handler::Handler;
use crate::id::ConnId;
use crate::message::{Message, RecvBuffer};
use crate::owner::Owner;
use crate::peer::{PeerAddr, PeerInfo};
use crate::remote::Sender;
use crate::session::Session;
use crate::tls::{ClientTls, NoFiles, ServerTls, TlsFault, TlsOptions, TlsVersion};

#[derive(Default)]
struct Seen {
    events: Vec<String>,
    sender: Option<Sender>,
    drains: usize,
    pause: bool,
}

struct Player(Rc<RefCell<Seen>>);

impl Handler for Player {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        let mut seen = self.0.borrow_mut();
        seen.events.push("open".into());
        seen.sender = Some(conn.sender());
        if seen.pause {
            conn.pause();
        }
    }

    fn on_message(&mut self, _conn: &mut Context<'_>, message: Message<'_>) {
        self.0.borrow_mut().events.push(String::from_utf8_lossy(&message).into_owned());
    }

    fn on_drain(&mut self, _conn: &mut Context<'_>) {
        self.0.borrow_mut().drains += 1;
    }
}

/// A session that was connected to, and the peer's side of TLS.
struct Bench {
    session: Session<Player>,
    local: ShardLocal,
    seen: Rc<RefCell<Seen>>,
    peer: TlsFilter,
    /// What the peer decrypted, and how its side of TLS ended.
    received: Vec<u8>,
    fault: Option<TlsFault>,
}

impl Bench {
    fn new(version: TlsVersion) -> Self {
        Self::of(version, Config::default())
    }

    fn of(version: TlsVersion, mut config: Config) -> Self {
        let (client, server) = ends(version);
        config.tls = Some(TlsRole::Server(server));
        let (seen, mut local) = (Rc::<RefCell<Seen>>::default(), ShardLocal::default());
        let owner = Owner::handler(Player(seen.clone()));
        let peer = PeerInfo::new(PeerAddr::Unknown);
        let mut session = Session::new(ConnId::new(0, 1, 0), peer, Arc::new(config), owner);
        session.open(&mut local);
        let peer = TlsFilter::client(&client, "worm.test").unwrap();
        Self { session, local, seen, peer, received: Vec::new(), fault: None }
    }

    fn open(mut self) -> Self {
        (0..4).for_each(|_| self.exchange());
        assert_eq!(self.events(), ["open"]);
        self
    }

    fn events(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.borrow_mut().events)
    }

    /// What the peer has to say arrives, and the answers reach it.
    fn exchange(&mut self) {
        let records = self.peer_output();
        if !records.is_empty() {
            self.feed(&records);
        }
        while let Some(transmit) = self.session.poll_transmit(&mut self.local) {
            self.complete(transmit, usize::MAX);
        }
    }

    fn peer_output(&mut self) -> Vec<u8> {
        let mut records = Vec::new();
        self.peer.write_tls(&mut records);
        records
    }

    fn feed(&mut self, records: &[u8]) {
        self.session.handle_bytes(&mut self.local, &Chunk(records));
    }

    /// The kernel takes up to `max` bytes, and the peer gets them.
    fn complete(&mut self, transmit: Transmit, max: usize) {
        assert!(!transmit.is_empty(), "an empty submission");
        let taken = transmit.len().min(max);
        let wire: Vec<u8> =
            transmit.segments().iter().flat_map(|segment| segment.as_slice().to_vec()).take(taken).collect();
        let mut rest = &wire[..];
        while !rest.is_empty() && self.fault.is_none() {
            self.fault = self.peer.read_tls(&mut rest).err();
            while let plain @ [_, ..] = self.peer.plaintext() {
                let len = plain.len();
                self.received.extend_from_slice(plain);
                self.peer.consume(len);
            }
        }
        self.session.handle_transmitted(&mut self.local, transmit, Ok(taken));
    }

    fn poll(&mut self) -> Option<Transmit> {
        self.session.poll_transmit(&mut self.local)
    }

    fn sender(&self) -> Sender {
        self.seen.borrow().sender.clone().unwrap()
    }

    /// Another thread sends.
    fn send(&mut self, payload: &[u8]) {
        self.sender().try_send(payload.to_vec()).unwrap();
        self.session.handle_remote(&mut self.local);
    }

    fn reason(&self) -> Option<&CloseReason> {
        self.session.connection().close_reason()
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

fn ends(version: TlsVersion) -> (ClientTls, ServerTls) {
    let key = rcgen::KeyPair::generate().unwrap();
    let cert = rcgen::CertificateParams::new(["worm.test".into()]).unwrap().self_signed(&key).unwrap();
    let client = TlsOptions::new().versions([version]).dangerous().accept_any_certificate();
    let server = TlsOptions::new().cert(cert.pem()).key(key.serialize_pem());
    (ClientTls::new(&client, &NoFiles).unwrap(), ServerTls::new(&server, &NoFiles).unwrap())
}

fn frame(payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32).to_be_bytes()[..], payload].concat()
}

const BOTH: [TlsVersion; 2] = [TlsVersion::Tls12, TlsVersion::Tls13];

#[test]
fn what_is_queued_when_the_peer_is_cut_off_still_leaves() {
    for version in BOTH {
        let mut bench = Bench::new(version).open();
        bench.send(b"queued");
        bench.session.handle_eof(&mut bench.local);
        assert_eq!(bench.reason(), Some(&CloseReason::Tls(TlsFault::Truncated)));
        bench.exchange();
        assert_eq!(bench.received, frame(b"queued"));
        assert!(bench.peer.peer_has_closed(), "and the peer is told that it is all");
        assert_eq!(bench.session.poll_action(&bench.local), Some(Action::Close));
    }
}

#[test]
fn keys_that_are_used_up_end_the_connection() {
    let mut bench = Bench::new(TlsVersion::Tls12).open();
    bench.session.conn.secure.as_mut().unwrap().filter.limit_records(20);
    let mark = bench.sender().request_flush();
    bench.session.handle_remote(&mut bench.local);
    for number in 0..40 {
        if bench.session.connection().is_open() {
            bench.send(&[number; 100]);
            bench.exchange();
        }
    }
    let later = bench.sender().request_flush();
    bench.session.handle_remote(&mut bench.local);
    assert_eq!(bench.reason(), Some(&CloseReason::Tls(TlsFault::KeysUsedUp)));
    assert!(bench.peer.peer_has_closed());
    assert_eq!(bench.received.len() % 104, 0);
    assert_eq!(bench.session.poll_action(&bench.local), Some(Action::ShutdownWrite), "nothing waits");
    let mut cx = TaskContext::from_waker(Waker::noop());
    assert_eq!(bench.sender().waiter().poll_flushed(mark, &mut cx), Poll::Ready(Ok(())));
    assert!(!matches!(bench.sender().waiter().poll_flushed(later, &mut cx), Poll::Ready(Ok(()))));
}

#[test]
fn a_fault_does_not_wait_for_messages_of_other_threads() {
    for version in BOTH {
        let mut bench = Bench::new(version).open();
        bench.send(b"in flight");
        let transmit = bench.poll().unwrap();
        bench.sender().try_send("staged").unwrap();
        bench.feed(&[23, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20]);
        assert!(matches!(bench.reason(), Some(CloseReason::Tls(_))), "{:?}", bench.reason());
        bench.complete(transmit, 10);
        bench.exchange();
        assert_eq!(bench.received, frame(b"in flight"), "a record that was begun is completed");
        assert!(matches!(bench.fault, Some(TlsFault::Alert(_))), "{:?}", bench.fault);
        assert_eq!(bench.session.poll_action(&bench.local), Some(Action::ShutdownWrite));
        assert_eq!(bench.session.connection().queued_bytes(), 0);
    }
}

#[test]
fn a_flush_means_that_the_kernel_has_the_last_record() {
    let mut bench = Bench::new(TlsVersion::Tls13).open();
    bench.send(&[1; 40_000]);
    let mark = bench.sender().request_flush();
    bench.session.handle_remote(&mut bench.local);
    let mut waiter = bench.sender().waiter();
    let mut cx = TaskContext::from_waker(Waker::noop());
    loop {
        assert!(waiter.poll_flushed(mark, &mut cx).is_pending());
        assert_eq!(bench.session.connection().queued_bytes(), 40_004);
        let transmit = bench.poll().unwrap();
        let len = transmit.len();
        bench.complete(transmit, (len - 1).clamp(1, 7000));
        if len == 1 {
            break;
        }
    }
    assert_eq!(waiter.poll_flushed(mark, &mut cx), Poll::Ready(Ok(())));
    assert_eq!(bench.received, frame(&[1; 40_000]));
    assert_eq!(bench.session.connection().queued_bytes(), 0);
}

#[test]
fn what_came_with_the_last_of_the_handshake_waits_for_a_handler_that_pauses() {
    for version in BOTH {
        let mut bench = Bench::new(version);
        bench.seen.borrow_mut().pause = true;
        bench.peer.write(&frame(b"early"));
        bench.peer.write(&frame(b"late"));
        (0..4).for_each(|_| bench.exchange());
        assert_eq!(bench.events(), ["open"]);
        bench.sender().resume();
        bench.session.handle_remote(&mut bench.local);
        assert_eq!(bench.events(), ["early", "late"]);
    }
}

#[test]
fn the_end_of_a_peer_is_its_notification_and_nothing_after_it_counts() {
    for version in BOTH {
        let mut bench = Bench::new(version).open();
        bench.peer.write(&frame(b"last"));
        bench.peer.close_notify();
        let mut records = bench.peer_output();
        records.extend([23, 3, 3, 0, 3, 1, 2, 3]);
        bench.feed(&records);
        assert_eq!(bench.events(), ["last"]);
        assert_eq!(bench.reason(), Some(&CloseReason::PeerClosed));
        bench.exchange();
        assert_eq!(bench.session.poll_action(&bench.local), Some(Action::Close));
    }
}

#[test]
fn the_opening_ends_at_its_deadline_without_a_handler() {
    let mut bench = Bench::new(TlsVersion::Tls13);
    let hello = bench.peer_output();
    bench.feed(&hello[..hello.len() / 2]);
    bench.local.now = bench.local.now + Duration::from_secs(5);
    bench.session.handle_timeout(&mut bench.local);
    assert_eq!(bench.reason(), Some(&CloseReason::HandshakeTimeout));
    bench.exchange();
    bench.session.finish(&mut bench.local);
    assert_eq!((bench.local.stats.opened, bench.local.stats.rejected), (0, 1));
    assert!(bench.seen.borrow().events.is_empty());
}

#[test]
fn one_crossing_of_the_watermark_is_one_drain() {
    let mut config = Config::default();
    (config.limits.high_watermark_bytes, config.limits.low_watermark_bytes) = (50_000, 10_000);
    let mut bench = Bench::of(TlsVersion::Tls13, config).open();
    for _ in 0..3 {
        bench.send(&[0; 60_000]);
        while let Some(transmit) = bench.poll() {
            bench.complete(transmit, 1000);
        }
    }
    assert_eq!(bench.seen.borrow().drains, 3);
}
