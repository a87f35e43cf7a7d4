//! The receive pool under shortage, and leases that outlive their surroundings.

use std::io::Write;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use qwormhole_proto::RecvBuffer;

use super::{bytes, next, pair, ring};
use crate::ring::{Op, Ring, Token};

#[test]
fn exhaustion_ends_the_receive_and_returned_buffers_revive_it() {
    let mut ring = ring(8);
    let (socket, mut peer) = pair();
    ring.push(Token(1), Op::Recv { socket: socket.clone() });
    let mut held = Vec::new();
    for i in 0..8 {
        peer.write_all(&[i]).unwrap();
        let done = next(&mut ring);
        assert_eq!((done.result, bytes(&done)), (1, vec![i]));
        held.push(done);
    }
    assert_eq!((ring.free_buffers(), ring.buffers()), (0, 8));
    peer.write_all(&[8]).unwrap();
    let starved = if held.last().unwrap().more { next(&mut ring) } else { panic!("ended too early") };
    assert_eq!((starved.result, starved.more), (-libc::ENOBUFS, false));
    assert!(starved.buffer.is_none());
    // Armed on an empty pool it ends at once.
    ring.push(Token(2), Op::Recv { socket: socket.clone() });
    assert_eq!(next(&mut ring).result, -libc::ENOBUFS);
    held.truncate(5);
    assert_eq!(ring.free_buffers(), 3, "counted before they are provided");
    ring.push(Token(3), Op::Recv { socket });
    let done = next(&mut ring);
    assert_eq!((done.token, done.more, bytes(&done)), (Token(3), true, vec![8]));
    drop((done, held));
    ring.enter(Some(Duration::ZERO)).unwrap();
    assert_eq!(ring.free_buffers(), 8);
}

#[test]
fn at_most_half_of_the_buffers_are_leased() {
    let mut ring = ring(8);
    let (socket, mut peer) = pair();
    ring.push(Token(1), Op::Recv { socket });
    let mut leases = Vec::new();
    for i in 0..6 {
        peer.write_all(&[i, i]).unwrap();
        let buffer = next(&mut ring).buffer.unwrap();
        let lease = buffer.lease(0..1);
        assert_eq!(lease.is_some(), i < 4, "buffer {i}");
        // A second lease of the same buffer costs nothing.
        leases.extend(lease);
        leases.extend(buffer.lease(1..2));
        assert!(buffer.lease(1..3).is_none(), "beyond what was received");
    }
    assert_eq!((leases.len(), ring.free_buffers()), (8, 4));
    leases.drain(..2);
    assert_eq!(ring.free_buffers(), 5);
    peer.write_all(b"x").unwrap();
    assert!(next(&mut ring).buffer.unwrap().lease(0..1).is_some(), "the budget came back with the buffer");
}

#[test]
fn leased_bytes_stay_while_traffic_goes_on() {
    let mut ring = ring(8);
    let (socket, mut peer) = pair();
    ring.push(Token(1), Op::Recv { socket });
    let mut leases = Vec::new();
    for i in 0..4 {
        peer.write_all(&[i; 100]).unwrap();
        leases.push(next(&mut ring).buffer.unwrap().lease(0..100).unwrap());
    }
    for _ in 0..1000 {
        peer.write_all(&[0xff; 100]).unwrap();
        assert_eq!(bytes(&next(&mut ring)), [0xff; 100]);
    }
    for (i, lease) in leases.iter().enumerate() {
        assert_eq!(&lease[..], [i as u8; 100], "lease {i}");
    }
}

#[test]
fn a_lease_outlives_its_ring() {
    let mut ring = ring(8);
    let (socket, mut peer) = pair();
    ring.push(Token(1), Op::Recv { socket });
    peer.write_all(b"kept").unwrap();
    let lease = next(&mut ring).buffer.unwrap().lease(0..4).unwrap();
    drop(ring);
    // Would land in the pool if the kernel still received into it.
    let _ = peer.write_all(&[0xff; 1024]);
    let lease = thread::spawn(move || {
        assert_eq!(&lease[..], b"kept");
        lease
    });
    assert_eq!(&lease.join().unwrap()[..], b"kept");
}

#[test]
fn a_lease_dropped_elsewhere_wakes_a_starved_sleeping_ring() {
    let mut ring = ring(2);
    let (socket, mut peer) = pair();
    ring.push(Token(1), Op::Recv { socket: socket.clone() });
    for _ in 0..100 {
        peer.write_all(b"ab").unwrap();
        let first = next(&mut ring);
        let lease = first.buffer.as_ref().unwrap().lease(0..2).unwrap();
        peer.write_all(b"cd").unwrap();
        let second = next(&mut ring);
        peer.write_all(b"ef").unwrap();
        assert_eq!(next(&mut ring).result, -libc::ENOBUFS);
        drop(first);
        // The poll beside the receive ends with it, which would end the wait below.
        while ring.watches > 0 {
            ring.enter(Some(Duration::ZERO)).unwrap();
            assert!(ring.pop().is_none());
        }
        assert_eq!(ring.free_buffers(), 0);
        let other = thread::spawn(move || drop(lease));
        let start = Instant::now();
        ring.enter(Some(LONG)).unwrap();
        assert!(start.elapsed() < LONG, "slept although a buffer came back");
        assert!(ring.pop().is_none());
        assert_eq!(ring.free_buffers(), 1);
        ring.push(Token(1), Op::Recv { socket: socket.clone() });
        assert_eq!(bytes(&next(&mut ring)), b"ef");
        other.join().unwrap();
        drop(second);
    }
}

#[test]
fn leases_dropped_by_many_threads_all_come_back() {
    let mut ring = ring(8);
    let (socket, mut peer) = pair();
    ring.push(Token(1), Op::Recv { socket });
    let (leases, droppers) = crossbeam_channel::bounded::<bytes::Bytes>(16);
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let droppers = droppers.clone();
            thread::spawn(move || droppers.iter().for_each(drop))
        })
        .collect();
    for i in 0..2000u32 {
        peer.write_all(&i.to_le_bytes()).unwrap();
        let done = next(&mut ring);
        assert_eq!(bytes(&done), i.to_le_bytes());
        let buffer = done.buffer.unwrap();
        for _ in 0..3 {
            buffer.lease(0..4).into_iter().for_each(|lease| leases.send(lease).unwrap());
        }
    }
    drop(leases);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    ring.enter(Some(Duration::ZERO)).unwrap();
    assert_eq!(ring.free_buffers(), 8);
    assert_eq!(Arc::strong_count(ring.buffers.pool()), 1, "nobody holds the pool but the ring");
}

/// Far longer than anything here takes.
const LONG: Duration = Duration::from_secs(20);
