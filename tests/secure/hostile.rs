//! Peers that break off, trickle, flood and never answer while a connection opens.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use qwormhole::handshake::{ClientHandshake, HandshakeAck, HandshakeFault, HandshakePolicy, Verifier};
use qwormhole::{
    Client, CloseReason, ConnectError, Framing, Limits, PeerInfo, Server, ServerBuilder, TlsOptions,
};
use socket2::SockRef;

use crate::support::attacker::encode;
use crate::support::certs::Authority;
use crate::support::peer::Peer;
use crate::support::record::{Answer, Record, Seen, recorders};
use crate::support::{Bed, PATIENCE, block_on, frame, on_every_backend, tls_peer};

on_every_backend!(
    pieces_of_one_byte_make_a_handshake,
    a_reset_after_the_handshake_leaves_nothing,
    honest_clients_get_in_among_six_hundred_silent_ones,
    a_slow_verifier_holds_little_and_loses_nothing,
    verifiers_that_hang_panic_or_come_too_late_harm_nobody,
    a_shutdown_ends_connections_in_every_phase_of_opening,
    a_dropped_server_ends_connections_in_every_phase_of_opening,
    a_client_gives_up_on_a_server_that_never_acknowledges,
    garbage_after_the_tls_handshake_ends_the_connection,
);

fn hello() -> Vec<u8> {
    encode(&ClientHandshake::new("1"))
}

fn policy() -> HandshakePolicy {
    HandshakePolicy::new("1")
}

/// A server that echoes, its record, and the reasons of those it did not let in.
fn start(server: ServerBuilder) -> (Server, Record, Receiver<CloseReason>) {
    let (service, record) = recorders(Answer::Echo);
    let (reject, rejected) = channel();
    let server = server.bind("127.0.0.1:0").expect("bind");
    let server = server.on_reject(move |_: &PeerInfo, reason| drop(reject.send(reason.clone())));
    (server.start(service).expect("start"), record, rejected)
}

fn with_deadline(server: ServerBuilder, deadline: Duration) -> ServerBuilder {
    let mut limits = Limits::default();
    limits.handshake_timeout = deadline;
    limits.linger_timeout = Duration::from_millis(200);
    server.limits(limits)
}

fn assert_clean(server: Server) {
    let stats = server.stats()[0];
    let report = server.shutdown(PATIENCE);
    assert_eq!((report.leaked_bytes, report.buffers_out, report.ops_in_flight), (0, 0, 0));
    assert_eq!(stats.panics, 0);
}

/// Waits until `done` holds.
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}

fn pieces_of_one_byte_make_a_handshake(bed: Bed) {
    for framing in [Framing::LengthPrefixed, Framing::None] {
        let (server, record, _) = start(bed.server().handshake(policy()).framing(framing));
        let mut peer = Peer::connect(&server.local_addrs()[0]);
        let wire = match framing {
            Framing::None => [hello(), b"data".to_vec()].concat(),
            _ => [frame(&hello()), frame(b"data")].concat(),
        };
        for byte in wire {
            peer.write_all(&[byte]).expect("write");
        }
        let expected = if framing == Framing::None { b"data".to_vec() } else { frame(b"data") };
        let mut echo = vec![0; expected.len()];
        peer.read_exact(&mut echo).expect("an echo");
        assert_eq!(echo, expected);
        assert_eq!(record.next(), Seen::Open);
        drop(peer);
        assert_eq!(record.until_close().0.concat(), b"data");
        assert_clean(server);
    }
}

fn a_reset_after_the_handshake_leaves_nothing(bed: Bed) {
    const TIMES: u64 = 200;
    let (server, record, rejected) = start(bed.server().handshake(policy()));
    let address = server.local_addrs()[0].socket_addr().expect("numeric");
    for n in 0..TIMES {
        let mut stream = TcpStream::connect(address).expect("connect");
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("linger");
        let wire = frame(&hello());
        // Some break off in the middle.
        let len = if n % 4 == 0 { wire.len() / 2 } else { wire.len() };
        stream.write_all(&wire[..len]).expect("write");
    }
    wait_until("all are over", || {
        let stats = server.stats()[0];
        stats.closed + stats.rejected == TIMES && stats.connections == 0
    });
    let stats = server.stats()[0];
    let all: Vec<Seen> = (0..2 * stats.opened).map(|_| record.next()).collect();
    assert_eq!(all.iter().filter(|seen| **seen == Seen::Open).count() as u64, stats.opened);
    assert_eq!(all.iter().filter(|seen| matches!(seen, Seen::Close(_))).count() as u64, stats.closed);
    assert!(record.is_silent());
    assert_eq!(rejected.try_iter().count() as u64, stats.rejected);
    assert_clean(server);
}

fn honest_clients_get_in_among_six_hundred_silent_ones(bed: Bed) {
    let server = with_deadline(bed.server().handshake(policy()), PATIENCE * 10);
    let (server, _record, rejected) = start(server);
    let address = &server.local_addrs()[0];
    let mut silent: Vec<Peer> = (0..600).map(|_| Peer::connect(address)).collect();
    let client = Client::builder().backend(bed.backend).handshake(ClientHandshake::new("1").ask_ack());
    let client = client.build().expect("build");
    let mut honest = Vec::new();
    for n in 0..50 {
        silent.push(Peer::connect(address));
        let mut conn = block_on(client.connect(address)).expect("an honest client gets in");
        block_on(conn.send(format!("{n}"))).expect("send");
        assert_eq!(block_on(conn.recv()).expect("open").expect("echo"), format!("{n}"));
        honest.push(conn);
    }
    let overload = |reason: &CloseReason| *reason == CloseReason::HandshakeOverload;
    // The bound is 512 per shard, and an honest client takes a place while it opens.
    let (least, most) = (650 - 512, 650 - 512 + 1);
    let told: Vec<_> = (0..least).map(|_| rejected.recv_timeout(PATIENCE).expect("made room")).collect();
    assert!(told.iter().all(overload));
    let more: Vec<_> = rejected.try_iter().collect();
    assert!(more.iter().all(overload) && told.len() + more.len() <= most, "{}", told.len() + more.len());
    for conn in &mut honest {
        block_on(conn.send("still here")).expect("send");
        assert_eq!(block_on(conn.recv()).expect("open").expect("echo"), "still here");
    }
    drop(silent);
    wait_until("the silent ones are gone", || server.stats()[0].rejected == 650);
    assert_clean(server);
}

/// Answers when it is told to.
#[derive(Clone, Default)]
struct Gate(Arc<Mutex<(Option<bool>, Vec<Waker>)>>);

impl Gate {
    fn verifier(&self) -> Verifier {
        let gate = self.clone();
        Verifier::future(move |_, _| {
            let gate = gate.clone();
            std::future::poll_fn(move |cx| {
                let mut state = gate.0.lock().expect("not poisoned");
                if let Some(answer) = state.0 {
                    return Poll::Ready(answer);
                }
                state.1.push(cx.waker().clone());
                Poll::Pending
            })
        })
    }

    fn asked(&self) -> usize {
        self.0.lock().expect("not poisoned").1.len()
    }

    fn answer(&self, answer: bool) {
        let mut state = self.0.lock().expect("not poisoned");
        state.0 = Some(answer);
        let wakers = std::mem::take(&mut state.1);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

fn a_slow_verifier_holds_little_and_loses_nothing(bed: Bed) {
    const FRAMES: u32 = 10_000;
    let gate = Gate::default();
    let server = bed.server().handshake(policy().verifier(gate.verifier()));
    let (server, record, _) = start(with_deadline(server, PATIENCE * 2));
    let mut peer = Peer::connect(&server.local_addrs()[0]);
    peer.send_frame(&hello());
    let mut writer = peer.try_clone();
    let message = |n: u32| vec![n as u8; 1000 + n as usize % 50];
    let writing = thread::spawn(move || (0..FRAMES).for_each(|n| writer.send_frame(&message(n))));
    wait_until("the verifier is asked", || gate.asked() == 1);
    // The writer stands still when the kernel's buffers are full, so nothing more can come.
    let mut before = u64::MAX;
    wait_until("the stream stands still", || {
        thread::sleep(Duration::from_millis(50));
        let now = server.stats()[0].bytes_in;
        std::mem::replace(&mut before, now) == now
    });
    let taken = server.stats()[0].bytes_in;
    assert!(taken < 2 << 20, "{taken} bytes were taken of a peer that is not let in yet");
    assert_eq!(server.stats()[0].opened, 0);
    gate.answer(true);
    for n in 0..FRAMES {
        assert!(peer.recv_frame() == message(n), "frame {n}");
    }
    writing.join().expect("written");
    drop(peer);
    assert_eq!(record.until_close().0.len(), FRAMES as usize);
    assert_clean(server);
}

fn verifiers_that_hang_panic_or_come_too_late_harm_nobody(bed: Bed) {
    let hang = Verifier::future(|_, _| std::future::pending());
    let panic_at_once =
        Verifier::future(|_, _| -> std::future::Ready<bool> { std::panic::resume_unwind(Box::new("asked")) });
    let panic_later = Verifier::future(|_, _| async { std::panic::resume_unwind(Box::new("polled")) });
    let panicked = CloseReason::Handshake(HandshakeFault::VerifierPanicked);
    for (verifier, expected) in [
        (hang, CloseReason::HandshakeTimeout),
        (panic_at_once, panicked.clone()),
        (panic_later, panicked),
        (Verifier::sync(|_, _| std::panic::resume_unwind(Box::new("asked"))), {
            CloseReason::Handshake(HandshakeFault::VerifierPanicked)
        }),
    ] {
        let server = bed.server().handshake(policy().verifier(verifier));
        let (server, record, rejected) = start(with_deadline(server, Duration::from_millis(300)));
        let mut peer = Peer::connect(&server.local_addrs()[0]);
        peer.write_all(&[frame(&hello()), frame(b"data")].concat()).expect("write");
        assert!(peer.read_to_end().expect("no reset").is_empty());
        drop(peer);
        assert_eq!(rejected.recv_timeout(PATIENCE), Ok(expected));
        assert!(record.is_silent());
        assert_clean(server);
    }
    let gate = Gate::default();
    let server = bed.server().handshake(policy().verifier(gate.verifier()));
    let (server, record, rejected) = start(with_deadline(server, Duration::from_millis(300)));
    let mut peer = Peer::connect(&server.local_addrs()[0]);
    peer.send_frame(&hello());
    drop(peer);
    rejected.recv_timeout(PATIENCE).expect("the peer is gone, or it is too late");
    gate.answer(true);
    let mut next = Peer::connect(&server.local_addrs()[0]);
    next.write_all(&[frame(&hello()), frame(b"data")].concat()).expect("write");
    assert_eq!(next.recv_frame(), b"data");
    assert_eq!(record.next(), Seen::Open);
    assert!(rejected.try_recv().is_err());
    assert_clean(server);
}

/// Connections of a TLS server that are silent, in the middle of a ClientHello, silent after TLS, in the middle of
/// their handshake, and verified.
fn in_every_phase(bed: Bed) -> (Server, Record, Receiver<CloseReason>, Gate, Vec<Box<dyn Send>>) {
    let authority = Authority::new("authority");
    let identity = authority.issue(&["127.0.0.1"]);
    let gate = Gate::default();
    let server = bed.server().handshake(policy().verifier(gate.verifier()));
    let server = server.tls(TlsOptions::new().key(&*identity.key).cert(&*identity.cert));
    let (server, record, rejected) = start(with_deadline(server, PATIENCE));
    let address = server.local_addrs()[0].clone();
    let connect = || TcpStream::connect(address.socket_addr().expect("numeric")).expect("connect");
    let mut peers: Vec<Box<dyn Send>> = vec![Box::new(connect())];
    let mut partial = connect();
    partial.write_all(b"\x16\x03\x01\x02\x00\x01").expect("write");
    peers.push(Box::new(partial));
    let config = tls_peer::trusting(authority.pem());
    for handshake in [&b""[..], &frame(&hello())[..20], &frame(&hello())] {
        let mut peer = tls_peer::connect(&address, &config);
        peer.flush().expect("TLS");
        peer.write_all(handshake).expect("write");
        peers.push(Box::new(peer));
    }
    wait_until("the last one is verified", || gate.asked() == 1);
    (server, record, rejected, gate, peers)
}

fn a_shutdown_ends_connections_in_every_phase_of_opening(bed: Bed) {
    let (server, record, rejected, gate, peers) = in_every_phase(bed);
    let start = Instant::now();
    let report = server.shutdown(Duration::from_secs(5));
    assert!(start.elapsed() < Duration::from_secs(3), "they end by themselves: {:?}", start.elapsed());
    assert_eq!((report.leaked_bytes, report.buffers_out, report.ops_in_flight), (0, 0, 0));
    gate.answer(true);
    assert_eq!(rejected.iter().collect::<Vec<_>>(), vec![CloseReason::Shutdown; peers.len()]);
    assert!(record.is_silent());
}

fn a_dropped_server_ends_connections_in_every_phase_of_opening(bed: Bed) {
    let (server, record, rejected, gate, peers) = in_every_phase(bed);
    drop(server);
    gate.answer(true);
    assert_eq!(rejected.iter().count(), peers.len(), "each is told once");
    assert!(record.is_silent());
}

fn a_client_gives_up_on_a_server_that_never_acknowledges(bed: Bed) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("bound").to_string();
    let mut limits = Limits::default();
    limits.handshake_timeout = Duration::from_millis(300);
    let client = Client::builder().backend(bed.backend).limits(limits);
    let client = client.handshake(ClientHandshake::new("1").ask_ack()).build().expect("build");
    let timeout = CloseReason::HandshakeTimeout;
    let unasked = CloseReason::Handshake(HandshakeFault::Unacknowledged);
    let ack = HandshakeAck::default().encode();
    for (answer, expected) in [
        (Vec::new(), timeout.clone()),
        (frame(&ack)[..10].to_vec(), timeout),
        (frame(b"hello"), unasked.clone()),
        (frame(&[b'['; 1 << 16]), unasked),
    ] {
        let accepting = listener.try_clone().expect("clone");
        let serving = thread::spawn(move || {
            let (mut stream, _) = accepting.accept().expect("accept");
            stream.write_all(&answer).expect("write");
            let mut all = Vec::new();
            stream.read_to_end(&mut all).expect("no reset");
            all
        });
        let refused = block_on(client.connect(address.as_str())).expect_err("never acknowledged");
        let ConnectError::Closed { reason, .. } = refused else { panic!("{refused}") };
        assert_eq!(reason, expected);
        assert!(serving.join().expect("served").starts_with(b"\0\0\0"), "the handshake, and a clean end");
    }
}

fn garbage_after_the_tls_handshake_ends_the_connection(bed: Bed) {
    let authority = Authority::new("authority");
    let identity = authority.issue(&["127.0.0.1"]);
    let options = TlsOptions::new().key(&*identity.key).cert(&*identity.cert);
    let (server, record, rejected) = start(bed.server().tls(options).handshake(policy()));
    let address = &server.local_addrs()[0];
    let config = tls_peer::trusting(authority.pem());
    for opened in [true, false] {
        let mut peer = tls_peer::connect(address, &config);
        peer.flush().expect("TLS");
        if opened {
            peer.write_all(&frame(&hello())).expect("write");
            peer.write_all(&frame(b"data")).expect("write");
            let mut echo = [0; 8];
            peer.read_exact(&mut echo).expect("an echo");
        }
        peer.get_mut().write_all(&[0x17, 3, 3, 0, 20, 0xff].repeat(50)).expect("write");
        assert!(peer.read(&mut [0; 1]).is_err(), "an alert");
        drop(peer);
        let reason = match opened {
            true => record.until_close().1,
            false => rejected.recv_timeout(PATIENCE).expect("rejected"),
        };
        assert!(matches!(reason, CloseReason::Tls(_)), "{reason:?}");
    }
    assert!(record.is_silent() && rejected.try_recv().is_err());
    assert_clean(server);
}
