//! A session under an arbitrary sequence of events.

use std::time::Duration;

use qwormhole_proto::{Config, Framing, Priority};

use super::bench::Bench;
use super::input::Input;
use super::player::Act;

/// Input: ten bytes of configuration, then one operation after another.
///
/// # Panics
///
/// When a rule is broken: frames lost, changed, doubled or reordered in either direction, two submissions at
/// once, a drain too few or too many, a bound exceeded, a deadline missing, `on_close` not exactly once.
pub fn connection_ops(data: &[u8]) {
    let mut input = Input::new(data);
    let mut bench = Bench::new(config(&mut input));
    // What the peer has sent and the session has not received.
    let mut stream: Vec<u8> = Vec::new();
    while !input.is_empty() && !bench.is_over() {
        step(&mut bench, &mut stream, &mut input);
        bench.check();
    }
    bench.finish();
    bench.check();
}

fn config(input: &mut Input<'_>) -> Config {
    let mut config = Config::default();
    config.framing = input.pick(&[Framing::LengthPrefixed, Framing::LengthPrefixed, Framing::None]);
    let limits = &mut config.limits;
    limits.max_frame_len = input.pick(&[300, 0, 5, 5000, 40_000]);
    limits.max_send_frame_len = input.pick(&[40_000, 0, 5, 300]);
    limits.max_backpressure_bytes = 1 << (8 + input.byte() % 10);
    limits.high_watermark_bytes = 1 + limits.max_backpressure_bytes * usize::from(input.byte()) / 256;
    limits.low_watermark_bytes = (limits.high_watermark_bytes - 1) * usize::from(input.byte()) / 255;
    limits.remote_bytes_max = 1 << (input.byte() % 16);
    limits.transmit_bytes_max = input.pick(&[4096, 8192, 65_536]);
    limits.linger_bytes_max = input.pick(&[1000, 0, 100_000]);
    let timeouts = input.byte();
    let timeout = |bit: u8| if timeouts >> bit & 1 == 1 { Duration::ZERO } else { Duration::from_secs(1) };
    limits.stall_timeout = timeout(0);
    limits.frame_timeout = timeout(1);
    limits.frame_bytes_per_s_min = if timeouts >> 2 & 1 == 1 { 0 } else { 100 };
    limits.close_flush_timeout = timeout(3);
    limits.linger_timeout = timeout(4);
    config.validate().expect("the limits fit together");
    config
}

fn step(bench: &mut Bench, stream: &mut Vec<u8>, input: &mut Input<'_>) {
    match input.byte() % 24 {
        0..=2 => {
            let len = input.length();
            stream.extend_from_slice(&(len as u32).to_be_bytes());
            stream.extend((0..len).map(|n| (n * 7 + len) as u8));
        }
        3 => {
            let len = usize::from(input.byte() % 16);
            stream.extend_from_slice(input.bytes(len));
        }
        4..=6 => {
            let len = input.length().min(stream.len());
            let chunk: Vec<u8> = stream.drain(..len).collect();
            bench.receive(&chunk);
        }
        7 => {
            let all = std::mem::take(stream);
            bench.receive(&all);
        }
        8 => bench.receive_eof(),
        9..=10 => bench.submit(),
        11 => bench.complete(Some(input.length())),
        12..=13 => {
            bench.submit();
            bench.complete(Some(usize::MAX));
        }
        14 => {
            let act = act(input);
            bench.notes().script.push_back(act);
        }
        15 => {
            let acts: Vec<Act> = (0..input.byte() % 8).map(|_| act(input)).collect();
            bench.notes().script.extend(acts);
        }
        16 => {
            let (len, priority) = (input.length(), priority(input));
            bench.remote_send(len, priority);
        }
        17 => bench.remote_flush(),
        18 => bench.remote_resume(),
        19 => bench.take_mail(),
        20 => {
            bench.remote_resume();
            bench.take_mail();
        }
        21 => bench.act(),
        22 => bench.advance(Duration::from_millis(input.length() as u64)),
        _ => end(bench, input.byte()),
    }
}

/// Ways to end, so seldom that sequences get long.
fn end(bench: &mut Bench, how: u8) {
    match how {
        0 => bench.fail(),
        1 => bench.complete(None),
        2 => bench.remote_close(false),
        3 => bench.remote_close(true),
        4 => bench.shut_down(false),
        5 => bench.shut_down(true),
        6 => bench.finish(),
        _ => {}
    }
}

fn act(input: &mut Input<'_>) -> Act {
    match input.byte() % 20 {
        0..=1 => Act::Nothing,
        2..=3 => Act::Pause,
        4..=5 => Act::PauseAfterBatch,
        6 => Act::Resume,
        7..=10 => Act::Reply(input.length()),
        11..=13 => Act::Send(input.length(), priority(input)),
        14..=16 => Act::SendUntilFull(input.length()),
        17 => Act::Lease,
        18 => match input.byte() {
            0..30 => Act::Close,
            30..40 => Act::Abort,
            40..60 => Act::Panic,
            _ => Act::Nothing,
        },
        _ => Act::Nothing,
    }
}

fn priority(input: &mut Input<'_>) -> Priority {
    Priority(i32::from(input.byte() % 5) - 2)
}
