//! Who gets in, and on which shard.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use qwormhole_fallback::{Engine, StartError};
use qwormhole_proto::{CloseReason, Config, Endpoint, PeerInfo};

use crate::support::{
    Echo, PATIENCE, connect, echoes, ends_cleanly, engine, frame, listening, loopback, next_close,
    next_message, next_open, options, receive, reporters, send, serve, tcp,
};

#[cfg(unix)]
#[test]
fn one_socket_serves_two_shards_in_turn() {
    let dir = tempfile::tempdir().unwrap();
    let (service, events) = reporters(true);
    let engine = engine(2, service);
    let (socket, addr) = listening(&qwormhole_fallback::SockAddr::unix(dir.path().join("socket")).unwrap());
    engine.listen(vec![socket], Endpoint::new(100), Arc::new(Config::default())).unwrap();
    let mut by_shard: std::collections::BTreeMap<u8, u32> = Default::default();
    let mut peers = Vec::new();
    for number in 0..10u8 {
        let mut peer = connect(&addr);
        let (info, sender) = next_open(&events);
        assert!(matches!(info.addr, qwormhole_proto::PeerAddr::Unix(None)), "{info:?}");
        assert_eq!(info.credentials.unwrap().pid, Some(std::process::id() as i32));
        *by_shard.entry(sender.id().shard()).or_default() += 1;
        send(&mut peer, &[number]);
        assert_eq!(receive(&mut peer), [number]);
        assert_eq!(next_message(&events), [number]);
        peers.push(peer);
    }
    assert_eq!(by_shard, [(0, 5), (1, 5)].into());
    let open: Vec<u64> = engine.stats().iter().map(|stats| stats.connections).collect();
    assert_eq!(open, [5, 5]);
}

#[test]
fn each_shard_accepts_from_its_own_socket() {
    let engine = engine(2, echoes);
    let (sockets, addrs): (Vec<_>, Vec<_>) = (0..2).map(|_| listening(&loopback())).unzip();
    engine.listen(sockets, Endpoint::new(100), Arc::new(Config::default())).unwrap();
    for (shard, addr) in addrs.iter().enumerate() {
        let mut peer = connect(addr);
        send(&mut peer, b"here");
        assert_eq!(receive(&mut peer), b"here");
        assert_eq!(engine.stats()[shard].opened, 1);
    }
}

#[test]
fn the_endpoint_refuses_above_its_bound_and_admits_again() {
    let (service, events) = reporters(true);
    let engine = engine(1, service);
    let (socket, addr) = listening(&loopback());
    engine.listen(vec![socket], Endpoint::new(1), Arc::new(Config::default())).unwrap();
    let first = connect(&addr);
    next_open(&events);
    assert_eq!(connect(&addr).read(&mut [0]).unwrap(), 0, "closed at once");
    assert_eq!(engine.stats()[0].refused, 1);
    drop(first);
    assert_eq!(next_close(&events), CloseReason::PeerClosed);
    // The place is free a moment after `on_close`: whoever comes before is refused.
    for _ in 0..100_000 {
        let mut peer = connect(&addr);
        if peer.write_all(&frame(b"in")).is_ok() && peer.read_exact(&mut [0; 6]).is_ok() {
            return;
        }
    }
    panic!("the place never became free");
}

#[test]
fn a_full_shard_refuses() {
    let mut options = options(1);
    options.shard_connections_max = 1;
    let engine = Engine::start(&options, |_| echoes).unwrap();
    let addr = serve(&engine);
    let mut first = tcp(addr);
    send(&mut first, b"in");
    assert_eq!(receive(&mut first), b"in");
    assert!(ends_cleanly(&mut tcp(addr)));
    assert_eq!(engine.stats()[0].refused, 1);
    send(&mut first, b"still");
    assert_eq!(receive(&mut first), b"still");
}

#[test]
fn a_panic_of_the_service_closes_that_connection_only() {
    let mut number = 0;
    let engine = engine(1, move |_: &PeerInfo| {
        number += 1;
        assert!(number != 2, "asked to");
        Echo
    });
    let addr = serve(&engine);
    let mut first = tcp(addr);
    send(&mut first, b"1");
    assert_eq!(receive(&mut first), b"1");
    assert!(ends_cleanly(&mut tcp(addr)));
    let mut third = tcp(addr);
    for peer in [&mut first, &mut third] {
        send(peer, b"fine");
        assert_eq!(receive(peer), b"fine");
    }
    let stats = engine.stats()[0];
    assert_eq!((stats.panics, stats.opened), (1, 2));
}

#[test]
fn impossible_options_are_refused_by_name() {
    let refused = |shards| Engine::start(&options(shards), |_| echoes).map(drop);
    assert!(matches!(refused(0), Err(StartError::Shards(0))));
    assert!(matches!(refused(257), Err(StartError::Shards(257))));
    let panics = Engine::start(&options(2), |shard| {
        assert!(shard != 1, "asked to");
        echoes
    });
    assert!(matches!(panics, Err(StartError::Service(1))));
    let mut pinned = options(1);
    pinned.cpus = vec![1 << 20];
    let refused = Engine::start(&pinned, |_| echoes).map(drop);
    assert!(matches!(refused, Err(StartError::Pin { cpu: 1_048_576, .. })));
    let engine = engine(1, echoes);
    let (first, second) = (listening(&loopback()).0, listening(&loopback()).0);
    let config = Arc::new(Config::default());
    assert!(engine.listen(vec![first, second], Endpoint::new(1), config.clone()).is_err());
    assert!(engine.listen(Vec::new(), Endpoint::new(1), config).is_err());
    assert!(engine.shutdown(PATIENCE).cut == 0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_shard_runs_on_the_cpu_it_is_pinned_to() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim();
    let first: usize = allowed.split([',', '-']).next().unwrap().parse().unwrap();
    let mut options = options(1);
    options.cpus = vec![first];
    options.thread_name = String::from("pin\0ned");
    let engine = Engine::start(&options, |_| {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
        let (cpu, name) = (list.trim().to_owned(), std::thread::current().name().unwrap().to_owned());
        move |_: &PeerInfo| Described(format!("{name} {cpu}"))
    })
    .unwrap();
    let mut peer = tcp(serve(&engine));
    assert_eq!(receive(&mut peer), format!("pinned-0 {first}").as_bytes());
    drop(peer);
    engine.shutdown(Duration::from_secs(5));
}

struct Described(String);

impl qwormhole_proto::Handler for Described {
    fn on_open(&mut self, conn: &mut qwormhole_proto::Context<'_>) {
        conn.send(self.0.as_str()).unwrap();
    }

    fn on_message(
        &mut self,
        _conn: &mut qwormhole_proto::Context<'_>,
        _message: qwormhole_proto::Message<'_>,
    ) {
    }
}
