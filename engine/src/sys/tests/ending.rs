//! Cancelling, closing, and starting again.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Type};

use super::alone::{alone, alone_as, open_descriptors};
use super::{next, pair, ring, transmit};
use crate::ring::{Op, Ring, Token};
use crate::sys::{RingOptions, Socket, UringRing};

#[test]
fn cancelling_a_send_returns_the_transmit() {
    let mut ring = ring(8);
    let (socket, _peer) = pair();
    SockRef::from(&*socket).set_send_buffer_size(4096).unwrap();
    let first =
        ring.push(Token(1), Op::Send { socket: socket.clone(), transmit: transmit([vec![1; 1 << 20]]) });
    ring.enter(Some(Duration::ZERO)).unwrap();
    assert!(ring.pop().is_none());
    // The socket is full, so this one has not sent anything.
    let second = ring.push(Token(2), Op::Send { socket, transmit: transmit([vec![2; 10]]) });
    ring.cancel(second);
    let done = next(&mut ring);
    assert_eq!((done.token, done.result, done.more), (Token(2), -libc::ECANCELED, false));
    assert_eq!(done.transmit.unwrap().segments()[0].as_slice(), [2; 10]);
    ring.cancel(first);
    let done = next(&mut ring);
    assert_eq!((done.token, done.more), (Token(1), false));
    assert_eq!(done.transmit.unwrap().len(), 1 << 20);
    assert_eq!(ring.in_flight(), 0);
}

#[test]
fn cancelling_ends_a_receive_whether_submitted_or_not() {
    let mut ring = ring(8);
    let (socket, _peer) = pair();
    for submitted in [true, false] {
        let op = ring.push(Token(1), Op::Recv { socket: socket.clone() });
        if submitted {
            ring.enter(Some(Duration::ZERO)).unwrap();
        }
        ring.cancel(op);
        ring.cancel(op);
        let done = next(&mut ring);
        assert_eq!((done.result, done.more), (-libc::ECANCELED, false), "submitted: {submitted}");
        assert_eq!(ring.in_flight(), 0);
    }
}

/// The end may come at any moment while the receive takes the data.
#[test]
fn an_end_right_behind_data_is_reported() {
    const ROUNDS: usize = 8000;
    let mut ring = ring(8);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let peers = std::thread::spawn(move || {
        for round in 0..ROUNDS {
            let mut peer = TcpStream::connect(addr).unwrap();
            SockRef::from(&peer).set_linger((round % 4 > 0).then_some(Duration::ZERO)).unwrap();
            peer.write_all(b"data").unwrap();
        }
    });
    for _ in 0..ROUNDS {
        let socket = Arc::new(Socket::from(socket2::Socket::from(listener.accept().unwrap().0)));
        ring.push(Token(1), Op::Recv { socket: socket.clone() });
        loop {
            let done = next(&mut ring);
            match done.result {
                1.. => assert!(done.more),
                result if result == -libc::ECANCELED => {
                    ring.push(Token(1), Op::Recv { socket: socket.clone() });
                }
                end => {
                    assert!([0, -libc::ECONNRESET].contains(&end));
                    break;
                }
            }
        }
        assert_eq!(ring.in_flight(), 0);
    }
    peers.join().unwrap();
    while ring.watches > 0 {
        ring.enter(Some(Duration::ZERO)).unwrap();
        assert!(ring.pop().is_none(), "every poll ends with its receive");
    }
}

#[test]
fn a_stale_name_cancels_nothing() {
    let mut ring = ring(8);
    let (socket, mut peer) = pair();
    let stale = ring.push(Token(1), Op::Recv { socket: socket.clone() });
    ring.cancel(stale);
    assert!(!next(&mut ring).more);
    // The same slot again.
    ring.push(Token(2), Op::Recv { socket });
    ring.cancel(stale);
    for _ in 0..3 {
        peer.write_all(b"x").unwrap();
        let done = next(&mut ring);
        assert_eq!((done.token, done.result, done.more), (Token(2), 1, true));
    }
}

/// A ring with one operation of each kind in flight, none of which can complete.
fn busy_ring() -> (UringRing, Vec<std::os::unix::net::UnixStream>) {
    let mut ring = ring(8);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    ring.push(Token(1), Op::Accept { listener: Arc::new(socket2::Socket::from(listener).into()) });
    let (receiving, recv_peer) = pair();
    ring.push(Token(2), Op::Recv { socket: receiving });
    let (sending, send_peer) = pair();
    SockRef::from(&*sending).set_send_buffer_size(4096).unwrap();
    let parts = [vec![0xaa; 1 << 20], vec![0xaa; 1 << 20]];
    ring.push(Token(3), Op::Send { socket: sending, transmit: transmit(parts) });
    // A backlog of one: the first connection fills it, the second waits.
    let full = socket2::Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    full.bind(&socket2::SockAddr::unix("").unwrap()).unwrap();
    full.listen(0).unwrap();
    for token in [4, 5] {
        let socket: Arc<Socket> =
            Arc::new(socket2::Socket::new(Domain::UNIX, Type::STREAM, None).unwrap().into());
        ring.push(Token(token), Op::Connect { socket, addr: full.local_addr().unwrap() });
    }
    (ring, vec![recv_peer, send_peer])
}

#[test]
fn a_ring_dropped_in_flight_leaves_nothing_behind() {
    if !alone("sys::tests::ending::a_ring_dropped_in_flight_leaves_nothing_behind") {
        return;
    }
    drop(busy_ring());
    let before = open_descriptors();
    for submit in [false, true] {
        let (mut ring, mut peers) = busy_ring();
        if submit {
            ring.enter(Some(Duration::ZERO)).unwrap();
            assert!(ring.in_flight() >= 3);
        }
        drop(ring);
        // Nothing holds the sockets any more, so their peers see the end at once.
        for peer in &mut peers {
            peer.set_nonblocking(true).unwrap();
            let mut got = vec![0; 4 << 20];
            let mut len = 0;
            loop {
                match peer.read(&mut got[len..]) {
                    Ok(0) => break,
                    Ok(n) => len += n,
                    Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                    Err(error) => panic!("the ring still holds the socket: {error}"),
                }
            }
            assert!(got[..len].iter().all(|byte| *byte == 0xaa), "memory was sent that was no longer ours");
        }
        drop(peers);
        assert_eq!(open_descriptors(), before, "submitted: {submit}");
    }
}

#[test]
fn a_closed_ring_takes_nothing_and_gives_nothing() {
    let (mut ring, _peers) = busy_ring();
    ring.enter(Some(Duration::ZERO)).unwrap();
    assert_eq!(ring.close(), 0);
    assert_eq!(ring.close(), 0, "closing twice is harmless");
    let (socket, mut peer) = pair();
    ring.push(Token(1), Op::Recv { socket });
    peer.write_all(b"x").unwrap();
    ring.enter(None).unwrap();
    assert!(ring.pop().is_none());
}

#[test]
fn what_the_kernel_does_not_confirm_is_leaked_and_reported() {
    let mut ring = ring(8);
    let (socket, _peer) = pair();
    // An operation that never reaches the kernel is one whose end never comes.
    let transmit = transmit([vec![1; 1000]]);
    let _ = ring.table.insert(Token(1), Op::Send { socket, transmit }, true);
    let start = Instant::now();
    assert_eq!(ring.close(), 8 * 1024 + 1000);
    assert!(start.elapsed() >= Duration::from_secs(1) && start.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_waker_outlives_its_ring() {
    let ring = ring(8);
    let wake = ring.waker();
    drop(ring);
    wake();
}

#[test]
fn a_thousand_rings_in_a_row_open_for_an_ordinary_user() {
    if !alone_as("sys::tests::ending::a_thousand_rings_in_a_row_open_for_an_ordinary_user", Some(65534)) {
        return;
    }
    limit_memlock(8 << 20);
    let start = Instant::now();
    for cycle in 0..1000 {
        let mut ring = UringRing::with_options(&RingOptions::default())
            .unwrap_or_else(|refusal| panic!("cycle {cycle}: {refusal}"));
        // The thread's table of rings is small: a place that is not given back is missing soon.
        assert!(ring.fd.is_registered(), "cycle {cycle}");
        let (socket, mut peer) = pair();
        ring.push(Token(1), Op::Recv { socket });
        peer.write_all(b"x").unwrap();
        assert_eq!(next(&mut ring).result, 1);
        assert_eq!(ring.close(), 0);
    }
    println!("1000 cycles took {:?}", start.elapsed());
}

#[test]
fn a_user_who_may_not_lock_memory_is_told_so() {
    if !alone_as("sys::tests::ending::a_user_who_may_not_lock_memory_is_told_so", Some(65534)) {
        return;
    }
    limit_memlock(0);
    let refusal = crate::probe::probe().unwrap_err();
    assert!(refusal.to_string().contains("the limit is 0 KiB"), "{refusal}");
}

/// Lowers the limit to what an ordinary user has; root is not bound by it.
fn limit_memlock(bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: the structure lives across the call; the test runs in a process of its own.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) }, 0);
}
