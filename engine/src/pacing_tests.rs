//! A rate limit on a real ring and a real clock.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use qwormhole_proto::{
    Config, Context, Endpoint, Handler, Message, PeerInfo, RateLimit, ShardStats, Slicing, WaitMode,
};

use crate::control::{Control, ShardHandle};
use crate::mailbox::Mailbox;
use crate::shard::{Shard, ShardParts};
use crate::sys::{RingOptions, Socket, UringRing};

struct Echo;

impl Handler for Echo {
    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        conn.reply(message).expect("small");
    }
}

#[test]
fn replies_that_wait_for_tokens_leave_at_the_limited_rate() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("bound");
    let mailbox = Arc::new(Mailbox::new(16));
    let (handle, controls) = ShardHandle::new(mailbox.clone());
    let parts = ShardParts {
        index: 0,
        connections_max: 16,
        mailbox,
        controls,
        peers: vec![handle.clone()],
        published: Arc::<Mutex<ShardStats>>::default(),
        wait: WaitMode::Auto,
        slicing: Slicing::Auto,
    };
    let shard = thread::spawn(move || {
        let ring = UringRing::with_options(&RingOptions::default()).expect("io_uring is granted");
        Shard::new(ring, |_: &PeerInfo| Echo, parts).run().expect("the ring holds")
    });
    let socket = Socket::from(socket2::Socket::from(listener));
    let mut config = Config::default();
    config.rate_limit = Some(RateLimit::new(200_000).with_burst(8_000));
    let (endpoint, config) = (Endpoint::new(16), Arc::new(config));
    handle.send(Control::Listen { socket, endpoint, config, spread: false });
    let mut stream = TcpStream::connect(address).expect("connect");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
    let wire: Vec<u8> =
        (0..100u8).flat_map(|number| [&996u32.to_be_bytes()[..], &[number; 996]].concat()).collect();
    let started = Instant::now();
    stream.write_all(&wire).expect("write");
    let mut echoed = vec![0; wire.len()];
    stream.read_exact(&mut echoed).expect("every reply");
    assert!(echoed == wire);
    let least = Duration::from_millis((100_000 - 8_000 - 1_000) * 1000 / 200_000);
    assert!(started.elapsed() >= least, "{:?} is faster than the limit", started.elapsed());
    drop(stream);
    handle.send(Control::Shutdown(Duration::from_secs(5)));
    let report = shard.join().expect("the shard ends");
    assert_eq!((report.cut, report.ops_in_flight, report.leaked_bytes), (0, 0, 0));
}
