//! Graceful and immediate ends of a whole server.

use std::io::Write;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use qwormhole::{CloseReason, Context, Handler, Message, PeerInfo, Server};

use crate::support::peer::Peer;
use crate::support::record::{Answer, Seen, recorders};
use crate::support::resources::Resources;
use crate::support::{Bed, PATIENCE, frame, on_every_backend, scratch, transports};

on_every_backend!(
    alone: a_shutdown_delivers_what_was_queued,
    a_shutdown_cuts_a_stuck_peer_at_its_deadline,
    a_dropped_server_ends_at_once_and_leaves_nothing,
    a_shutdown_during_an_accept_storm_ends,
    an_idle_server_shuts_down_quickly,
);

/// Queues four megabytes at once.
struct Generous;

impl Handler for Generous {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        for n in 0..4u8 {
            conn.send(vec![n; 1 << 20]).expect("room for four");
        }
    }

    fn on_message(&mut self, _conn: &mut Context<'_>, _message: Message<'_>) {}
}

fn wait_for_connections(server: &Server, count: u64) {
    let start = Instant::now();
    while server.stats().iter().map(|shard| shard.connections).sum::<u64>() < count {
        assert!(start.elapsed() < PATIENCE, "connections are accepted in time");
        thread::yield_now();
    }
}

fn a_shutdown_delivers_what_was_queued(bed: Bed) {
    let before = Resources::now();
    let folder = scratch();
    for address in transports(&folder) {
        let server =
            bed.server().bind(address.as_str()).expect("bind").start(|_: &PeerInfo| Generous).expect("start");
        let peers: Vec<Peer> = (0..4).map(|_| Peer::connect(&server.local_addrs()[0])).collect();
        wait_for_connections(&server, 4);
        let readers: Vec<_> = peers
            .into_iter()
            .map(|mut peer| thread::spawn(move || peer.read_to_end().expect("no reset").len()))
            .collect();
        let report = server.shutdown(PATIENCE);
        for reader in readers {
            assert_eq!(reader.join().expect("read"), 4 * ((1 << 20) + 4), "{address}");
        }
        assert_eq!((report.drained, report.cut, report.leaked_bytes), (4, 0, 0));
        assert_eq!((report.buffers_out, report.ops_in_flight), (0, 0));
    }
    before.assert_back();
}

fn a_shutdown_cuts_a_stuck_peer_at_its_deadline(bed: Bed) {
    let before = Resources::now();
    let folder = scratch();
    for address in transports(&folder) {
        let server =
            bed.server().bind(address.as_str()).expect("bind").start(|_: &PeerInfo| Generous).expect("start");
        let _stuck = Peer::connect(&server.local_addrs()[0]);
        wait_for_connections(&server, 1);
        let start = Instant::now();
        let report = server.shutdown(Duration::from_millis(200));
        assert!(start.elapsed() < Duration::from_secs(3), "{address}: the deadline holds");
        assert_eq!((report.drained, report.cut, report.ops_in_flight), (0, 1, 0), "{address}");
    }
    before.assert_back();
}

fn a_dropped_server_ends_at_once_and_leaves_nothing(bed: Bed) {
    let before = Resources::now();
    let folder = scratch();
    for address in transports(&folder) {
        let (service, record) = recorders(Answer::Echo);
        let server = bed.server().bind(address.as_str()).expect("bind").start(service).expect("start");
        let mut peer = Peer::connect(&server.local_addrs()[0]);
        peer.send_frame(b"hello");
        assert_eq!(peer.recv_frame(), b"hello");
        drop(server);
        assert_eq!(record.next(), Seen::Open);
        assert_eq!(record.until_close().1, CloseReason::Shutdown);
        let _ = peer.read_to_end();
    }
    drop(folder);
    before.assert_back();
}

fn a_shutdown_during_an_accept_storm_ends(bed: Bed) {
    let before = Resources::now();
    let (service, _record) = recorders(Answer::Echo);
    let server = bed.server().bind("127.0.0.1:0").expect("bind").start(service).expect("start");
    let text = server.local_addrs()[0].to_string();
    let address = text.trim_start_matches("tcp://").to_owned();
    let (stop, stopped) = channel::<()>();
    let storm = thread::spawn(move || {
        let mut connected = 0u32;
        while stopped.try_recv().is_err() {
            if let Ok(mut stream) = std::net::TcpStream::connect(&address) {
                connected += 1;
                let _ = stream.write_all(&frame(b"x"));
            }
        }
        connected
    });
    wait_for_opened(&server, 50);
    let report = server.shutdown(PATIENCE);
    assert_eq!((report.leaked_bytes, report.ops_in_flight, report.buffers_out), (0, 0, 0));
    stop.send(()).expect("the storm listens");
    assert!(storm.join().expect("the storm ends") >= 50);
    before.assert_back();
}

fn wait_for_opened(server: &Server, count: u64) {
    let start = Instant::now();
    while server.stats().iter().map(|shard| shard.opened).sum::<u64>() < count {
        assert!(start.elapsed() < PATIENCE, "connections are accepted in time");
        thread::yield_now();
    }
}

fn an_idle_server_shuts_down_quickly(bed: Bed) {
    let before = Resources::now();
    let (service, _record) = recorders(Answer::Echo);
    let server = bed.server().bind("127.0.0.1:0").expect("bind").start(service).expect("start");
    let start = Instant::now();
    server.shutdown(PATIENCE);
    assert!(start.elapsed() < Duration::from_secs(2));
    before.assert_back();
}
