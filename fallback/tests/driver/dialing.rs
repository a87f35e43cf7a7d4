//! Connections that the engine makes.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use qwormhole_fallback::{Engine, SockAddr, Socket};
use qwormhole_proto::{CloseReason, ConnectError, PeerAddr};
use socket2::{Domain, Type};

use crate::support::{
    Echo, PATIENCE, Reporter, Seen, dead_port, dial, echoes, engine, loopback, next, next_close,
    next_message, next_open, options, patient, receive, reporters, send, serve, tcp,
};

/// A reporting handler for one dial.
fn reporter() -> (Reporter, std::sync::mpsc::Receiver<Seen>) {
    let (seen, events) = std::sync::mpsc::channel();
    (Reporter { seen, echo: true }, events)
}

fn client() -> Engine<impl qwormhole_proto::Service<Handler = Reporter>> {
    let (service, _) = reporters(true);
    engine(1, service)
}

#[test]
fn a_client_and_a_server_talk_over_two_shards() {
    let (service, events) = reporters(true);
    let engine = engine(2, service);
    let addr = serve(&engine);
    for _ in 0..2 {
        let (handler, client_events) = reporter();
        let (dial, _failed) = dial(vec![addr.into()], Reporter { echo: false, ..handler });
        engine.connect(dial);
        let (info, sender) = next_open(&client_events);
        assert_eq!(info.addr, PeerAddr::Ip(addr));
        next_open(&events);
        sender.try_send("question").unwrap();
        assert_eq!(next_message(&events), b"question");
        assert_eq!(next_message(&client_events), b"question");
        sender.close();
        assert_eq!(next_close(&client_events), CloseReason::Local);
        assert_eq!(next_close(&events), CloseReason::PeerClosed);
    }
    assert!(engine.stats().iter().all(|stats| stats.opened == 2), "a dial and a hand-out on each shard");
}

#[test]
fn a_refused_connection_is_reported_with_the_system_error() {
    let engine = client();
    let (_bound, addr) = dead_port();
    let (dial, failed) = dial(vec![addr], reporter().0);
    engine.connect(dial);
    match failed.recv_timeout(PATIENCE).unwrap() {
        ConnectError::Failed(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused),
        other => panic!("{other}"),
    }
}

#[test]
fn no_address_and_impossible_sockets_are_reported() {
    let engine = client();
    let (nowhere, failed) = dial(Vec::new(), reporter().0);
    engine.connect(nowhere);
    assert!(matches!(failed.recv_timeout(PATIENCE).unwrap(), ConnectError::NoAddress));
    let (mut broken, failed) = dial(vec![loopback()], reporter().0);
    broken.open_socket = Arc::new(|_| panic!("asked to"));
    engine.connect(broken);
    assert!(matches!(failed.recv_timeout(PATIENCE).unwrap(), ConnectError::Failed(_)));
}

#[test]
fn a_dead_first_address_does_not_hide_the_second() {
    let engine = client();
    let (_bound, dead) = dead_port();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let alive = listener.local_addr().unwrap();
    let (handler, events) = reporter();
    let (dial, failed) = dial(vec![dead, alive.into()], handler);
    engine.connect(dial);
    let mut peer = listener.accept().unwrap().0;
    assert_eq!(next_open(&events).0.addr, PeerAddr::Ip(alive));
    send(&mut peer, b"second");
    assert_eq!(receive(&mut peer), b"second");
    assert!(failed.try_recv().is_err());
}

/// A listener whose queue is full: on Linux further connections hang.
#[cfg(target_os = "linux")]
fn hanging() -> (Vec<Socket>, SockAddr) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&loopback()).unwrap();
    listener.listen(0).unwrap();
    let addr = listener.local_addr().unwrap();
    let mut keep = vec![listener];
    for _ in 0..4 {
        let filler = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        filler.set_nonblocking(true).unwrap();
        let _ = filler.connect(&addr);
        keep.push(filler);
    }
    (keep, addr)
}

#[cfg(target_os = "linux")]
#[test]
fn a_hanging_first_address_is_overtaken_by_the_second() {
    let engine = client();
    let (_keep, hangs) = hanging();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let alive = listener.local_addr().unwrap();
    let (handler, events) = reporter();
    let (dial, _failed) = dial(vec![hangs, alive.into()], handler);
    let begun = Instant::now();
    engine.connect(dial);
    let _peer = listener.accept().unwrap();
    assert_eq!(next_open(&events).0.addr, PeerAddr::Ip(alive));
    assert!(begun.elapsed() >= Duration::from_millis(250), "the first address was not given its time");
}

#[cfg(target_os = "linux")]
#[test]
fn attempts_end_at_the_timeout_and_at_the_shutdown() {
    let engine = client();
    let (_keep, hangs) = hanging();
    let (mut short, failed) = dial(vec![hangs.clone()], reporter().0);
    short.timeout = Some(Duration::from_millis(50));
    engine.connect(short);
    assert!(matches!(failed.recv_timeout(PATIENCE).unwrap(), ConnectError::TimedOut));
    let (mut long, failed) = dial(vec![hangs], reporter().0);
    let (begun, attempts) = std::sync::mpsc::channel();
    let open_socket = long.open_socket;
    long.open_socket = Arc::new(move |addr| {
        begun.send(()).unwrap();
        open_socket(addr)
    });
    engine.connect(long);
    attempts.recv_timeout(PATIENCE).unwrap();
    let report = engine.shutdown(PATIENCE);
    assert!(matches!(failed.try_recv().unwrap(), ConnectError::ShuttingDown));
    assert_eq!((report.drained, report.cut), (0, 0), "an attempt is not a connection");
}

#[test]
fn a_full_shard_reports_too_many_connections() {
    let mut options = options(1);
    options.shard_connections_max = 1;
    let engine = Engine::start(&options, |_| echoes).unwrap();
    let mut peer = tcp(serve(&engine));
    send(&mut peer, b"in");
    assert_eq!(receive(&mut peer), b"in");
    let (dial, failed) = dial(vec![dead_port().1], Echo);
    engine.connect(dial);
    assert!(matches!(failed.recv_timeout(PATIENCE).unwrap(), ConnectError::TooManyConnections));
}

#[test]
fn a_panic_in_the_failure_report_leaves_the_shard_alive() {
    let mut options = options(1);
    options.shard_connections_max = 1;
    let engine = Engine::start(&options, |_| echoes).unwrap();
    let mut peer = tcp(serve(&engine));
    send(&mut peer, b"in");
    assert_eq!(receive(&mut peer), b"in");
    let (mut dial, _failed) = dial(vec![dead_port().1], Echo);
    dial.failed = Box::new(|_| panic!("asked to"));
    engine.connect(dial);
    send(&mut peer, b"alive");
    assert_eq!(receive(&mut peer), b"alive");
}

#[cfg(target_os = "linux")]
#[test]
fn a_unix_listener_without_room_is_asked_again() {
    let dir = tempfile::tempdir().unwrap();
    let addr = SockAddr::unix(dir.path().join("socket")).unwrap();
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    listener.bind(&addr).unwrap();
    listener.listen(0).unwrap();
    let filler = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    filler.connect(&addr).unwrap();
    let engine = client();
    let (mut short, failed) = dial(vec![addr.clone()], reporter().0);
    short.timeout = Some(Duration::from_millis(30));
    engine.connect(short);
    assert!(matches!(failed.recv_timeout(PATIENCE).unwrap(), ConnectError::TimedOut), "no room, no answer");
    let (handler, events) = reporter();
    let (dial, _failed) = dial(vec![addr], handler);
    engine.connect(dial);
    drop(listener.accept().unwrap());
    let mut peer: Socket = patient(listener.accept().unwrap().0);
    assert!(matches!(next(&events), Seen::Open(..)));
    send(&mut peer, b"there is room");
    assert_eq!(receive(&mut peer), b"there is room");
}
