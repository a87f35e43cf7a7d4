//! A whole shard on a real ring that is far too small for its load.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use qwormhole_proto::{Config, Context, Endpoint, Handler, Message, PeerInfo, ShardStats, Slicing, WaitMode};

use crate::control::{Control, ShardHandle};
use crate::mailbox::Mailbox;
use crate::shard::{Shard, ShardParts};
use crate::sys::{RingOptions, Socket, UringRing};

const BUFFERS: u16 = 8;
const CONNECTIONS: usize = 1000;
const THREADS: usize = 4;
const ROUNDS: usize = 10;
/// Long enough to be leased, and two of them do not fit into one buffer.
const LEN: usize = 9000;

/// Echoes, and keeps a lease of the last message until the next.
struct Hoarder(Option<Bytes>);

impl Handler for Hoarder {
    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        let kept = conn.lease(message);
        conn.reply(kept.clone()).expect("small");
        self.0 = Some(kept);
    }
}

#[test]
fn eight_buffers_serve_a_thousand_busy_connections_without_a_spurious_close() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("bound");
    let mailbox = Arc::new(Mailbox::new(2048));
    let (handle, controls) = ShardHandle::new(mailbox.clone());
    let published = Arc::<Mutex<ShardStats>>::default();
    let parts = ShardParts {
        index: 0,
        connections_max: 2048,
        mailbox,
        controls,
        peers: vec![handle.clone()],
        published: published.clone(),
        wait: WaitMode::Auto,
        slicing: Slicing::Auto,
    };
    let shard = thread::spawn(move || {
        let options = RingOptions { buffers: BUFFERS, connections_max: 2048, ..RingOptions::default() };
        let ring = UringRing::with_options(&options).expect("io_uring is granted");
        Shard::new(ring, |_: &PeerInfo| Hoarder(None), parts).run().expect("the ring holds")
    });
    let socket = Socket::from(socket2::Socket::from(listener));
    let (endpoint, config) = (Endpoint::new(2048), Arc::<Config>::default());
    handle.send(Control::Listen { socket, endpoint, config, spread: false });
    let clients: Vec<_> = (0..THREADS).map(|part| thread::spawn(move || client(address, part))).collect();
    clients.into_iter().for_each(|client| client.join().expect("every echo was right"));
    let stats = *published.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(stats.starved > 0, "the load must exhaust the buffers: {stats:?}");
    assert_eq!(stats.messages_in, (CONNECTIONS * ROUNDS) as u64);
    handle.send(Control::Shutdown(Duration::from_secs(5)));
    let report = shard.join().expect("the shard ends");
    assert_eq!((report.cut, report.ops_in_flight, report.leaked_bytes), (0, 0, 0));
}

/// A quarter of the connections, all busy at once.
fn client(address: std::net::SocketAddr, part: usize) {
    let mut streams: Vec<TcpStream> = (0..CONNECTIONS / THREADS)
        .map(|_| {
            let stream = TcpStream::connect(address).expect("connect");
            stream.set_read_timeout(Some(Duration::from_secs(30))).expect("timeout");
            stream
        })
        .collect();
    let mut echoed = vec![0; LEN + 4];
    for round in 0..ROUNDS {
        let frame = |index: usize| {
            let mut frame = (LEN as u32).to_be_bytes().to_vec();
            frame.resize(LEN + 4, (part * 31 + index * 7 + round) as u8);
            frame
        };
        for (index, stream) in streams.iter_mut().enumerate() {
            stream.write_all(&frame(index)).expect("write");
        }
        for (index, stream) in streams.iter_mut().enumerate() {
            stream.read_exact(&mut echoed).expect("no close, no timeout");
            assert!(echoed == frame(index), "connection {index} of part {part}, round {round}");
        }
    }
    for stream in &mut streams {
        stream.shutdown(Shutdown::Write).expect("end");
        assert_eq!(stream.read(&mut [0]).expect("a clean end"), 0);
    }
}
