//! Heap memory that a broadcast takes, counted. Alone in its binary: the allocator counts for everybody.

#[path = "../support/mod.rs"]
mod support;

use std::alloc::System;
use std::io::Read;
use std::net::TcpStream;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use qwormhole::{Backend, Bytes, Context, Handler, Message, PeerInfo, Server};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use crate::support::{Bed, PATIENCE};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const PEERS: usize = 1000;
const PEER_BYTES_MAX: usize = 64;
const READERS: usize = 2;

struct Ignore;

impl Handler for Ignore {
    fn on_message(&mut self, _conn: &mut Context<'_>, _message: Message<'_>) {}
}

/// Bytes asked of the heap so far; what was given back is not subtracted.
fn allocated() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated + usize::try_from(stats.bytes_reallocated.max(0)).expect("not negative")
}

/// One thread's share of the peers: reads frames of the lengths it is told, without allocating.
fn reader(mut peers: Vec<TcpStream>, chunk: &mut [u8], lens: &[usize], done: &SyncSender<()>) {
    for len in lens {
        for peer in &mut peers {
            let mut header = [0; 4];
            peer.read_exact(&mut header).expect("a header");
            assert_eq!(u32::from_be_bytes(header) as usize, *len);
            let mut left = *len;
            while left > 0 {
                let part = left.min(chunk.len());
                peer.read_exact(&mut chunk[..part]).expect("the payload");
                assert!(chunk[..part].iter().all(|byte| *byte == *len as u8), "the payload is whole");
                left -= part;
            }
        }
        done.send(()).expect("the test waits");
    }
}

fn wait_for(server: &Server, what: impl Fn(&Server) -> bool) {
    let start = Instant::now();
    while !what(server) {
        assert!(start.elapsed() < PATIENCE, "{:?}", server.stats());
        // Each look allocates a little, and is counted.
        thread::sleep(Duration::from_millis(1));
    }
}

/// The first and a later broadcast of each length, to peers that are fresh.
fn broadcasts_share_their_payload(bed: Bed) {
    for lens in [[64, 64, 1 << 20, 1 << 20], [1 << 20, 1 << 20, 64, 64]] {
        let server =
            bed.server().bind("127.0.0.1:0").expect("bind").start(|_: &PeerInfo| Ignore).expect("start");
        let address = server.local_addrs()[0].to_string();
        let (done, wait) = sync_channel(READERS);
        let readers: Vec<_> = (0..READERS)
            .map(|_| {
                let address = address.trim_start_matches("tcp://");
                let connect = |_| {
                    let peer = TcpStream::connect(address).expect("connect");
                    peer.set_read_timeout(Some(PATIENCE)).expect("timeout");
                    peer
                };
                let mut chunk = vec![0; 64 << 10];
                let peers = (0..PEERS / READERS).map(connect).collect();
                let done = done.clone();
                thread::spawn(move || reader(peers, &mut chunk, &lens, &done))
            })
            .collect();
        wait_for(&server, |server| server.snapshot().connections == PEERS as u64);
        assert_eq!(server.connection_count(), PEERS);
        for (round, len) in lens.into_iter().enumerate() {
            let payload = Bytes::from(vec![len as u8; len]);
            let before = allocated();
            server.broadcast(payload).expect("room");
            (0..READERS).for_each(|_| wait.recv_timeout(PATIENCE).expect("everybody has read"));
            // The shard has seen that the last byte left.
            let wire: usize = lens[..=round].iter().map(|len| PEERS * (len + 4)).sum();
            wait_for(&server, |server| server.snapshot().bytes_out == wire as u64);
            let bytes = allocated() - before;
            println!("{:?}, {len} bytes, broadcast {round}: {bytes} bytes allocated", bed.backend);
            assert!(
                bytes <= len + PEERS * PEER_BYTES_MAX,
                "{bytes} bytes for broadcast {round} of {len} bytes to {PEERS} peers on {bed:?}"
            );
        }
        drop(server);
        readers.into_iter().for_each(|reader| reader.join().expect("every payload was right"));
    }
}

/// One test, because the other backend's would be counted too.
#[test]
fn a_broadcast_allocates_its_payload_once_on_any_backend() {
    broadcasts_share_their_payload(Bed::new(Backend::IoUring));
    broadcasts_share_their_payload(Bed::new(Backend::Tokio));
}
