//! Messages over every kind of socket.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use qwormhole_fallback::{SockAddr, Socket};

use crate::support::{connect, echoes, ends_cleanly, engine, loopback, receive, send, serve, serve_on, tcp};

fn exchange(mut peer: Socket) {
    for payload in [&b"hello"[..], b"", &[7; 100_000], b"last"] {
        send(&mut peer, payload);
        assert!(receive(&mut peer) == payload, "{} bytes came back different", payload.len());
    }
    peer.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(ends_cleanly(&mut peer));
}

fn echoes_on(addr: &SockAddr) {
    let engine = engine(1, echoes);
    exchange(connect(&serve_on(&engine, addr)));
    let stats = engine.stats();
    assert_eq!((stats[0].messages_in, stats[0].messages_out), (4, 4));
    engine.shutdown(Duration::from_secs(5));
}

#[test]
fn echoes_over_ipv4() {
    echoes_on(&loopback());
}

#[test]
fn echoes_over_ipv6() {
    echoes_on(&"[::1]:0".parse::<SocketAddr>().unwrap().into());
}

#[cfg(unix)]
#[test]
fn echoes_over_a_unix_socket() {
    let dir = tempfile::tempdir().unwrap();
    echoes_on(&SockAddr::unix(dir.path().join("socket")).unwrap());
}

#[test]
fn frames_that_arrive_byte_by_byte_are_whole_messages() {
    let engine = engine(1, echoes);
    let mut peer = tcp(serve(&engine));
    peer.set_nodelay(true).unwrap();
    for payload in [&b"split"[..], b"", b"again"] {
        for byte in crate::support::frame(payload) {
            peer.write_all(&[byte]).unwrap();
        }
    }
    for payload in [&b"split"[..], b"", b"again"] {
        assert_eq!(receive(&mut peer), payload);
    }
}

#[test]
fn works_inside_another_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let engine = engine(2, echoes);
        let mut peer = tcp(serve(&engine));
        send(&mut peer, b"inside");
        assert_eq!(receive(&mut peer), b"inside");
        drop(peer);
        engine.shutdown(Duration::from_secs(5));
    });
}
