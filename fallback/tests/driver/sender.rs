//! Other threads.

use std::io::Write;
use std::sync::mpsc::{Sender as Channel, channel};

use qwormhole_proto::{CloseReason, Context, Handler, Message, PeerInfo, SendErrorKind, Sender};

use crate::support::{
    PATIENCE, Seen, engine, next, next_close, next_message, next_open, receive, reporters, send, serve, tcp,
};

#[test]
fn messages_of_another_thread_arrive_in_order_past_every_refusal() {
    const MESSAGES: u32 = 100_000;
    let (service, events) = reporters(false);
    let engine = engine(1, service);
    let mut peer = std::io::BufReader::new(tcp(serve(&engine)));
    let (_, sender) = next_open(&events);
    let (first_refusal, refused) = channel();
    let sending = std::thread::spawn(move || {
        for number in 0..MESSAGES {
            let mut message = [0; 200];
            message[..4].copy_from_slice(&number.to_be_bytes());
            while let Err(error) = sender.try_send(&message) {
                assert_eq!(error.kind, SendErrorKind::Full);
                let _ = first_refusal.send(());
                std::thread::yield_now();
            }
        }
        sender.close();
    });
    // What nobody reads fills the system's buffers, then the outbox, then what may be staged.
    refused.recv_timeout(PATIENCE).unwrap();
    drop(refused);
    for number in 0..MESSAGES {
        let message = receive(&mut peer);
        assert_eq!((message.len(), &message[..4]), (200, &number.to_be_bytes()[..]));
    }
    sending.join().unwrap();
    drop(peer);
    let reason = loop {
        match next(&events) {
            Seen::Drain => {}
            Seen::Close(reason) => break reason,
            other => panic!("expected the end, got {other:?}"),
        }
    };
    assert_eq!(reason, CloseReason::Local);
    assert_eq!(engine.stats()[0].messages_out, MESSAGES.into());
}

#[test]
fn senders_of_an_ended_connection_do_not_reach_the_next_one() {
    let (service, events) = reporters(false);
    let engine = engine(1, service);
    let addr = serve(&engine);
    let first = tcp(addr);
    let (_, old) = next_open(&events);
    drop(first);
    assert_eq!(next_close(&events), CloseReason::PeerClosed);
    let mut second = tcp(addr);
    let (_, new) = next_open(&events);
    old.close();
    old.abort();
    assert!(matches!(old.try_send("late").unwrap_err().kind, SendErrorKind::Closed(CloseReason::PeerClosed)));
    new.try_send("for the second").unwrap();
    assert_eq!(receive(&mut second), b"for the second");
    new.abort();
    assert_eq!(next_close(&events), CloseReason::Local);
}

/// Pauses after every message until another thread resumes it.
struct OneAtATime(Channel<(Vec<u8>, Sender)>);

impl Handler for OneAtATime {
    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        conn.pause();
        self.0.send((message.to_vec(), conn.sender())).unwrap();
    }
}

#[test]
fn a_paused_connection_delivers_nothing_until_it_is_resumed() {
    let (seen, events) = channel();
    let engine = engine(1, move |_: &PeerInfo| OneAtATime(seen.clone()));
    let mut peer = tcp(serve(&engine));
    let mut barrier = tcp(serve(&engine));
    for number in 0..100u8 {
        send(&mut peer, &[number; 5000]);
    }
    for number in 0..100u8 {
        let (message, sender) = events.recv_timeout(PATIENCE).unwrap();
        assert_eq!(message, [number; 5000]);
        if number == 50 {
            // Another connection's message goes all the way; by then more of this one would have come.
            send(&mut barrier, b"barrier");
            assert_eq!(events.recv_timeout(PATIENCE).unwrap().0, b"barrier");
            assert!(events.try_recv().is_err(), "a message while paused");
        }
        sender.resume();
    }
}

#[test]
fn a_paused_connection_makes_its_peer_wait() {
    let (seen, events) = channel();
    let engine = engine(1, move |_: &PeerInfo| OneAtATime(seen.clone()));
    let addr = serve(&engine);
    let mut peer = tcp(addr);
    send(&mut peer, b"pauses");
    let (_, paused) = events.recv_timeout(PATIENCE).unwrap();
    peer.set_nonblocking(true).unwrap();
    let mut written = 0;
    // Full, and still full after the shard had several turns.
    for _ in 0..5 {
        while let Ok(n) = peer.write(&[0; 64 << 10]) {
            written += n;
            assert!(written < 64 << 20, "the peer never has to wait");
        }
        let mut barrier = tcp(addr);
        send(&mut barrier, b"barrier");
        assert_eq!(events.recv_timeout(PATIENCE).unwrap().0, b"barrier");
    }
    let received = engine.stats()[0].bytes_in;
    assert!(received < 1 << 20, "{received} bytes received while paused, {written} written");
    assert_eq!(paused.close_reason(), None);
}

#[test]
fn a_flush_is_reached_when_the_system_has_everything() {
    let (service, events) = reporters(true);
    let engine = engine(1, service);
    let mut peer = tcp(serve(&engine));
    let (_, sender) = next_open(&events);
    sender.try_send("flushed").unwrap();
    let mark = sender.request_flush();
    let mut waiter = sender.waiter();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(std::future::poll_fn(|cx| waiter.poll_flushed(mark, cx))).unwrap();
    assert_eq!(receive(&mut peer), b"flushed");
    send(&mut peer, b"back");
    assert_eq!(next_message(&events), b"back");
}
