//! Bytes through the ring.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use qwormhole_proto::PeerAddr;
use socket2::{Domain, SockAddr, SockRef, Type};

use super::{bytes, next, pair, ring, transmit};
use crate::ring::{Op, Ring, RingSocket, Token};
use crate::sys::{RingOptions, Socket, UringRing};

/// Sends back what `socket` receives, until `total` bytes were sent.
fn echo(ring: &mut UringRing, socket: &Arc<Socket>, total: usize) {
    ring.push(Token(1), Op::Recv { socket: socket.clone() });
    let mut sent = 0;
    while sent < total {
        let done = next(ring);
        match done.token {
            Token(1) => {
                assert!(done.result > 0, "{done:?}");
                let transmit = transmit([bytes(&done)]);
                ring.push(Token(2), Op::Send { socket: socket.clone(), transmit });
                while let Some(done) = ring.pop() {
                    assert_eq!(done.token, Token(2));
                }
                let done = next(ring);
                assert_eq!(done.token, Token(2), "one message at a time");
                sent += done.result as usize;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn echoes_over_a_socket_pair() {
    let mut ring = ring(8);
    let (socket, mut peer) = pair();
    peer.write_all(b"hello").unwrap();
    echo(&mut ring, &socket, 5);
    let mut got = [0; 5];
    peer.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"hello");
}

#[test]
fn accepts_and_connects_over_tcp() {
    let mut ring = ring(8);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let listener = Arc::new(socket2::Socket::from(listener).into());
    let accept = ring.push(Token(1), Op::Accept { listener });
    let client: Arc<Socket> =
        Arc::new(socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap().into());
    ring.push(Token(2), Op::Connect { socket: client.clone(), addr: SockAddr::from(addr) });
    let mut accepted = None;
    for _ in 0..2 {
        let done = next(&mut ring);
        match done.token {
            Token(1) => {
                assert!(done.more);
                accepted = done.socket;
            }
            token => assert_eq!((token, done.result, done.more), (Token(2), 0, false)),
        }
    }
    let accepted = accepted.unwrap();
    assert_eq!(client.peer_info().addr, PeerAddr::Ip(addr));
    assert_ne!(accepted.peer_info().addr, PeerAddr::Unknown);
    let mut plain = TcpStream::connect(addr).unwrap();
    let done = next(&mut ring);
    assert!(done.more && done.token == Token(1));
    let socket = Arc::new(done.socket.unwrap());
    plain.write_all(b"over tcp").unwrap();
    echo(&mut ring, &socket, 8);
    let mut got = [0; 8];
    plain.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"over tcp");
    ring.cancel(accept);
    let done = next(&mut ring);
    assert_eq!((done.token, done.more, done.result), (Token(1), false, -libc::ECANCELED));
}

#[test]
fn a_mapped_peer_is_reported_as_it_is() {
    let mut ring = ring(8);
    let listener = socket2::Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
    listener.set_only_v6(false).unwrap();
    listener.bind(&"[::]:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    listener.listen(1).unwrap();
    let port = listener.local_addr().unwrap().as_socket().unwrap().port();
    ring.push(Token(1), Op::Accept { listener: Arc::new(listener.into()) });
    let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let accepted = next(&mut ring).socket.unwrap();
    let local = client.local_addr().unwrap();
    let PeerAddr::Ip(addr) = accepted.peer_info().addr else { panic!("no address") };
    assert!(addr.is_ipv6());
    assert_eq!((addr.ip().to_canonical(), addr.port()), (local.ip(), local.port()));
}

#[test]
fn a_unix_peer_shows_its_credentials() {
    let (socket, _peer) = pair();
    let info = socket.peer_info();
    assert_eq!(info.addr, PeerAddr::Unix(None));
    assert_eq!(info.credentials.unwrap().pid, Some(process::id() as i32));
}

#[test]
fn several_segments_leave_in_order_and_their_list_is_reused() {
    let mut ring = ring(8);
    let (socket, mut peer) = pair();
    for round in 0u8..100 {
        let parts: Vec<Vec<u8>> = (0..64).map(|i| vec![round ^ i; usize::from(i) + 1]).collect();
        let sent = parts.concat();
        ring.push(Token(1), Op::Send { socket: socket.clone(), transmit: transmit(parts) });
        let done = next(&mut ring);
        assert_eq!((done.result as usize, done.more), (sent.len(), false));
        assert_eq!(done.transmit.unwrap().segments().len(), 64, "the bytes come back");
        let mut got = vec![0; sent.len()];
        peer.read_exact(&mut got).unwrap();
        assert_eq!(got, sent);
    }
    assert_eq!(ring.table.idle(), (1, 1), "one slot and one gather list served all");
}

/// Bytes whose order shows.
fn pattern(len: usize) -> Vec<u8> {
    (0..len as u64).map(|i| (i.wrapping_mul(0x9e37_79b9) >> 7) as u8).collect()
}

#[test]
fn a_send_beyond_the_socket_buffer_goes_on_where_it_was_cut() {
    const LEN: usize = 4 << 20;
    let mut ring = ring(8);
    let (socket, mut peer) = pair();
    SockRef::from(&*socket).set_send_buffer_size(4096).unwrap();
    let sent = pattern(LEN);
    let mut transmit = transmit([sent[..LEN / 3].to_vec(), sent[LEN / 3..].to_vec()]);
    let mut got = vec![0; LEN];
    let mut read = 0;
    for round in 0..3 {
        let op = ring.push(Token(1), Op::Send { socket: socket.clone(), transmit });
        ring.enter(Some(Duration::ZERO)).unwrap();
        assert!(ring.pop().is_none(), "nobody reads: the send cannot be complete");
        // Part of it has left; the rest is cut off.
        peer.read_exact(&mut got[read..read + 1000]).unwrap();
        read += 1000;
        ring.cancel(op);
        let done = next(&mut ring);
        assert!(!done.more);
        // Later rounds may find the socket still full.
        assert!(done.result > 0 || round > 0 && done.result == -libc::ECANCELED, "{done:?}");
        transmit = done.transmit.unwrap();
        transmit.advance(usize::try_from(done.result).unwrap_or(0));
    }
    let reader = thread::spawn(move || {
        peer.read_exact(&mut got[read..]).unwrap();
        got
    });
    let left = transmit.len();
    ring.push(Token(2), Op::Send { socket, transmit });
    let done = next(&mut ring);
    assert_eq!((done.result as usize, done.more), (left, false));
    assert!(reader.join().unwrap() == sent, "bytes were lost, repeated or reordered");
}

#[test]
fn pushing_more_than_the_submission_queue_loses_nothing() {
    const PAIRS: usize = 10;
    const EACH: usize = 100;
    let mut ring = ring(8);
    let mut pairs: Vec<_> = (0..PAIRS).map(|_| pair()).collect();
    for i in 0..PAIRS * EACH {
        let socket = pairs[i % PAIRS].0.clone();
        ring.push(Token(i as u64), Op::Send { socket, transmit: transmit([vec![1]]) });
    }
    assert_eq!(ring.in_flight(), PAIRS * EACH);
    let mut seen = vec![false; PAIRS * EACH];
    for _ in 0..PAIRS * EACH {
        let done = next(&mut ring);
        assert_eq!((done.result, done.more), (1, false));
        assert!(!std::mem::replace(&mut seen[done.token.0 as usize], true), "completed twice");
    }
    for (_, peer) in &mut pairs {
        peer.read_exact(&mut [0; EACH]).unwrap();
    }
    assert_eq!(ring.in_flight(), 0);
}

#[test]
fn an_overflown_completion_queue_loses_nothing() {
    let options = RingOptions { buffers: 8, buffer_len: 1024, ..RingOptions::default() };
    let mut ring = UringRing::with_options(&options).unwrap();
    let (socket, mut peer) = pair();
    let total = 3 * ring.ring.params().cq_entries() as usize;
    let reader = thread::spawn(move || {
        let mut got = Vec::new();
        peer.read_to_end(&mut got).unwrap();
        got.len()
    });
    for i in 0..total {
        ring.push(Token(i as u64), Op::Send { socket: socket.clone(), transmit: transmit([vec![1]]) });
    }
    // Nothing is reaped although completions fill the queue and more.
    while ring.stats().overflows == 0 {
        ring.enter(Some(Duration::from_millis(1))).unwrap();
    }
    // Turns that do not wait get the rest as well.
    let start = Instant::now();
    let mut done = 0;
    while done < total {
        assert!(start.elapsed() < LONG, "{done} of {total} completions: {ring:?}");
        ring.enter(Some(Duration::ZERO)).unwrap();
        while let Some(completion) = ring.pop() {
            assert_eq!(completion.result, 1);
            done += 1;
        }
    }
    assert_eq!(ring.in_flight(), 0);
    drop((ring, socket));
    assert_eq!(reader.join().unwrap(), total);
}

#[test]
fn a_wake_from_another_thread_ends_the_wait() {
    let mut ring = ring(8);
    for _ in 0..100 {
        let wake = ring.waker();
        let other = thread::spawn(move || wake());
        let start = Instant::now();
        ring.enter(Some(LONG)).unwrap();
        assert!(start.elapsed() < LONG, "slept through a wake");
        assert!(ring.pop().is_none(), "wakes are not reported");
        other.join().unwrap();
    }
}

#[test]
fn a_wake_before_the_wait_is_not_lost() {
    let mut ring = ring(8);
    for _ in 0..10 {
        // Two in a row are one.
        (ring.waker())();
        (ring.waker())();
        let start = Instant::now();
        ring.enter(Some(LONG)).unwrap();
        assert!(start.elapsed() < LONG);
        assert!(ring.pop().is_none());
        let start = Instant::now();
        ring.enter(Some(Duration::from_millis(20))).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(20), "a wake that was seen wakes no more");
    }
}

#[test]
fn a_turn_without_work_makes_no_system_call() {
    let mut ring = ring(8);
    let (socket, mut peer) = pair();
    ring.push(Token(1), Op::Recv { socket });
    ring.enter(Some(Duration::ZERO)).unwrap();
    let before = (ring.fd.calls.get(), ring.stats().enters);
    for _ in 0..1000 {
        ring.enter(Some(Duration::ZERO)).unwrap();
        assert!(ring.pop().is_none());
    }
    assert_eq!((ring.fd.calls.get(), ring.stats().enters), before);
    peer.write_all(b"x").unwrap();
    // The kernel raises a flag; no wait is needed to see it.
    let done = (0..1_000_000).find_map(|_| {
        ring.enter(Some(Duration::ZERO)).unwrap();
        ring.pop()
    });
    assert_eq!(done.unwrap().result, 1);
}

#[test]
fn a_turn_that_submits_and_waits_is_one_system_call() {
    let mut ring = ring(8);
    let (socket, mut peer) = pair();
    ring.push(Token(1), Op::Recv { socket: socket.clone() });
    ring.enter(Some(Duration::ZERO)).unwrap();
    for _ in 0..100 {
        let before = ring.fd.calls.get();
        ring.push(Token(2), Op::Send { socket: socket.clone(), transmit: transmit([vec![1]]) });
        ring.enter(Some(LONG)).unwrap();
        assert_eq!(ring.pop().unwrap().token, Token(2));
        assert_eq!(ring.fd.calls.get(), before + 1);
        peer.read_exact(&mut [0]).unwrap();
    }
}

#[test]
fn the_longest_wait_is_a_wait() {
    let mut ring = ring(8);
    for wait in
        [Duration::MAX, Duration::from_secs(i64::MAX as u64 - 1_000_000_000), Duration::from_secs(1 << 40)]
    {
        (ring.waker())();
        ring.enter(Some(wait)).unwrap();
        assert!(ring.pop().is_none());
    }
}

#[test]
fn time_goes_on() {
    let mut ring = ring(8);
    let start = ring.now();
    ring.enter(Some(Duration::from_millis(5))).unwrap();
    assert!(ring.now().saturating_since(start) >= Duration::from_millis(5));
}

/// Far longer than anything here takes, far shorter than patience.
const LONG: Duration = Duration::from_secs(20);
