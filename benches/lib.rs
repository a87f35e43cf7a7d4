//! The parts that are measured, once for both ways of measuring.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use qwormhole_proto::{
    ChunkPool, Config, ConnId, Context, Decoder, Frame, Framing, Handler, Message, Outbox, Owner, PeerAddr,
    PeerInfo, Priority, RateLimit, Session, ShardLocal, Slicer, Time, TimerWheel, TokenBucket,
};

/// One part and a load for it.
#[derive(Debug)]
pub struct Part {
    /// What it is called in results.
    pub name: &'static str,
    /// How many messages (or timers) one run of it handles.
    pub messages: u64,
    /// Sets it up; every call of what comes back is one run.
    pub prepare: fn() -> Box<dyn FnMut()>,
}

/// All parts.
pub const PARTS: &[Part] = &[
    Part { name: "decode/64B", messages: FRAMES, prepare: || decode(64, CHUNK) },
    Part { name: "decode/1KiB", messages: FRAMES, prepare: || decode(1024, CHUNK) },
    Part { name: "decode/split-1KiB", messages: FRAMES, prepare: || decode(1024, 1000) },
    Part { name: "outbox/64B", messages: FRAMES, prepare: || outbox(64, usize::MAX) },
    Part { name: "outbox/4KiB", messages: FRAMES, prepare: || outbox(4096, usize::MAX) },
    Part { name: "outbox/slices-of-64KiB", messages: FRAMES, prepare: || outbox(4096, 64 << 10) },
    Part { name: "timer/move", messages: TIMERS, prepare: timers_move },
    Part { name: "timer/expire", messages: TIMERS, prepare: timers_expire },
    Part { name: "token-bucket", messages: FRAMES, prepare: token_bucket },
    Part { name: "slicer/submission", messages: FRAMES, prepare: slicer },
    Part { name: "session/receive-64B", messages: FRAMES, prepare: || session(64, FRAMES, Ignore) },
    Part { name: "session/send-64B", messages: FRAMES, prepare: || session(64, 1, Answer([7; 64])) },
    Part { name: "session/echo-64B", messages: FRAMES, prepare: || session(64, FRAMES, Echo) },
    #[cfg(target_os = "linux")]
    Part { name: "turn/64-connections-64B", messages: 64, prepare: || turn(64, 1) },
    #[cfg(target_os = "linux")]
    Part { name: "turn/4-connections-256-frames", messages: 1024, prepare: || turn(4, 256) },
];

const FRAMES: u64 = 256;
const TIMERS: u64 = 1024;
/// As much as a receive buffer of the engine holds.
const CHUNK: usize = 16 << 10;

fn frames(len: usize, count: u64) -> Vec<u8> {
    let header = u32::try_from(len).expect("a frame's length").to_be_bytes();
    [&header[..], &vec![7; len]].concat().repeat(count as usize)
}

/// Cuts frames of `len` bytes that come in pieces of `chunk` bytes.
fn decode(len: usize, chunk: usize) -> Box<dyn FnMut()> {
    let wire = frames(len, FRAMES);
    let (mut decoder, mut pool) = (Decoder::new(Framing::LengthPrefixed, 4 << 20), ChunkPool::default());
    Box::new(move || {
        for mut input in wire.chunks(chunk) {
            while let Some(frame) = decoder.next(&mut input, &mut pool).expect("within the limit") {
                if let Frame::Stitched(payload) = std::hint::black_box(frame) {
                    pool.give(payload);
                }
            }
        }
    })
}

/// Accepts messages of `len` bytes and submits them in slices.
fn outbox(len: usize, slice: usize) -> Box<dyn FnMut()> {
    let (config, mut local) = (Config::default(), ShardLocal::default());
    let (mut outbox, payload) = (Outbox::default(), vec![7; len]);
    Box::new(move || {
        for _ in 0..FRAMES {
            let quick = outbox.push_quick(&payload);
            let pushed =
                quick || outbox.push_over(&config, Priority::DEFAULT, payload.as_slice(), &mut local).is_ok();
            assert!(pushed, "small enough");
        }
        while let Some(transmit) = outbox.poll_transmit(slice, &mut local) {
            let sent = std::hint::black_box(&transmit).len();
            outbox.handle_transmitted(transmit, sent, &mut local);
        }
        outbox.take_drain();
    })
}

/// Every connection's deadline moves on, as it does with every keepalive.
fn timers_move() -> Box<dyn FnMut()> {
    let (mut wheel, mut now) = (TimerWheel::new(Time::from_nanos(0)), Time::from_nanos(0));
    Box::new(move || {
        now = now + Duration::from_millis(1);
        (0..TIMERS as u32).for_each(|key| wheel.set(key, now + Duration::from_secs(30)));
    })
}

fn timers_expire() -> Box<dyn FnMut()> {
    let (mut wheel, mut now) = (TimerWheel::new(Time::from_nanos(0)), Time::from_nanos(0));
    Box::new(move || {
        let deadline = |key: u32| now + Duration::from_millis(u64::from(key % 100));
        (0..TIMERS as u32).for_each(|key| wheel.set(key, deadline(key)));
        now = now + Duration::from_secs(1);
        while let Some(key) = wheel.pop_expired(now) {
            std::hint::black_box(key);
        }
    })
}

fn token_bucket() -> Box<dyn FnMut()> {
    let mut now = Time::from_nanos(0);
    let mut bucket = TokenBucket::new(RateLimit::new(1_000_000_000));
    Box::new(move || {
        for _ in 0..FRAMES {
            now = now + Duration::from_micros(1);
            bucket.refill(now);
            bucket.charge(1000);
            std::hint::black_box(bucket.available_at(1000));
        }
    })
}

/// What a driver tells the slicer about the connections of a turn; every turn ends a tick of its law.
fn slicer() -> Box<dyn FnMut()> {
    let (mut slicer, mut now) = (Slicer::default(), Time::from_nanos(0));
    Box::new(move || {
        for slot in 0..FRAMES as u32 {
            let len = std::hint::black_box(slicer.bytes());
            slicer.note_submission(ConnId::new(0, slot, 0), len, slot % 2 == 0);
        }
        now = now + Duration::from_millis(1);
        if slicer.begin_hand_over() {
            slicer.note_handed_over(now, Duration::from_micros(900));
        }
    })
}

struct Echo;

impl Handler for Echo {
    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        conn.reply(message).expect("echoes are as small as what comes");
    }
}

struct Ignore;

impl Handler for Ignore {
    fn on_message(&mut self, _conn: &mut Context<'_>, _message: Message<'_>) {}
}

/// Answers one message with many, each sent by itself.
struct Answer([u8; 64]);

impl Handler for Answer {
    fn on_message(&mut self, conn: &mut Context<'_>, _message: Message<'_>) {
        for _ in 0..FRAMES {
            conn.send(std::hint::black_box(&self.0)).expect("the outbox is empty");
        }
    }
}

/// What both drivers do for a receive of `count` messages and the sends that answer them.
fn session<H: Handler>(len: usize, count: u64, handler: H) -> Box<dyn FnMut()> {
    let (config, mut local) = (Arc::<Config>::default(), ShardLocal::default());
    let owner = Owner::made_by(move |_: &PeerInfo| handler);
    let mut session = Session::new(ConnId::new(0, 0, 0), PeerInfo::new(PeerAddr::Unknown), config, owner);
    session.open(&mut local);
    let wire = Bytes::from(frames(len, count));
    Box::new(move || {
        session.handle_bytes(&mut local, &wire);
        while let Some(transmit) = session.poll_transmit(&mut local) {
            let sent = std::hint::black_box(&transmit).len();
            session.handle_transmitted(&mut local, transmit, Ok(sent));
        }
        assert!(session.poll_action(&local).is_none(), "open");
    })
}

/// A turn of the engine's shard over a ring that costs next to nothing.
#[cfg(target_os = "linux")]
fn turn(connections: u32, count: u64) -> Box<dyn FnMut()> {
    let mut steady = qwormhole_engine::steady::Steady::new(connections, frames(64, count));
    Box::new(move || steady.turn())
}
