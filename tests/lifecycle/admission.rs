//! Who may come in, and who is told of the others.

use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use qwormhole::{
    CloseReason, Context, Handler, Message, PeerAddr, PeerInfo, Server, ServerBuilder, Telemetry,
};

use crate::server_wide::wait_until;
use crate::support::peer::Peer;
use crate::support::record::{Answer, Seen, recorders};
use crate::support::{Bed, PATIENCE, on_every_backend};

on_every_backend!(
    a_peer_that_is_not_allowed_is_closed_at_once_and_reported,
    a_peer_without_a_place_is_reported_and_the_hook_not_asked,
    a_service_that_panics_is_reported_as_a_rejection,
    telemetry_is_told_when_it_changes_and_at_the_end,
    telemetry_needs_an_interval,
);

/// Rejections as the callback saw them.
fn reported(builder: ServerBuilder) -> (ServerBuilder, Receiver<(PeerInfo, CloseReason)>) {
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let builder = builder.on_reject(move |peer, reason| {
        let _ = tell.lock().expect("no panic").send((peer.clone(), reason.clone()));
    });
    (builder, told)
}

/// A peer whose own port is known before it connects.
fn connect_from(port: u16, server: &Server) -> std::net::TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("socket");
    socket.set_reuse_address(true).expect("reuse");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], port)).into()).expect("bind");
    let address = server.local_addrs()[0].to_string();
    let address: SocketAddr = address.trim_start_matches("tcp://").parse().expect("an address");
    socket.connect(&address.into()).expect("connect");
    let stream = std::net::TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    stream
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}

fn a_peer_that_is_not_allowed_is_closed_at_once_and_reported(bed: Bed) {
    let banned = free_port();
    let (service, record) = recorders(Answer::Echo);
    let allow = move |peer: &PeerInfo| !matches!(peer.addr, PeerAddr::Ip(addr) if addr.port() == banned);
    let (builder, rejected) = reported(bed.server().allow(allow));
    let server = builder.bind("127.0.0.1:0").expect("bind").start(service).expect("start");
    let mut refused = connect_from(banned, &server);
    assert_eq!(refused.read(&mut [0]).unwrap_or(0), 0, "closed at once");
    let (peer, reason) = rejected.recv_timeout(PATIENCE).expect("told");
    assert_eq!(peer.addr, PeerAddr::Ip(refused.local_addr().expect("bound")));
    assert_eq!(reason, CloseReason::NotAllowed);
    let mut welcome = Peer::connect(&server.local_addrs()[0]);
    welcome.send_frame(b"hi");
    assert_eq!(welcome.recv_frame(), b"hi");
    assert_eq!((record.next(), record.next()), (Seen::Open, Seen::Message(b"hi".to_vec())));
    assert!(record.is_silent(), "the refused peer had no handler");
    let now = server.snapshot();
    assert_eq!((now.refused, now.opened, server.connection_count()), (1, 1, 1));
}

fn a_peer_without_a_place_is_reported_and_the_hook_not_asked(bed: Bed) {
    let asked = Arc::new(Mutex::new(0));
    let count = asked.clone();
    let allow = move |_: &PeerInfo| {
        *count.lock().expect("no panic") += 1;
        true
    };
    let (service, _record) = recorders(Answer::Echo);
    let (builder, rejected) = reported(bed.server().max_connections(1).allow(allow));
    let server = builder.bind("127.0.0.1:0").expect("bind").start(service).expect("start");
    let _first = Peer::connect(&server.local_addrs()[0]);
    wait_until(&server, |server| server.snapshot().opened == 1);
    let second = connect_from(free_port(), &server);
    let (peer, reason) = rejected.recv_timeout(PATIENCE).expect("told");
    assert_eq!(peer.addr, PeerAddr::Ip(second.local_addr().expect("bound")));
    assert_eq!(reason, CloseReason::Refused);
    assert_eq!(*asked.lock().expect("no panic"), 1);
    wait_until(&server, |server| server.snapshot().refused == 1);
}

struct Never;

impl Handler for Never {
    fn on_message(&mut self, _conn: &mut Context<'_>, _message: Message<'_>) {}
}

fn a_service_that_panics_is_reported_as_a_rejection(bed: Bed) {
    let (builder, rejected) = reported(bed.server());
    let service = |_: &PeerInfo| -> Never { std::panic::resume_unwind(Box::new("no handler")) };
    let server = builder.bind("127.0.0.1:0").expect("bind").start(service).expect("start");
    let mut peer = Peer::connect(&server.local_addrs()[0]);
    assert_eq!(rejected.recv_timeout(PATIENCE).expect("told").1, CloseReason::HandlerPanicked);
    assert_eq!(peer.read(&mut [0]).unwrap_or(0), 0);
    wait_until(&server, |server| server.connection_count() == 0 && server.snapshot().rejected == 1);
    let now = server.snapshot();
    assert_eq!((now.rejected, now.refused, now.panics, now.opened), (1, 0, 1, 0));
}

fn telemetry_is_told_when_it_changes_and_at_the_end(bed: Bed) {
    let (tell, told) = channel::<Telemetry>();
    let interval = Duration::from_millis(5);
    let (service, _record) = recorders(Answer::Echo);
    let builder = bed.server().on_telemetry(interval, move |now| {
        tell.send(*now).expect("the test listens");
        assert!(now.messages_in != 1, "a panic is contained");
    });
    let server = builder.bind("127.0.0.1:0").expect("bind").start(service).expect("start");
    let mut peer = Peer::connect(&server.local_addrs()[0]);
    for payload in [&b"one"[..], b"three", b""] {
        peer.send_frame(payload);
        peer.recv_frame();
    }
    // The thread tells the state of now within a few intervals, however they fall.
    let full = std::iter::from_fn(|| told.recv_timeout(PATIENCE).ok()).find(|now| now.bytes_out == 20);
    let full = full.expect("told in time");
    assert_eq!((full.bytes_in, full.messages_in, full.messages_out), (20, 3, 3));
    assert_eq!((full.connections, full.opened, full.closed), (1, 1, 0));
    assert_eq!(server.snapshot(), full);
    assert!(told.recv_timeout(interval * 20).is_err(), "nothing changes, nothing is told");
    server.shutdown(PATIENCE);
    let last = told.try_iter().last().expect("the end is told before the shutdown returns");
    assert_eq!((last.connections, last.closed), (0, 1));
    assert!(told.recv().is_err(), "the thread has ended");
}

fn telemetry_needs_an_interval(bed: Bed) {
    let builder = bed.server().on_telemetry(Duration::ZERO, |_| ()).bind("127.0.0.1:0").expect("bind");
    let error = builder.start(|_: &PeerInfo| Never).expect_err("zero would spin");
    assert!(error.to_string().contains("on_telemetry"), "{error}");
}
