//! Ten thousand connections on two shards, from a separate process.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread;

use qwormhole::{Context, Handler, Message, PeerInfo, Server};

use crate::support::resources::Resources;
use crate::support::{Bed, PATIENCE, frame, on_every_backend};

on_every_backend!(alone: ten_thousand_connections_lose_and_duplicate_nothing);

const CONNECTIONS: usize = 10_000;
const MESSAGES: u32 = 100;
const THREADS: usize = 8;

struct Echo;

impl Handler for Echo {
    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        conn.reply(message).expect("a reply is refused only if too large");
    }
}

fn ten_thousand_connections_lose_and_duplicate_nothing(bed: Bed) {
    let before = Resources::now();
    let server = Server::builder()
        .backend(bed.backend)
        .shards(2)
        .bind("127.0.0.1:0")
        .expect("bind")
        .start(|_: &PeerInfo| Echo)
        .expect("start");
    let address = server.local_addrs()[0].to_string();
    let output = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "many::client_process", "--nocapture"])
        .env("QWORMHOLE_TEST_ADDRESS", address.trim_start_matches("tcp://"))
        .output()
        .expect("the client runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let sum = |count: fn(&qwormhole::ShardStats) -> u64| server.stats().iter().map(count).sum::<u64>();
    assert_eq!(sum(|shard| shard.opened), CONNECTIONS as u64);
    assert_eq!(sum(|shard| shard.messages_in), CONNECTIONS as u64 * u64::from(MESSAGES));
    let both_used = server.stats().iter().all(|shard| shard.opened > CONNECTIONS as u64 / 10);
    assert!(both_used, "both shards accept: {:?}", server.stats());
    let report = server.shutdown(PATIENCE);
    assert_eq!((report.cut, report.leaked_bytes, report.buffers_out, report.ops_in_flight), (0, 0, 0, 0));
    before.assert_back();
}

/// The other process; does nothing unless it was told where to connect.
#[test]
fn client_process() {
    let Ok(address) = std::env::var("QWORMHOLE_TEST_ADDRESS") else { return };
    let threads: Vec<_> = (0..THREADS)
        .map(|part| {
            let address = address.clone();
            thread::spawn(move || client(&address, part))
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("every echo was right"));
}

/// One thread's share of the connections: all are open at once, each sends its messages by tens.
fn client(address: &str, part: usize) {
    let share = CONNECTIONS / THREADS;
    let mut streams: Vec<TcpStream> = (0..share)
        .map(|_| {
            let stream = TcpStream::connect(address).expect("connect");
            stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
            stream.set_nodelay(true).expect("nodelay");
            stream
        })
        .collect();
    for batch in 0..MESSAGES / 10 {
        let wire = |index: usize| -> Vec<u8> {
            (0..10).flat_map(|n| frame(format!("{part} {index} {}", batch * 10 + n).as_bytes())).collect()
        };
        for (index, stream) in streams.iter_mut().enumerate() {
            stream.write_all(&wire(index)).expect("write");
        }
        for (index, stream) in streams.iter_mut().enumerate() {
            let expected = wire(index);
            let mut echoed = vec![0; expected.len()];
            stream.read_exact(&mut echoed).expect("read");
            assert_eq!(echoed, expected);
        }
    }
    for stream in &mut streams {
        stream.shutdown(std::net::Shutdown::Write).expect("end");
        assert_eq!(stream.read(&mut [0; 1]).expect("a clean end"), 0, "nothing is duplicated");
    }
}
