//! How connections end.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use qwormhole_proto::{CloseReason, Config, Context, Endpoint, FrameTooLarge, Handler, Message, PeerInfo};

use crate::support::{
    connect, ends_cleanly, engine, frame, listening, loopback, next_close, next_message, next_open, receive,
    reporters, send, serve, tcp,
};

#[test]
fn an_oversize_frame_closes_after_every_reply_has_arrived() {
    let (service, events) = reporters(true);
    let engine = engine(1, service);
    let mut peer = tcp(serve(&engine));
    next_open(&events);
    let replies = 200;
    let mut wire = Vec::new();
    for number in 0..replies {
        wire.extend(frame(&[number; 1000]));
    }
    // The announcement, and a good part of the frame that nobody will read: a reset would destroy replies.
    wire.extend(((4u32 << 20) + 1).to_be_bytes());
    wire.extend(vec![0; 1 << 20]);
    let mut writer = peer.try_clone().unwrap();
    let sending = std::thread::spawn(move || writer.write_all(&wire).unwrap());
    sending.join().unwrap();
    for number in 0..replies {
        assert_eq!(receive(&mut peer), [number; 1000]);
        assert_eq!(next_message(&events), [number; 1000]);
    }
    assert!(ends_cleanly(&mut peer));
    drop(peer);
    let expected = FrameTooLarge { len: (4 << 20) + 1, limit: 4 << 20 };
    assert_eq!(next_close(&events), CloseReason::FrameTooLarge(expected));
}

struct PanicsOnDemand;

impl Handler for PanicsOnDemand {
    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        assert!(&*message != b"panic", "asked to");
        conn.reply(message).unwrap();
    }
}

#[test]
fn a_panic_of_a_handler_closes_that_connection_only() {
    let engine = engine(1, |_: &PeerInfo| PanicsOnDemand);
    let addr = serve(&engine);
    let (mut doomed, mut other) = (tcp(addr), tcp(addr));
    send(&mut other, b"before");
    assert_eq!(receive(&mut other), b"before");
    send(&mut doomed, b"answered");
    send(&mut doomed, b"panic");
    assert_eq!(receive(&mut doomed), b"answered");
    assert!(ends_cleanly(&mut doomed));
    send(&mut other, b"after");
    assert_eq!(receive(&mut other), b"after");
    assert_eq!(engine.stats()[0].panics, 1);
}

#[test]
fn ends_of_the_peer_are_told_apart() {
    let (service, events) = reporters(false);
    let engine = engine(1, service);
    let addr = serve(&engine);
    let end = |bytes: &[u8], reset: bool| {
        let mut peer = connect(&addr.into());
        peer.write_all(bytes).unwrap();
        next_open(&events);
        if reset {
            peer.set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop(peer);
        next_close(&events)
    };
    assert_eq!(end(&[], false), CloseReason::PeerClosed);
    assert_eq!(end(&[0, 0, 0, 9, 1], false), CloseReason::PeerTruncated);
    assert_eq!(end(&[], true), CloseReason::PeerReset);
}

#[test]
fn a_frame_that_does_not_go_on_is_closed_at_its_deadline() {
    let (service, events) = reporters(false);
    let engine = engine(1, service);
    let (socket, addr) = listening(&loopback());
    let mut config = Config::default();
    config.limits.frame_timeout = Duration::from_millis(30);
    engine.listen(vec![socket], Endpoint::new(10), Arc::new(config)).unwrap();
    let mut peer = connect(&addr);
    peer.write_all(&[0, 0]).unwrap();
    next_open(&events);
    assert_eq!(peer.read(&mut [0]).unwrap(), 0, "the deadline passed");
    drop(peer);
    assert_eq!(next_close(&events), CloseReason::FrameTimeout);
}

#[test]
fn a_peer_that_never_ends_its_side_is_cut_after_the_linger_time() {
    let (service, events) = reporters(false);
    let engine = engine(1, service);
    let (socket, addr) = listening(&loopback());
    let mut config = Config::default();
    config.limits.linger_timeout = Duration::from_millis(30);
    engine.listen(vec![socket], Endpoint::new(10), Arc::new(config)).unwrap();
    let mut peer = connect(&addr);
    let (_, sender) = next_open(&events);
    sender.try_send("last words").unwrap();
    sender.close();
    assert_eq!(receive(&mut peer), b"last words");
    assert!(ends_cleanly(&mut peer));
    assert_eq!(next_close(&events), CloseReason::Local);
    assert_eq!(sender.close_reason(), Some(CloseReason::Local));
}
