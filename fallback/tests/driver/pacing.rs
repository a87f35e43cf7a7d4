//! A rate limit on a real clock.

use std::io::{BufReader, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use qwormhole_proto::{Config, Endpoint, RateLimit};

use crate::support::{echoes, engine, frame, listening, loopback, receive, tcp};

#[test]
fn replies_that_wait_for_tokens_leave_at_the_limited_rate() {
    const MESSAGES: u32 = 100;
    let engine = engine(1, echoes);
    let (socket, addr) = listening(&loopback());
    let mut config = Config::default();
    config.rate_limit = Some(RateLimit::new(200_000).with_burst(8_000));
    engine.listen(vec![socket], Endpoint::new(10), Arc::new(config)).unwrap();
    let peer = tcp(addr.as_socket().unwrap());
    let mut reader = BufReader::new(peer.try_clone().unwrap());
    let mut writer = peer;
    let started = Instant::now();
    for number in 0..MESSAGES {
        writer.write_all(&frame(&[number as u8; 996])).unwrap();
    }
    for number in 0..MESSAGES {
        assert_eq!(receive(&mut reader), [number as u8; 996]);
    }
    let least = Duration::from_millis((100_000 - 8_000 - 1_000) * 1000 / 200_000);
    assert!(started.elapsed() >= least, "{:?} is faster than the limit", started.elapsed());
}
