//! How connections end: with a reason, once, and without destroying what was answered.

use std::io::{Read, Write};
use std::net::SocketAddr;

use qwormhole::{CloseReason, FrameTooLarge};

use crate::support::peer::Peer;
use crate::support::record::{Answer, Seen, recorders};
use crate::support::{Bed, frame, on_every_backend, scratch, transports};

on_every_backend!(
    an_oversize_frame_closes_after_everything_answered_has_arrived,
    a_panic_closes_its_own_connection_only,
    a_clean_end_and_a_truncated_one_are_told_apart,
    a_half_closed_peer_still_gets_its_replies,
    a_reset_is_reported,
    everything_is_counted_before_its_end_is_seen,
);

fn everything_is_counted_before_its_end_is_seen(bed: Bed) {
    let (service, _record) = recorders(Answer::Nothing);
    let server = bed.server().bind("127.0.0.1:0").expect("bind").start(service).expect("start");
    for n in 1..=500 {
        let mut peer = Peer::connect(&server.local_addrs()[0]);
        peer.send_frame(b"counted");
        peer.end();
        assert_eq!(peer.read_to_end().expect("a clean end"), [0; 0]);
        assert_eq!(server.stats().iter().map(|shard| shard.messages_in).sum::<u64>(), n);
    }
}

fn an_oversize_frame_closes_after_everything_answered_has_arrived(bed: Bed) {
    let folder = scratch();
    for address in transports(&folder) {
        let (service, record) = recorders(Answer::Echo);
        let server = bed.server().bind(address.as_str()).expect("bind").start(service).expect("start");
        let mut peer = Peer::connect(&server.local_addrs()[0]);
        let good: Vec<Vec<u8>> = (0..50u8).map(|n| vec![n; 4000]).collect();
        let mut wire: Vec<u8> = good.iter().flat_map(|message| frame(message)).collect();
        wire.extend(frame(&vec![9; (4 << 20) + 1]));
        let mut writer = peer.try_clone();
        // The rest of the oversize frame is still under way when the server gives up on it.
        let writing = std::thread::spawn(move || writer.write_all(&wire));
        for message in &good {
            assert_eq!(&peer.recv_frame(), message, "{address}");
        }
        let mut rest = [0; 1];
        assert_eq!(peer.read(&mut rest).expect("no reset"), 0, "{address}: a clean end follows the replies");
        let _ = writing.join().expect("the writer ends");
        drop(peer);
        let (messages, reason) = record.until_close();
        assert_eq!(messages, good);
        let too_large = FrameTooLarge { len: (4 << 20) + 1, limit: 4 << 20 };
        assert_eq!(reason, CloseReason::FrameTooLarge(too_large));
    }
}

fn a_panic_closes_its_own_connection_only(bed: Bed) {
    let folder = scratch();
    for address in transports(&folder) {
        let (service, _record) = recorders(Answer::PanicOn(b"boom"));
        let server = bed.server().bind(address.as_str()).expect("bind").start(service).expect("start");
        let mut honest = Peer::connect(&server.local_addrs()[0]);
        let mut other = Peer::connect(&server.local_addrs()[0]);
        honest.send_frame(b"one");
        assert_eq!(honest.recv_frame(), b"one");
        other.send_frame(b"fine");
        other.send_frame(b"boom");
        assert_eq!(other.read_to_end().expect("a clean end"), frame(b"fine"), "{address}");
        honest.send_frame(b"two");
        assert_eq!(honest.recv_frame(), b"two");
        assert_eq!(server.stats().iter().map(|shard| shard.panics).sum::<u64>(), 1);
    }
}

fn a_clean_end_and_a_truncated_one_are_told_apart(bed: Bed) {
    let folder = scratch();
    for address in transports(&folder) {
        for (wire, expected) in [
            (&b""[..], CloseReason::PeerClosed),
            (&[0, 0, 0, 1, 5], CloseReason::PeerClosed),
            (&[0, 0, 0], CloseReason::PeerTruncated),
            (&[0, 0, 0, 2, 5], CloseReason::PeerTruncated),
        ] {
            let (service, record) = recorders(Answer::Nothing);
            let server = bed.server().bind(address.as_str()).expect("bind").start(service).expect("start");
            let mut peer = Peer::connect(&server.local_addrs()[0]);
            peer.write_all(wire).expect("write");
            drop(peer);
            assert_eq!(record.until_close().1, expected, "{address}: {wire:?}");
            drop(server);
            assert!(record.is_silent(), "nothing follows the close");
        }
    }
}

fn a_half_closed_peer_still_gets_its_replies(bed: Bed) {
    let folder = scratch();
    for address in transports(&folder) {
        let (service, record) = recorders(Answer::Echo);
        let server = bed.server().bind(address.as_str()).expect("bind").start(service).expect("start");
        let mut peer = Peer::connect(&server.local_addrs()[0]);
        let wire: Vec<u8> = (0..200u8).flat_map(|n| frame(&[n; 1000])).collect();
        peer.write_all(&wire).expect("write");
        peer.end();
        assert!(peer.read_to_end().expect("a clean end") == wire, "{address}");
        assert_eq!(record.until_close().1, CloseReason::PeerClosed);
    }
}

fn a_reset_is_reported(bed: Bed) {
    // Unix sockets have no reset that a peer could ask for.
    for address in ["tcp://127.0.0.1:0", "tcp://[::1]:0"] {
        let (service, record) = recorders(Answer::Nothing);
        let server = bed.server().bind(address).expect("bind").start(service).expect("start");
        let text = server.local_addrs()[0].to_string();
        let address: SocketAddr = text.trim_start_matches("tcp://").parse().expect("numeric");
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).expect("socket");
        socket.connect(&address.into()).expect("connect");
        assert_eq!(record.next(), Seen::Open);
        socket.set_linger(Some(std::time::Duration::ZERO)).expect("linger");
        drop(socket);
        assert_eq!(record.until_close().1, CloseReason::PeerReset, "{address}");
    }
}
