//! What a server does to all of its connections at once.

use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::thread;
use std::time::{Duration, Instant};

use qwormhole::{
    BroadcastPolicy, CloseReason, ConnId, Context, Handler, Limits, Message, PeerInfo, Priority,
    SendErrorKind, Server,
};

use crate::support::peer::Peer;
use crate::support::record::{Answer, recorders};
use crate::support::{Bed, PATIENCE, block_on, on_every_backend, scratch, transports};

on_every_backend!(
    a_broadcast_reaches_every_connection_of_every_shard_in_order,
    a_handler_passes_a_message_on_to_all_others,
    what_was_broadcast_before_a_shutdown_is_delivered,
    a_peer_that_does_not_read_misses_broadcasts_and_the_others_do_not,
    a_peer_that_does_not_read_is_closed_if_the_policy_says_so,
    a_peer_that_does_not_read_gets_the_newest_if_the_policy_says_so,
    a_broadcast_that_is_too_large_comes_back,
    a_connection_is_found_by_its_id_until_it_ends,
    a_listener_broadcasts_and_finds_connections,
);

pub(crate) fn wait_until(server: &Server, what: impl Fn(&Server) -> bool) {
    let start = Instant::now();
    while !what(server) {
        assert!(start.elapsed() < PATIENCE, "{:?}", server.snapshot());
        thread::yield_now();
    }
}

fn a_broadcast_reaches_every_connection_of_every_shard_in_order(bed: Bed) {
    let folder = scratch();
    for address in transports(&folder) {
        let (service, _record) = recorders(Answer::Nothing);
        let server =
            bed.server().shards(2).bind(address.as_str()).expect("bind").start(service).expect("start");
        let mut peers: Vec<Peer> = (0..20).map(|_| Peer::connect(&server.local_addrs()[0])).collect();
        wait_until(&server, |server| server.snapshot().connections == 20);
        for n in 0..50u32 {
            server.broadcast(vec![n as u8; 1 << (n % 16)]).expect("room");
        }
        for peer in &mut peers {
            for n in 0..50u32 {
                assert_eq!(peer.recv_frame(), vec![n as u8; 1 << (n % 16)], "{address}");
            }
        }
        wait_until(&server, |server| server.snapshot().messages_out == 20 * 50);
    }
}

/// Passes every message on to everybody but its sender.
struct Gossip(Arc<OnceLock<Weak<Server>>>);

impl Handler for Gossip {
    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        let server = self.0.get().and_then(Weak::upgrade).expect("set before the first message");
        let (id, priority) = (conn.id(), Priority::DEFAULT);
        server.broadcast_except(id, priority, BroadcastPolicy::Skip, message).expect("room");
    }
}

fn a_handler_passes_a_message_on_to_all_others(bed: Bed) {
    let cell = Arc::<OnceLock<Weak<Server>>>::default();
    let of_handlers = cell.clone();
    let server = bed
        .server()
        .shards(2)
        .bind("127.0.0.1:0")
        .expect("bind")
        .start(move |_: &PeerInfo| Gossip(of_handlers.clone()))
        .expect("start");
    let server = Arc::new(server);
    let mut peers: Vec<Peer> = (0..5).map(|_| Peer::connect(&server.local_addrs()[0])).collect();
    wait_until(&server, |server| server.snapshot().connections == 5);
    assert!(cell.set(Arc::downgrade(&server)).is_ok());
    peers[2].send_frame(b"psst");
    for (n, peer) in peers.iter_mut().enumerate().filter(|(n, _)| *n != 2) {
        assert_eq!(peer.recv_frame(), b"psst", "peer {n}");
    }
    peers[0].send_frame(b"over");
    assert_eq!(peers[2].recv_frame(), b"over", "its own message did not come back first");
    // A handler that still holds the server would end it on its own shard.
    let start = Instant::now();
    while Arc::strong_count(&server) > 1 {
        assert!(start.elapsed() < PATIENCE, "the handlers return");
        thread::yield_now();
    }
}

fn what_was_broadcast_before_a_shutdown_is_delivered(bed: Bed) {
    let (service, _record) = recorders(Answer::Nothing);
    let server = bed.server().shards(2).bind("127.0.0.1:0").expect("bind").start(service).expect("start");
    let peers: Vec<Peer> = (0..8).map(|_| Peer::connect(&server.local_addrs()[0])).collect();
    wait_until(&server, |server| server.snapshot().connections == 8);
    let readers: Vec<_> = peers
        .into_iter()
        .map(|mut peer| thread::spawn(move || peer.read_to_end().expect("no reset").len()))
        .collect();
    (0..4).for_each(|n| server.broadcast(vec![n; 1 << 20]).expect("room"));
    let report = server.shutdown(PATIENCE);
    assert_eq!((report.drained, report.cut), (8, 0));
    for reader in readers {
        assert_eq!(reader.join().expect("read"), 4 * ((1 << 20) + 4));
    }
}

/// A server with small outboxes, a peer that does not read, and one that does; both are open.
fn slow_and_quick(bed: Bed) -> (Server, Peer, Peer, crate::support::record::Record) {
    let mut limits = Limits::default();
    limits.max_backpressure_bytes = 1 << 20;
    limits.high_watermark_bytes = 512 << 10;
    limits.low_watermark_bytes = 256 << 10;
    let mut sockets = qwormhole::SocketOptions::default();
    sockets.send_buffer_bytes = Some(32 << 10);
    let (service, record) = recorders(Answer::Nothing);
    let server = bed.server().limits(limits).sockets(sockets);
    let server = server.bind("127.0.0.1:0").expect("bind").start(service).expect("start");
    let slow = Peer::connect(&server.local_addrs()[0]);
    let quick = Peer::connect(&server.local_addrs()[0]);
    wait_until(&server, |server| server.snapshot().connections == 2);
    (server, slow, quick, record)
}

/// Broadcasts numbered messages of 100 KiB, each once the quick peer has the one before. Enough to fill every
/// buffer of a peer that does not read, however far the system lets its receive buffer grow.
fn broadcast_numbered(server: &Server, quick: &mut Peer, policy: BroadcastPolicy) {
    for n in 0..ROUNDS {
        let mut payload = vec![7; 100 << 10];
        payload[..4].copy_from_slice(&n.to_be_bytes());
        server.broadcast_with(Priority::DEFAULT, policy, payload).expect("room");
        assert_eq!(number(&quick.recv_frame()), n, "the quick peer misses nothing");
    }
}

fn number(frame: &[u8]) -> u32 {
    assert_eq!(frame.len(), 100 << 10);
    assert!(frame[4..].iter().all(|byte| *byte == 7), "nothing is corrupted");
    u32::from_be_bytes(frame[..4].try_into().expect("four bytes"))
}

const ROUNDS: u32 = 200;

fn a_peer_that_does_not_read_misses_broadcasts_and_the_others_do_not(bed: Bed) {
    let (server, mut slow, mut quick, _record) = slow_and_quick(bed);
    broadcast_numbered(&server, &mut quick, BroadcastPolicy::Skip);
    wait_until(&server, |server| {
        server.snapshot().broadcasts_missed + server.snapshot().messages_out == u64::from(2 * ROUNDS)
    });
    let missed = server.snapshot().broadcasts_missed;
    assert!(missed > 0, "{:?}", server.snapshot());
    assert!(server.snapshot().backpressure_events >= 1);
    let got: Vec<u32> = (0..u64::from(ROUNDS) - missed).map(|_| number(&slow.recv_frame())).collect();
    assert!(got.is_sorted_by(|a, b| a < b), "in order: {got:?}");
    assert_eq!(got[0], 0, "those that had room when they came");
    server.broadcast("again").expect("room");
    assert_eq!(slow.recv_frame(), b"again", "it is served again once it reads");
    wait_until(&server, |server| server.snapshot().drain_events >= 1);
    let now = server.snapshot();
    assert_eq!(now.drain_events, now.backpressure_events, "one drain per crossing");
}

fn a_peer_that_does_not_read_is_closed_if_the_policy_says_so(bed: Bed) {
    let (server, mut slow, mut quick, record) = slow_and_quick(bed);
    broadcast_numbered(&server, &mut quick, BroadcastPolicy::Close);
    assert_eq!(record.until_close().1, CloseReason::Backpressure);
    wait_until(&server, |server| server.connection_count() == 1);
    // A cut may show as a reset.
    let _ = slow.read_to_end();
    server.broadcast("still here").expect("room");
    assert_eq!(quick.recv_frame(), b"still here");
}

fn a_peer_that_does_not_read_gets_the_newest_if_the_policy_says_so(bed: Bed) {
    let (server, mut slow, mut quick, _record) = slow_and_quick(bed);
    broadcast_numbered(&server, &mut quick, BroadcastPolicy::DropOldest);
    wait_until(&server, |server| server.snapshot().messages_out == u64::from(2 * ROUNDS));
    let missed = server.snapshot().broadcasts_missed;
    assert!(missed > 0, "{:?}", server.snapshot());
    let got: Vec<u32> = (0..u64::from(ROUNDS) - missed).map(|_| number(&slow.recv_frame())).collect();
    assert!(got.is_sorted_by(|a, b| a < b), "in order: {got:?}");
    assert_eq!((got[0], *got.last().expect("some")), (0, ROUNDS - 1), "what had left, and the newest");
}

fn a_broadcast_that_is_too_large_comes_back(bed: Bed) {
    let (server, ..) = slow_and_quick(bed);
    let refused = server.broadcast(vec![1; (4 << 20) + 1]).expect_err("too large");
    assert!(matches!(refused.kind, SendErrorKind::TooLarge { limit: 4_194_304, .. }));
    assert_eq!(refused.payload.len(), (4 << 20) + 1);
}

/// Tells its id to a list.
struct Named(Arc<Mutex<Vec<ConnId>>>);

impl Handler for Named {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        self.0.lock().expect("no panic").push(conn.id());
    }

    fn on_message(&mut self, _conn: &mut Context<'_>, _message: Message<'_>) {}
}

fn a_connection_is_found_by_its_id_until_it_ends(bed: Bed) {
    let ids = Arc::<Mutex<Vec<ConnId>>>::default();
    let named = ids.clone();
    let server = bed
        .server()
        .shards(2)
        .bind("127.0.0.1:0")
        .expect("bind")
        .start(move |_: &PeerInfo| Named(named.clone()))
        .expect("start");
    let mut peers = Vec::new();
    for n in 1..=6 {
        peers.push(Peer::connect(&server.local_addrs()[0]));
        wait_until(&server, |server| server.snapshot().connections == n);
    }
    let known = ids.lock().expect("no panic").clone();
    for (id, peer) in known.iter().zip(&mut peers) {
        let sender = block_on(server.connection(*id)).expect("it is open");
        assert_eq!(sender.id(), *id);
        sender.try_send(id.to_string()).expect("room");
        assert_eq!(peer.recv_frame(), id.to_string().as_bytes());
    }
    drop(peers.remove(0));
    wait_until(&server, |server| server.connection_count() == 5);
    assert!(block_on(server.connection(known[0])).is_none(), "it is over");
    assert!(block_on(server.connection(ConnId::new(200, 5, 5))).is_none(), "there is no such shard");
    assert!(block_on(server.connection(ConnId::new(0, 70_000, 0))).is_none(), "there was none ever");
    // More at once than may wait for a shard.
    let many = (0..5000).map(|_| server.connection(known[1]));
    let found = block_on(futures_util::future::join_all(many));
    assert!(found.iter().all(Option::is_some));
}

fn a_listener_broadcasts_and_finds_connections(bed: Bed) {
    let mut listener = bed.server().bind("127.0.0.1:0").expect("bind").listen().expect("listen");
    let mut peer = Peer::connect(&listener.local_addrs()[0]);
    let conn = block_on(listener.accept()).expect("one");
    listener.broadcast("to all").expect("room");
    assert_eq!(peer.recv_frame(), b"to all");
    let except = listener.broadcast_except(conn.id(), Priority(-1), BroadcastPolicy::Close, "others");
    except.expect("room");
    listener.broadcast_with(Priority(3), BroadcastPolicy::DropOldest, "again").expect("room");
    assert_eq!(peer.recv_frame(), b"again");
    let found = block_on(listener.connection(conn.id())).expect("open");
    found.try_send("found").expect("room");
    assert_eq!(peer.recv_frame(), b"found");
    assert_eq!((listener.connection_count(), listener.snapshot().connections), (1, 1));
    peer.write_all(b"\0\0\0\0").expect("write");
    drop(peer);
    block_on(listener.shutdown(Duration::from_secs(5)));
    assert!(block_on(listener.connection(conn.id())).is_none());
    let refused = listener.broadcast("nobody").expect_err("it is over");
    assert_eq!(refused.kind, SendErrorKind::Closed(CloseReason::Shutdown));
    assert_eq!(listener.connection_count(), 0);
}
