//! Many bytes, little room.

use std::io::{BufReader, Write};
use std::sync::Arc;
use std::sync::mpsc::{Sender as Channel, channel};

use qwormhole_proto::{Config, Context, Endpoint, Handler, Message, PeerInfo};
use socket2::{SockRef, Socket};

use crate::support::{PATIENCE, connect, echoes, engine, frame, listening, receive, send, serve, tcp};

/// A listener and a peer with the smallest buffers the system gives. Unix sockets: with windows smaller than
/// its segments, TCP mostly waits for its timers.
#[cfg(unix)]
fn narrow() -> (Socket, Socket) {
    let dir = tempfile::tempdir().unwrap();
    let (socket, addr) = listening(&qwormhole_fallback::SockAddr::unix(dir.path().join("socket")).unwrap());
    let peer = connect(&addr);
    for narrow in [&socket, &peer] {
        narrow.set_send_buffer_size(4096).unwrap();
        narrow.set_recv_buffer_size(4096).unwrap();
    }
    (socket, peer)
}

fn payload(number: u32) -> Vec<u8> {
    let len = match number {
        n if n % 500 == 499 => 1 << 20,
        n if n % 10 == 9 => (n * 7919) % (64 << 10),
        n => (n * 131) % 4096,
    };
    (0..len).map(|at| (at * 31 + number * 17) as u8).collect()
}

#[cfg(unix)]
#[test]
fn a_stream_of_every_size_comes_back_unchanged_through_small_buffers() {
    const MESSAGES: u32 = 2_000;
    let engine = engine(1, echoes);
    let (socket, peer) = narrow();
    engine.listen(vec![socket], Endpoint::new(10), Arc::new(Config::default())).unwrap();
    let mut writer = peer.try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        for number in 0..MESSAGES {
            writer.write_all(&frame(&payload(number))).unwrap();
        }
    });
    let mut reader = BufReader::new(peer);
    for number in 0..MESSAGES {
        assert!(receive(&mut reader) == payload(number), "message {number} came back different");
    }
    sending.join().unwrap();
    let stats = engine.stats()[0];
    assert_eq!((stats.messages_in, stats.messages_out), (MESSAGES.into(), MESSAGES.into()));
    assert!(stats.short_sends > 0, "the buffers were large enough for everything");
}

/// Sends numbered messages until refused, and goes on at every drain.
struct Producer {
    next: u32,
    refused: Channel<u32>,
}

const PRODUCED: u32 = 300_000;

impl Producer {
    fn produce(&mut self, conn: &mut Context<'_>) {
        while self.next < PRODUCED {
            let mut message = [0; 64];
            message[..4].copy_from_slice(&self.next.to_be_bytes());
            if conn.send(&message).is_err() {
                let _ = self.refused.send(self.next);
                return;
            }
            self.next += 1;
        }
        conn.close();
    }
}

impl Handler for Producer {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        self.produce(conn);
    }

    fn on_message(&mut self, _conn: &mut Context<'_>, _message: Message<'_>) {}

    fn on_drain(&mut self, conn: &mut Context<'_>) {
        self.produce(conn);
    }
}

#[test]
fn a_handler_that_sends_until_refused_goes_on_at_the_drain() {
    let (refused, refusals) = channel();
    let engine = engine(1, move |_: &PeerInfo| Producer { next: 0, refused: refused.clone() });
    let mut peer = BufReader::new(tcp(serve(&engine)));
    for number in 0..PRODUCED {
        assert_eq!(receive(&mut peer)[..4], number.to_be_bytes());
    }
    assert!(refusals.try_iter().count() > 1, "never refused twice");
}

/// Keeps every message, and shows them all at the end.
struct Keeper {
    kept: Vec<bytes::Bytes>,
    shown: Channel<Vec<bytes::Bytes>>,
}

impl Handler for Keeper {
    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        if message.is_empty() {
            self.shown.send(std::mem::take(&mut self.kept)).unwrap();
        } else {
            let message = conn.lease(message);
            self.kept.push(message);
        }
    }
}

#[test]
fn leased_messages_stay_what_they_were_beyond_the_lease_budget() {
    let (shown, events) = channel();
    let engine = engine(1, move |_: &PeerInfo| Keeper { kept: Vec::new(), shown: shown.clone() });
    let mut peer = tcp(serve(&engine));
    for round in 0..2u32 {
        for number in 0..2_000 {
            send(&mut peer, &vec![(number + round) as u8; 10_000]);
        }
        send(&mut peer, b"");
        let kept = events.recv_timeout(PATIENCE).unwrap();
        assert_eq!(kept.len(), 2_000);
        for (number, message) in kept.iter().enumerate() {
            let byte = (number as u32 + round) as u8;
            assert!(
                message.len() == 10_000 && message.iter().all(|b| *b == byte),
                "message {number} changed"
            );
        }
    }
}

#[test]
fn a_busy_connection_does_not_starve_the_others() {
    let engine = engine(1, |_: &PeerInfo| Sink);
    let addr = serve(&engine);
    let mut busy = tcp(addr);
    SockRef::from(&busy).set_send_buffer_size(4 << 20).unwrap();
    let flooding = std::thread::spawn(move || {
        let flood = frame(&[0; 1000]).repeat(100);
        while busy.write_all(&flood).is_ok() {}
    });
    while engine.stats()[0].bytes_in < 10 << 20 {
        std::thread::yield_now();
    }
    let mut calm = tcp(addr);
    for _ in 0..200 {
        send(&mut calm, b"answer me");
        assert_eq!(receive(&mut calm), b"answered");
    }
    drop(engine);
    flooding.join().unwrap();
}

/// Answers questions, swallows the rest.
struct Sink;

impl Handler for Sink {
    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        if &*message == b"answer me" {
            conn.reply("answered").unwrap();
        }
    }
}
