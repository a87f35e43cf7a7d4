//! The rate limit on the real clock.

use std::io::Read;
use std::time::{Duration, Instant};

use qwormhole::{Context, Handler, Message, PeerInfo, Priority, RateLimit};

use crate::support::peer::Peer;
use crate::support::{Bed, on_every_backend};

on_every_backend!(the_rate_is_exact_and_urgent_messages_overtake);

const BYTES_PER_S: u64 = 1_000_000;
const BURST: u64 = 64 << 10;
/// Payload of a message; on the wire it is four bytes longer.
const LEN: usize = 996;
const WIRE: u64 = 1000;
/// Queued at a time: some seconds' worth, so that the limit is the only thing that holds messages back.
const WINDOW: usize = 2_000_000;
const URGENT: u8 = 0xff;

/// For two seconds, or as many as `QWORMHOLE_RATE_SECONDS` says: `scripts/rate` does ten.
fn the_rate_is_exact_and_urgent_messages_overtake(bed: Bed) {
    let seconds = std::env::var("QWORMHOLE_RATE_SECONDS").map_or(2, |text| text.parse().expect("seconds"));
    hold_the_rate(bed, Duration::from_secs(seconds));
}

/// Keeps its outbox full of messages, and answers each message with an urgent one.
struct Backlogged;

impl Backlogged {
    fn fill(conn: &mut Context<'_>) {
        while conn.queued_bytes() < WINDOW {
            conn.send(vec![0; LEN]).expect("room");
        }
    }
}

impl Handler for Backlogged {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        Self::fill(conn);
    }

    fn on_message(&mut self, conn: &mut Context<'_>, _message: Message<'_>) {
        conn.send_with(Priority(-1), vec![URGENT; LEN]).expect("room");
        Self::fill(conn);
    }

    fn on_drain(&mut self, conn: &mut Context<'_>) {
        Self::fill(conn);
    }
}

/// What a reader counted.
struct Count {
    bytes: u64,
    /// How long each urgent message took after it was asked for.
    overtook: Vec<Duration>,
}

fn hold_the_rate(bed: Bed, span: Duration) {
    let limit = RateLimit::new(BYTES_PER_S).with_burst(BURST);
    let server = bed.server().bind("127.0.0.1:0").expect("bind").rate_limit(limit);
    let server = server.start(|_: &PeerInfo| Backlogged).expect("start");
    let begun = Instant::now();
    let mut peer = Peer::connect(&server.local_addrs()[0]);
    let Count { bytes, overtook } = count(&mut peer, begun + span);
    // Counted until here, whatever the machine did in between.
    let elapsed = begun.elapsed().as_secs_f64();
    let most = BURST as f64 + BYTES_PER_S as f64 * elapsed;
    let ratio = bytes as f64 / most;
    println!("{:?}: {bytes} bytes in {elapsed:.3} s, {:.2} % of {most:.0}", bed.backend, ratio * 100.0);
    assert!((0.97..=1.0).contains(&ratio), "{bytes} bytes in {elapsed} s are {ratio} of the limit");
    assert!(!overtook.is_empty());
    for took in overtook {
        // Two seconds' worth of messages are ahead of those that do not overtake.
        assert!(took < Duration::from_millis(500), "an urgent message took {took:?}");
    }
}

/// Reads frames until `end`, and asks for an urgent message now and then.
fn count(peer: &mut Peer, end: Instant) -> Count {
    let mut count = Count { bytes: 0, overtook: Vec::new() };
    let mut asked = None;
    let mut next_question = Instant::now() + Duration::from_millis(200);
    let mut frame = [0; WIRE as usize];
    let mut waited = false;
    // Ends with a frame that was waited for: none is left in the kernel then, however late this thread is.
    while Instant::now() < end || !waited {
        let begun = Instant::now();
        peer.read_exact(&mut frame).expect("a frame");
        waited = begun.elapsed() > Duration::from_micros(200);
        count.bytes += WIRE;
        if frame[4] == URGENT {
            let question: Instant = asked.take().expect("asked for");
            count.overtook.push(question.elapsed());
        } else if asked.is_none() && Instant::now() >= next_question {
            peer.send_frame(b"now");
            asked = Some(Instant::now());
            next_question = Instant::now() + Duration::from_millis(200);
        }
    }
    count
}
