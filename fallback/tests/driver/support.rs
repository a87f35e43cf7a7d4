//! Engines to test, and blocking peers to test them with.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender as Channel, channel};
use std::time::Duration;

use qwormhole_fallback::{Engine, SockAddr, Socket};
use qwormhole_proto::{
    CloseReason, Config, Context, Dial, DriverOptions, Endpoint, Handler, Message, PeerInfo, Sender, Service,
};
use socket2::{Domain, Type};

/// Longer than anything here takes; only a failing test waits this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What a [`Reporter`] saw.
#[derive(Debug)]
pub(crate) enum Seen {
    Open(PeerInfo, Sender),
    Message(Vec<u8>),
    Drain,
    Close(CloseReason),
}

/// Tells the test everything, and echoes if asked to.
pub(crate) struct Reporter {
    pub(crate) seen: Channel<Seen>,
    pub(crate) echo: bool,
}

impl Handler for Reporter {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        let _ = self.seen.send(Seen::Open(conn.peer().clone(), conn.sender()));
    }

    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        let _ = self.seen.send(Seen::Message(message.to_vec()));
        if self.echo {
            let _ = conn.reply(message);
        }
    }

    fn on_drain(&mut self, _conn: &mut Context<'_>) {
        let _ = self.seen.send(Seen::Drain);
    }

    fn on_close(&mut self, _conn: &mut Context<'_>, reason: &CloseReason) {
        let _ = self.seen.send(Seen::Close(reason.clone()));
    }
}

pub(crate) fn reporters(echo: bool) -> (impl FnMut(&PeerInfo) -> Reporter + Clone + Send, Receiver<Seen>) {
    let (seen, events) = channel();
    (move |_: &PeerInfo| Reporter { seen: seen.clone(), echo }, events)
}

/// Only echoes.
pub(crate) struct Echo;

impl Handler for Echo {
    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        let _ = conn.reply(message);
    }
}

pub(crate) fn echoes(_peer: &PeerInfo) -> Echo {
    Echo
}

pub(crate) fn options(shards: usize) -> DriverOptions {
    let mut options = DriverOptions::default();
    options.shards = shards;
    options
}

pub(crate) fn engine<S: Service + Clone + Send>(shards: usize, service: S) -> Engine<S> {
    Engine::start(&options(shards), move |_| service.clone()).unwrap()
}

/// A listening socket and where it listens.
pub(crate) fn listening(addr: &SockAddr) -> (Socket, SockAddr) {
    let socket = Socket::new(addr.domain(), Type::STREAM, None).unwrap();
    socket.bind(addr).unwrap();
    socket.listen(128).unwrap();
    socket.set_nonblocking(true).unwrap();
    let addr = socket.local_addr().unwrap();
    (socket, addr)
}

/// Listens on `addr`, with the shard's default configuration.
pub(crate) fn serve_on<S: Service>(engine: &Engine<S>, addr: &SockAddr) -> SockAddr {
    let (socket, addr) = listening(addr);
    engine.listen(vec![socket], Endpoint::new(1000), Arc::new(Config::default())).unwrap();
    addr
}

/// Listens on the IPv4 loopback.
pub(crate) fn serve<S: Service>(engine: &Engine<S>) -> SocketAddr {
    serve_on(engine, &loopback()).as_socket().unwrap()
}

pub(crate) fn loopback() -> SockAddr {
    "127.0.0.1:0".parse::<SocketAddr>().unwrap().into()
}

pub(crate) fn tcp(addr: SocketAddr) -> TcpStream {
    patient(TcpStream::connect(addr).unwrap().into())
}

/// A blocking peer that fails instead of hanging.
pub(crate) fn patient<T: From<Socket>>(socket: Socket) -> T {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket.into()
}

pub(crate) fn connect(addr: &SockAddr) -> Socket {
    let socket = Socket::new(addr.domain(), Type::STREAM, None).unwrap();
    socket.connect(addr).unwrap();
    patient(socket)
}

pub(crate) fn frame(payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32).to_be_bytes()[..], payload].concat()
}

pub(crate) fn send(peer: &mut impl Write, payload: &[u8]) {
    peer.write_all(&frame(payload)).unwrap();
}

pub(crate) fn receive(peer: &mut impl Read) -> Vec<u8> {
    let mut header = [0; 4];
    peer.read_exact(&mut header).unwrap();
    let mut payload = vec![0; u32::from_be_bytes(header) as usize];
    peer.read_exact(&mut payload).unwrap();
    payload
}

/// Whether the peer sees an end of stream, not a reset.
pub(crate) fn ends_cleanly(peer: &mut impl Read) -> bool {
    matches!(peer.read(&mut [0]), Ok(0))
}

pub(crate) fn next(events: &Receiver<Seen>) -> Seen {
    events.recv_timeout(PATIENCE).expect("nothing happened")
}

pub(crate) fn next_open(events: &Receiver<Seen>) -> (PeerInfo, Sender) {
    match next(events) {
        Seen::Open(peer, sender) => (peer, sender),
        other => panic!("expected an opening, got {other:?}"),
    }
}

pub(crate) fn next_message(events: &Receiver<Seen>) -> Vec<u8> {
    match next(events) {
        Seen::Message(message) => message,
        other => panic!("expected a message, got {other:?}"),
    }
}

pub(crate) fn next_close(events: &Receiver<Seen>) -> CloseReason {
    match next(events) {
        Seen::Close(reason) => reason,
        other => panic!("expected an end, got {other:?}"),
    }
}

/// A dial whose failure arrives at the receiver.
pub(crate) fn dial<H>(
    addrs: Vec<SockAddr>,
    handler: H,
) -> (Dial<H, SockAddr, Socket>, Receiver<qwormhole_proto::ConnectError>) {
    let (failures, failed) = channel();
    let dial = Dial {
        addrs,
        open_socket: Arc::new(|addr: &SockAddr| {
            let socket = Socket::new(addr.domain(), Type::STREAM, None)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        }),
        config: Arc::new(Config::default()),
        handler,
        timeout: Some(PATIENCE),
        failed: Box::new(move |error| failures.send(error).unwrap()),
    };
    (dial, failed)
}

/// A port on which nobody listens: bound, so that nobody else takes it, and not listening.
pub(crate) fn dead_port() -> (Socket, SockAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&loopback()).unwrap();
    let addr = socket.local_addr().unwrap();
    (socket, addr)
}
