//! The ring against the real kernel.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use qwormhole_proto::{RecvBuffer, Segment, Transmit};
use socket2::SockAddr;

use super::{RingOptions, Socket, UringRing};
use crate::ring::{Completion, Op, Ring, RingSocket, Token};

pub(super) fn ring(buffers: u16) -> UringRing {
    UringRing::with_options(&RingOptions { buffers, buffer_len: 1024, ..RingOptions::default() }).unwrap()
}

pub(super) fn pair() -> (Arc<Socket>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Arc::new(socket2::Socket::from(OwnedFd::from(ours)).into()), theirs)
}

pub(super) fn transmit<B: Into<Bytes>>(parts: impl IntoIterator<Item = B>) -> Transmit {
    let mut transmit = Transmit::default();
    parts.into_iter().for_each(|part| transmit.push(Segment::Shared(part.into())));
    transmit
}

/// The next completion; panics when none comes.
pub(super) fn next(ring: &mut UringRing) -> Completion<UringRing> {
    for _ in 0..1000 {
        if let Some(done) = ring.pop() {
            return done;
        }
        ring.enter(Some(Duration::from_millis(10))).unwrap();
    }
    panic!("no completion: {ring:?}");
}

fn bytes(done: &Completion<UringRing>) -> Vec<u8> {
    done.buffer.as_ref().map(|buffer| buffer.as_slice().to_vec()).unwrap_or_default()
}

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
        Arc::new(socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap().into());
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
    assert_eq!(client.peer_info().addr, qwormhole_proto::PeerAddr::Ip(addr));
    assert_ne!(accepted.peer_info().addr, qwormhole_proto::PeerAddr::Unknown);
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
