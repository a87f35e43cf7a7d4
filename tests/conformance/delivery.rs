//! Messages arrive whole, once and in order, however the stream is cut.

use std::io::{BufReader, Write};
use std::sync::mpsc::channel;
use std::thread;

use qwormhole::{CloseReason, Context, Framing, Handler, Message, PeerInfo, Priority, SendErrorKind, Sender};

use crate::support::peer::{Peer, recv_frame};
use crate::support::record::{Answer, recorders};
use crate::support::{Bed, PATIENCE, frame, on_every_backend, scratch, transports};

on_every_backend!(
    an_echo_answers_every_split,
    a_message_larger_than_any_buffer_arrives_whole,
    without_framing_bytes_pass_as_they_are,
    a_backed_up_sender_goes_on_at_drain_and_nothing_is_lost,
    another_thread_sends_until_refused_and_goes_on,
    urgent_messages_overtake,
    a_paused_peer_is_slowed_down_and_nothing_is_lost,
    refusals_give_the_message_back,
);

fn an_echo_answers_every_split(bed: Bed) {
    let folder = scratch();
    for address in transports(&folder) {
        let (service, _record) = recorders(Answer::Echo);
        let server = bed.server().bind(address.as_str()).expect("bind").start(service).expect("start");
        let mut peer = Peer::connect(&server.local_addrs()[0]);
        let messages: Vec<Vec<u8>> = (0..20usize).map(|n| vec![n as u8; n * n]).collect();
        let wire: Vec<u8> = messages.iter().flat_map(|message| frame(message)).collect();
        for step in [1, 2, 3, 5, 7, 64, 1000, wire.len()] {
            for chunk in wire.chunks(step) {
                peer.write_all(chunk).expect("write");
            }
            for message in &messages {
                assert_eq!(&peer.recv_frame(), message, "{address}, {step} bytes at a time");
            }
        }
    }
}

fn a_message_larger_than_any_buffer_arrives_whole(bed: Bed) {
    let folder = scratch();
    for address in transports(&folder) {
        let (service, _record) = recorders(Answer::Echo);
        let server = bed.server().bind(address.as_str()).expect("bind").start(service).expect("start");
        let mut peer = Peer::connect(&server.local_addrs()[0]);
        let large: Vec<u8> = (0..4 << 20).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for _ in 0..3 {
            let mut writer = peer.try_clone();
            let copy = large.clone();
            let writing = thread::spawn(move || writer.send_frame(&copy));
            assert!(peer.recv_frame() == large, "{address}");
            writing.join().expect("written");
        }
    }
}

fn without_framing_bytes_pass_as_they_are(bed: Bed) {
    let folder = scratch();
    for address in transports(&folder) {
        let (service, record) = recorders(Answer::Echo);
        let server = bed
            .server()
            .bind(address.as_str())
            .expect("bind")
            .framing(Framing::None)
            .start(service)
            .expect("start");
        let mut peer = Peer::connect(&server.local_addrs()[0]);
        peer.write_all(&[0, 0, 0, 9, 1, 2, 3]).expect("write");
        peer.end();
        assert_eq!(peer.read_to_end().expect("end"), [0, 0, 0, 9, 1, 2, 3]);
        let (messages, reason) = record.until_close();
        assert_eq!((messages.concat(), reason), (vec![0, 0, 0, 9, 1, 2, 3], CloseReason::PeerClosed));
    }
}

/// Sends numbered 64 B messages one by one until refused, and goes on at the drain.
struct Flood {
    next: u64,
    end: u64,
    drains: u64,
}

impl Flood {
    fn pump(&mut self, conn: &mut Context<'_>) {
        while self.next < self.end {
            let mut message = [7; 64];
            message[..8].copy_from_slice(&self.next.to_be_bytes());
            match conn.send(&message) {
                Ok(()) => self.next += 1,
                Err(refused) => {
                    assert_eq!(refused.kind, SendErrorKind::Full);
                    return;
                }
            }
        }
        conn.close();
    }
}

impl Handler for Flood {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        self.pump(conn);
    }

    fn on_message(&mut self, _conn: &mut Context<'_>, _message: Message<'_>) {}

    fn on_drain(&mut self, conn: &mut Context<'_>) {
        self.drains += 1;
        self.pump(conn);
    }
}

/// Reads many at a time: a graceful close does not wait for ever until everything has left.
fn expect_numbers(peer: &mut Peer, end: u64) {
    let mut reader = BufReader::new(&mut *peer);
    for expected in 0..end {
        let message = recv_frame(&mut reader);
        assert_eq!(message.len(), 64);
        assert_eq!(message[..8], expected.to_be_bytes());
    }
    assert_eq!(reader.buffer(), [0; 0]);
    assert_eq!(peer.read_to_end().expect("a clean end"), [0; 0]);
}

const NUMBERS: u64 = 200_000;

fn a_backed_up_sender_goes_on_at_drain_and_nothing_is_lost(bed: Bed) {
    let folder = scratch();
    for address in transports(&folder) {
        let server = bed
            .server()
            .bind(address.as_str())
            .expect("bind")
            .start(|_: &PeerInfo| Flood { next: 0, end: NUMBERS, drains: 0 })
            .expect("start");
        expect_numbers(&mut Peer::connect(&server.local_addrs()[0]), NUMBERS);
    }
}

/// Hands its sender to the test.
struct GiveSender(std::sync::mpsc::Sender<Sender>);

impl Handler for GiveSender {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        self.0.send(conn.sender()).expect("the test listens");
    }

    fn on_message(&mut self, _conn: &mut Context<'_>, _message: Message<'_>) {}
}

fn another_thread_sends_until_refused_and_goes_on(bed: Bed) {
    let folder = scratch();
    for address in transports(&folder) {
        let (give, senders) = channel();
        let server = bed
            .server()
            .bind(address.as_str())
            .expect("bind")
            .start(move |_: &PeerInfo| GiveSender(give.clone()))
            .expect("start");
        let mut peer = Peer::connect(&server.local_addrs()[0]);
        let sender = senders.recv_timeout(PATIENCE).expect("on_open");
        let sending = thread::spawn(move || {
            for number in 0..NUMBERS {
                let mut message = [7; 64];
                message[..8].copy_from_slice(&number.to_be_bytes());
                if let Err(refused) = sender.try_send(&message) {
                    assert!(refused.is_retryable(), "{refused}");
                    sender.send_blocking(&message).expect("room comes back");
                }
            }
            sender.close();
        });
        expect_numbers(&mut peer, NUMBERS);
        sending.join().expect("sent");
    }
}

/// Queues messages of several priorities at once.
struct Urgent;

impl Handler for Urgent {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        for (priority, text) in [(0, "b"), (100, "e"), (0, "c"), (-100, "a"), (7, "d")] {
            conn.send_with(Priority(priority), text).expect("room");
        }
        conn.close();
    }

    fn on_message(&mut self, _conn: &mut Context<'_>, _message: Message<'_>) {}
}

fn urgent_messages_overtake(bed: Bed) {
    let folder = scratch();
    for address in transports(&folder) {
        let server =
            bed.server().bind(address.as_str()).expect("bind").start(|_: &PeerInfo| Urgent).expect("start");
        let wire = Peer::connect(&server.local_addrs()[0]).read_to_end().expect("a clean end");
        let expected: Vec<u8> =
            ["a", "b", "c", "d", "e"].iter().flat_map(|text| frame(text.as_bytes())).collect();
        assert_eq!(wire, expected);
    }
}

/// Pauses after every message; another thread resumes it.
struct Pausing {
    resume: std::sync::mpsc::Sender<Sender>,
    seen: std::sync::mpsc::Sender<u64>,
}

impl Handler for Pausing {
    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        let number = u64::from_be_bytes(message[..8].try_into().expect("a number"));
        self.seen.send(number).expect("the test listens");
        conn.pause();
        self.resume.send(conn.sender()).expect("the test listens");
    }
}

fn a_paused_peer_is_slowed_down_and_nothing_is_lost(bed: Bed) {
    let folder = scratch();
    for address in transports(&folder) {
        let (resume, paused) = channel::<Sender>();
        let (seen, numbers) = channel();
        let server = bed
            .server()
            .bind(address.as_str())
            .expect("bind")
            .start(move |_: &PeerInfo| Pausing { resume: resume.clone(), seen: seen.clone() })
            .expect("start");
        let mut peer = Peer::connect(&server.local_addrs()[0]);
        let wire: Vec<u8> = (0..2000u64).flat_map(|n| frame(&n.to_be_bytes())).collect();
        peer.write_all(&wire).expect("write");
        peer.end();
        for expected in 0..2000 {
            assert_eq!(numbers.recv_timeout(PATIENCE).expect("a message"), expected);
            assert!(numbers.try_recv().is_err(), "nothing is delivered while paused");
            paused.recv_timeout(PATIENCE).expect("paused").resume();
        }
    }
}

/// Probes every refusal of `send`.
struct Refused(std::sync::mpsc::Sender<Vec<SendErrorKind>>);

impl Handler for Refused {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        let large = vec![3; (4 << 20) + 1];
        let too_large = conn.send(large).expect_err("above the limit");
        assert_eq!(too_large.payload.len(), (4 << 20) + 1);
        while conn.send(&[0; 1000]).is_ok() {}
        while conn.send("kept").is_ok() {}
        let full = conn.send("kept").expect_err("full");
        assert_eq!(full.payload, "kept");
        conn.close();
        let closed = conn.send("late").expect_err("closing");
        assert_eq!(closed.payload, "late");
        self.0.send(vec![too_large.kind, full.kind, closed.kind]).expect("the test listens");
    }

    fn on_message(&mut self, _conn: &mut Context<'_>, _message: Message<'_>) {}
}

fn refusals_give_the_message_back(bed: Bed) {
    let folder = scratch();
    for address in transports(&folder) {
        let (tell, kinds) = channel();
        let server = bed
            .server()
            .bind(address.as_str())
            .expect("bind")
            .start(move |_: &PeerInfo| Refused(tell.clone()))
            .expect("start");
        let _peer = Peer::connect(&server.local_addrs()[0]);
        let expected = [
            SendErrorKind::TooLarge { len: (4 << 20) + 1, limit: 4 << 20 },
            SendErrorKind::Full,
            SendErrorKind::Closed(CloseReason::Local),
        ];
        assert_eq!(kinds.recv_timeout(PATIENCE).expect("on_open"), expected, "{address}");
    }
}
