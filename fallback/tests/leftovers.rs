//! What an engine leaves behind. A process of its own: it counts all threads and descriptors.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use qwormhole_fallback::{Engine, SockAddr, Socket};
use qwormhole_proto::{Config, Context, DriverOptions, Endpoint, Handler, Message, PeerInfo, Sender};
use socket2::{Domain, Type};

struct Echo(std::sync::mpsc::Sender<Sender>);

impl Handler for Echo {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        self.0.send(conn.sender()).unwrap();
    }

    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        conn.reply(message).unwrap();
    }
}

fn names(dir: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Threads and descriptors of the process; both listings see the same one for the directory itself.
fn held() -> (usize, usize) {
    (names("/proc/self/task").len(), names("/proc/self/fd").len())
}

fn life_of_an_engine(graceful: bool) -> Vec<Sender> {
    let mut options = DriverOptions::default();
    options.shards = 2;
    let (senders, opened) = std::sync::mpsc::channel();
    let engine = Engine::start(&options, move |_| {
        let senders = senders.clone();
        move |_: &PeerInfo| Echo(senders.clone())
    })
    .unwrap();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SockAddr::from("127.0.0.1:0".parse::<SocketAddr>().unwrap())).unwrap();
    socket.listen(16).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    engine.listen(vec![socket], Endpoint::new(100), Arc::new(Config::default())).unwrap();
    let mut peers: Vec<_> = (0..8).map(|_| TcpStream::connect(addr).unwrap()).collect();
    for peer in &mut peers {
        peer.write_all(&[0, 0, 0, 1, 7]).unwrap();
        peer.read_exact(&mut [0; 5]).unwrap();
    }
    assert!(held().0 >= 3 && held().1 >= 8 * 2);
    if graceful {
        peers.clear();
        engine.shutdown(Duration::from_secs(20));
    } else {
        drop(engine);
    }
    opened.try_iter().collect()
}

#[test]
fn no_descriptor_and_no_thread_is_left_even_while_senders_live() {
    let before = held();
    for round in 0..20 {
        let senders = life_of_an_engine(round % 2 == 0);
        assert_eq!(senders.len(), 8);
        assert!(senders.iter().all(|sender| sender.close_reason().is_some()));
        // A thread that was joined leaves /proc a moment later.
        let mut after = held();
        for _ in 0..1000 {
            if after == before {
                break;
            }
            std::thread::yield_now();
            after = held();
        }
        assert_eq!(after, before, "threads and descriptors after round {round}");
    }
}
