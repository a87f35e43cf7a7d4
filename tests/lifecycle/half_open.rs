//! A peer that ends its side and still listens.

use std::thread;

use qwormhole::{CloseReason, Context, Handler, Message, PeerInfo};

use crate::support::peer::Peer;
use crate::support::record::{Answer, Seen, recorders};
use crate::support::{Bed, block_on, on_every_backend};

on_every_backend!(
    a_half_open_connection_sends_until_it_closes,
    a_handler_that_does_not_care_closes_as_ever,
    a_connection_sees_the_end_and_goes_on_sending,
    half_a_frame_is_no_clean_end,
);

/// Answers the end with three messages, the last one from another thread.
struct Parting;

impl Handler for Parting {
    fn on_message(&mut self, _conn: &mut Context<'_>, _message: Message<'_>) {}

    fn on_peer_end(&mut self, conn: &mut Context<'_>) {
        conn.send("one").expect("the outbox is empty");
        let sender = conn.sender();
        thread::spawn(move || {
            block_on(sender.send("two")).expect("still open");
            block_on(sender.flush()).expect("still open");
            block_on(sender.send("three")).expect("still open");
            sender.close();
        });
    }
}

fn a_half_open_connection_sends_until_it_closes(bed: Bed) {
    let server = bed.server().allow_half_open(true).bind("127.0.0.1:0").expect("bind");
    let server = server.start(|_: &PeerInfo| Parting).expect("start");
    let mut peer = Peer::connect(&server.local_addrs()[0]);
    peer.end();
    for word in ["one", "two", "three"] {
        assert_eq!(peer.recv_frame(), word.as_bytes());
    }
    assert!(peer.read_to_end().expect("a clean end").is_empty());
}

fn a_handler_that_does_not_care_closes_as_ever(bed: Bed) {
    for (allow, expected) in [(true, CloseReason::Local), (false, CloseReason::PeerClosed)] {
        let (service, record) = recorders(Answer::Echo);
        let server = bed.server().allow_half_open(allow).bind("127.0.0.1:0").expect("bind");
        let server = server.start(service).expect("start");
        let mut peer = Peer::connect(&server.local_addrs()[0]);
        peer.send_frame(b"last");
        peer.end();
        assert_eq!(peer.read_to_end().expect("a clean end"), b"\0\0\0\x04last");
        assert_eq!(record.until_close(), (vec![b"last".to_vec()], expected), "half open: {allow}");
    }
}

fn a_connection_sees_the_end_and_goes_on_sending(bed: Bed) {
    let server = bed.server().allow_half_open(true).bind("127.0.0.1:0").expect("bind");
    let mut listener = server.listen().expect("listen");
    let mut peer = Peer::connect(&listener.local_addrs()[0]);
    peer.send_frame(b"question");
    peer.end();
    let mut conn = block_on(listener.accept()).expect("one");
    assert_eq!(&block_on(conn.recv()).expect("a message").expect("no error")[..], b"question");
    assert!(block_on(conn.recv()).is_none(), "the peer has ended");
    for n in 0..100u8 {
        block_on(conn.send(&[n; 10_000])).expect("the other direction is open");
    }
    drop(conn);
    for n in 0..100u8 {
        assert_eq!(peer.recv_frame(), [n; 10_000]);
    }
    assert!(peer.read_to_end().expect("a clean end").is_empty());
}

fn half_a_frame_is_no_clean_end(bed: Bed) {
    use std::io::Write;
    let (service, record) = recorders(Answer::Echo);
    let server = bed.server().allow_half_open(true).bind("127.0.0.1:0").expect("bind");
    let server = server.start(service).expect("start");
    let mut peer = Peer::connect(&server.local_addrs()[0]);
    peer.write_all(b"\0\0\0\x04la").expect("write");
    peer.end();
    assert_eq!(record.next(), Seen::Open);
    assert_eq!(record.until_close().1, CloseReason::PeerTruncated);
}
