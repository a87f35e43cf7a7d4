//! The end of an engine.

use std::io::Read;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use qwormhole_proto::{CloseReason, Config, Context, Endpoint, Handler, Message, PeerInfo};

use crate::support::{
    PATIENCE, Seen, connect, echoes, ends_cleanly, engine, listening, loopback, next_close, next_open,
    receive, reporters, send, serve, tcp,
};

/// Queues four megabytes when it opens.
struct Generous(std::sync::mpsc::Sender<CloseReason>);

const GIFTS: usize = 64;

impl Handler for Generous {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        for number in 0..GIFTS {
            conn.send(vec![number as u8; 64 << 10]).unwrap();
        }
    }

    fn on_message(&mut self, _conn: &mut Context<'_>, _message: Message<'_>) {}

    fn on_close(&mut self, _conn: &mut Context<'_>, reason: &CloseReason) {
        self.0.send(reason.clone()).unwrap();
    }
}

#[test]
fn what_is_queued_for_a_slow_reader_still_arrives() {
    let (closed, reasons) = channel();
    let engine = engine(1, move |_: &PeerInfo| Generous(closed.clone()));
    let (socket, addr) = listening(&loopback());
    socket.set_send_buffer_size(16 << 10).unwrap();
    engine.listen(vec![socket], Endpoint::new(10), Arc::new(Config::default())).unwrap();
    let mut peer = connect(&addr);
    // The first byte proves that the connection is open and its queue full.
    let mut first = [0];
    peer.read_exact(&mut first).unwrap();
    let ending = std::thread::spawn(move || engine.shutdown(PATIENCE));
    let mut header = [0; 3];
    peer.read_exact(&mut header).unwrap();
    assert_eq!([first[0], header[0], header[1], header[2]], (64u32 << 10).to_be_bytes());
    let mut payload = vec![1; 64 << 10];
    peer.read_exact(&mut payload).unwrap();
    assert!(payload.iter().all(|byte| *byte == 0));
    for number in 1..GIFTS {
        assert!(receive(&mut peer) == vec![number as u8; 64 << 10], "gift {number} differs");
    }
    assert!(ends_cleanly(&mut peer));
    drop(peer);
    let report = ending.join().unwrap();
    assert_eq!((report.drained, report.cut), (1, 0));
    assert_eq!(reasons.try_iter().collect::<Vec<_>>(), [CloseReason::Shutdown]);
}

#[test]
fn the_deadline_cuts_a_peer_that_does_not_read() {
    let (closed, reasons) = channel();
    let engine = engine(1, move |_: &PeerInfo| Generous(closed.clone()));
    let (socket, addr) = listening(&loopback());
    socket.set_send_buffer_size(16 << 10).unwrap();
    engine.listen(vec![socket], Endpoint::new(10), Arc::new(Config::default())).unwrap();
    let mut peer = connect(&addr);
    peer.read_exact(&mut [0]).unwrap();
    let report = engine.shutdown(Duration::from_millis(50));
    assert_eq!((report.drained, report.cut), (0, 1));
    assert_eq!(reasons.try_iter().collect::<Vec<_>>(), [CloseReason::Shutdown]);
}

#[test]
fn the_deadline_cuts_a_peer_that_does_not_end_its_side() {
    let engine = engine(1, echoes);
    let mut peer = tcp(serve(&engine));
    send(&mut peer, b"open");
    assert_eq!(receive(&mut peer), b"open");
    let report = engine.shutdown(Duration::from_millis(50));
    assert_eq!((report.drained, report.cut), (0, 1));
    assert!(ends_cleanly(&mut peer));
}

#[test]
fn every_shard_drains_and_nobody_gets_in_any_more() {
    let engine = engine(2, echoes);
    let addr = serve(&engine);
    let mut peers: Vec<_> = (0..20).map(|_| tcp(addr)).collect();
    for peer in &mut peers {
        send(peer, b"open");
        assert_eq!(receive(peer), b"open");
    }
    let ending = std::thread::spawn(move || engine.shutdown(PATIENCE));
    for peer in &mut peers {
        assert!(ends_cleanly(peer));
    }
    assert!(std::net::TcpStream::connect(addr).is_err(), "let in while the others drain");
    drop(peers);
    let report = ending.join().unwrap();
    assert_eq!((report.drained, report.cut, report.buffers_out), (20, 0, 0));
}

#[test]
fn dropping_the_engine_ends_every_connection_exactly_once() {
    let (service, events) = reporters(false);
    let engine = engine(2, service);
    let addr = serve(&engine);
    let peers: Vec<_> = (0..10).map(|_| tcp(addr)).collect();
    let senders: Vec<_> = peers.iter().map(|_| next_open(&events).1).collect();
    drop(engine);
    let ends: Vec<Seen> = events.try_iter().collect();
    assert!(ends.iter().all(|seen| matches!(seen, Seen::Close(CloseReason::Shutdown))), "{ends:?}");
    assert_eq!(ends.len(), 10);
    for sender in &senders {
        assert_eq!(sender.close_reason(), Some(CloseReason::Shutdown));
        sender.close();
        sender.resume();
    }
}

#[test]
fn a_handler_may_end_its_own_engine() {
    let (own, engines) = channel();
    let engines = Arc::new(std::sync::Mutex::new(engines));
    let (service, events) = reporters(false);
    let mut service = service;
    let engine = engine(1, {
        let engines = engines.clone();
        move |peer: &PeerInfo| Ender { engines: engines.clone(), inner: service(peer) }
    });
    let mut peer = tcp(serve(&engine));
    next_open(&events);
    own.send(Box::new(engine) as Box<dyn Send>).unwrap();
    send(&mut peer, b"end");
    assert_eq!(next_close(&events), CloseReason::Shutdown);
}

/// Drops what it finds, on the shard's own thread, at the first message.
struct Ender<H> {
    engines: Arc<std::sync::Mutex<std::sync::mpsc::Receiver<Box<dyn Send>>>>,
    inner: H,
}

impl<H: Handler> Handler for Ender<H> {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        self.inner.on_open(conn);
    }

    fn on_message(&mut self, _conn: &mut Context<'_>, _message: Message<'_>) {
        drop(self.engines.lock().unwrap().recv_timeout(PATIENCE).unwrap());
    }

    fn on_close(&mut self, conn: &mut Context<'_>, reason: &CloseReason) {
        self.inner.on_close(conn, reason);
    }
}

#[test]
fn a_shutdown_without_connections_returns_at_once() {
    let engine = engine(3, echoes);
    assert_eq!(engine.shutdown(Duration::MAX), qwormhole_proto::ShutdownReport::default());
    let (service, events) = reporters(false);
    drop(crate::support::engine(1, service));
    assert!(events.recv().is_err(), "the service is gone with its shard");
}
