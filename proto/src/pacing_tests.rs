use std::time::Duration;

use proptest::prelude::*;

use crate::config::{Config, Framing};
use crate::local::ShardLocal;
use crate::outbox::Outbox;
use crate::priority::Priority;
use crate::time::Time;
use crate::token_bucket::RateLimit;
use crate::transmit::Transmit;

fn limited(bytes_per_s: u64, burst: u64) -> (Config, Outbox, ShardLocal) {
    let config =
        Config { rate_limit: Some(RateLimit::new(bytes_per_s).with_burst(burst)), ..Config::default() };
    let outbox = Outbox::new(&config);
    (config, outbox, ShardLocal::default())
}

fn ms(millis: u64) -> Time {
    Time::ZERO + Duration::from_millis(millis)
}

fn bytes_of(transmit: &Transmit) -> Vec<u8> {
    transmit.segments().iter().flat_map(|segment| segment.as_slice().to_vec()).collect()
}

/// What leaves now, all of it taken by the kernel at once.
fn leave(outbox: &mut Outbox, local: &mut ShardLocal) -> Vec<u8> {
    let mut wire = Vec::new();
    while let Some(transmit) = outbox.poll_transmit(1 << 20, local) {
        wire.extend(bytes_of(&transmit));
        outbox.handle_transmitted(transmit, usize::MAX, local);
    }
    wire
}

fn push(outbox: &mut Outbox, config: &Config, priority: i32, payload: Vec<u8>, local: &mut ShardLocal) {
    outbox.push(config, Priority(priority), payload, local).unwrap();
}

/// First payload byte and length of each frame.
fn frames(mut wire: &[u8]) -> Vec<(u8, usize)> {
    let mut frames = Vec::new();
    while let Some((header, rest)) = wire.split_first_chunk::<4>() {
        let (payload, rest) = rest.split_at(u32::from_be_bytes(*header) as usize);
        assert!(payload.iter().all(|byte| *byte == payload[0]), "a frame was interrupted");
        frames.push((payload[0], payload.len()));
        wire = rest;
    }
    assert!(wire.is_empty(), "half a header");
    frames
}

#[test]
fn an_urgent_frame_overtakes_what_was_queued_and_not_sent() {
    let (config, mut outbox, mut local) = limited(1000, 250);
    for n in 0..10 {
        push(&mut outbox, &config, 0, vec![n; 96], &mut local);
    }
    assert_eq!(frames(&leave(&mut outbox, &mut local)), [(0, 96), (1, 96)], "what the burst is enough for");
    assert_eq!(outbox.wakes_at(), Some(ms(50)));
    push(&mut outbox, &config, -1, vec![77; 16], &mut local);
    assert_eq!(frames(&leave(&mut outbox, &mut local)), [(77, 16)], "there were tokens for a short one");
    local.now = outbox.wakes_at().unwrap();
    assert_eq!(local.now, ms(70));
    push(&mut outbox, &config, -1, vec![78; 46], &mut local);
    push(&mut outbox, &config, -2, vec![79; 46], &mut local);
    assert_eq!(frames(&leave(&mut outbox, &mut local)), [(79, 46), (78, 46)]);
    assert_eq!(outbox.wakes_at(), Some(ms(170)));
    local.now = ms(10_000);
    assert_eq!(frames(&leave(&mut outbox, &mut local)), [(2, 96), (3, 96), (4, 96)]);
}

#[test]
fn a_frame_above_the_burst_waits_for_a_full_bucket_and_leaves_whole() {
    for len in [5_996usize, 99_996] {
        let (config, mut outbox, mut local) = limited(1000, 500);
        push(&mut outbox, &config, 0, vec![1; 96], &mut local);
        push(&mut outbox, &config, 0, vec![2; len], &mut local);
        push(&mut outbox, &config, 0, vec![3; 6], &mut local);
        assert_eq!(frames(&leave(&mut outbox, &mut local)), [(1, 96)]);
        local.now = ms(99);
        assert!(leave(&mut outbox, &mut local).is_empty());
        local.now = ms(100);
        assert_eq!(outbox.wakes_at(), Some(local.now));
        assert_eq!(frames(&leave(&mut outbox, &mut local)), [(2, len)]);
        let debt = len as u64 + 4 - 500;
        assert_eq!(outbox.wakes_at(), Some(ms(100 + debt + 10)), "the debt and the next frame's ten bytes");
        local.now = ms(100 + debt + 10);
        assert_eq!(frames(&leave(&mut outbox, &mut local)), [(3, 6)]);
    }
}

#[test]
fn a_frame_that_began_is_finished_whatever_the_tokens() {
    let (config, mut outbox, mut local) = limited(1000, 500);
    push(&mut outbox, &config, 0, vec![1; 50_000], &mut local);
    let begun = outbox.poll_transmit(4096, &mut local).unwrap();
    let mut wire = bytes_of(&begun);
    outbox.handle_transmitted(begun, usize::MAX, &mut local);
    push(&mut outbox, &config, -1, vec![2; 10], &mut local);
    while let Some(transmit) = outbox.poll_transmit(4096, &mut local) {
        assert!(transmit.len() <= 4096);
        wire.extend(bytes_of(&transmit));
        outbox.handle_transmitted(transmit, usize::MAX, &mut local);
    }
    assert_eq!(frames(&wire), [(1, 50_000)]);
    assert_eq!(outbox.wakes_at(), Some(ms(50_004 - 500 + 14)));
}

#[test]
fn a_submission_that_the_kernel_sat_on_is_not_followed_by_a_second_burst() {
    let (config, mut outbox, mut local) = limited(1000, 500);
    for n in 0..10 {
        push(&mut outbox, &config, 0, vec![n; 96], &mut local);
    }
    let submission = outbox.poll_transmit(1 << 20, &mut local).unwrap();
    assert_eq!(submission.len(), 500);
    local.now = ms(60_000);
    outbox.handle_transmitted(submission, usize::MAX, &mut local);
    assert_eq!(
        frames(&leave(&mut outbox, &mut local)),
        [(5, 96)],
        "the burst left just now, and one frame may"
    );
    assert_eq!(outbox.wakes_at(), Some(ms(60_100)));
}

#[test]
fn a_flush_ends_behind_the_last_frame_that_waited() {
    let (config, mut outbox, mut local) = limited(1000, 100);
    push(&mut outbox, &config, 0, vec![1; 96], &mut local);
    push(&mut outbox, &config, 5, vec![2; 96], &mut local);
    outbox.mark(7);
    leave(&mut outbox, &mut local);
    push(&mut outbox, &config, 0, vec![3; 96], &mut local);
    local.now = ms(100);
    leave(&mut outbox, &mut local);
    assert_eq!(outbox.flushed(), 0);
    local.now = ms(200);
    leave(&mut outbox, &mut local);
    assert_eq!((outbox.flushed(), outbox.is_idle()), (7, true));
    assert_eq!(outbox.wakes_at(), None);
}

#[test]
fn without_framing_pieces_fit_the_tokens_and_payloads_stay_whole() {
    let (mut config, _, mut local) = limited(1000, 5000);
    config.framing = Framing::None;
    let mut outbox = Outbox::new(&config);
    push(&mut outbox, &config, 0, vec![1; 3_000], &mut local);
    push(&mut outbox, &config, 0, vec![2; 40_000], &mut local);
    assert_eq!(leave(&mut outbox, &mut local).len(), 3_000, "2,000 tokens are not worth a wake-up");
    assert_eq!(outbox.wakes_at(), Some(ms(4096 - 2000)));
    local.now = ms(2500);
    assert_eq!(leave(&mut outbox, &mut local), vec![2; 4500]);
    push(&mut outbox, &config, -1, vec![3; 10], &mut local);
    let mut wire = Vec::new();
    while let Some(at) = outbox.wakes_at() {
        local.now = at;
        let piece = leave(&mut outbox, &mut local);
        assert!(!piece.is_empty() && piece.len() <= 4096 + 10, "{}", piece.len());
        wire.extend(piece);
    }
    assert_eq!(wire, [vec![2; 35_500], vec![3; 10]].concat());
    assert!(outbox.is_idle());
}

#[test]
fn what_was_cut_off_a_buffer_no_longer_counts() {
    let (config, mut outbox, mut local) = limited(1000, 1000);
    for n in 0..100 {
        push(&mut outbox, &config, 0, vec![n; 500], &mut local);
    }
    while let Some(at) = outbox.wakes_at().or(Some(local.now)).filter(|_| !outbox.is_idle()) {
        local.now = at;
        let before = outbox.bytes();
        let left = leave(&mut outbox, &mut local).len();
        assert_eq!(outbox.bytes(), before - left);
    }
    assert_eq!((outbox.bytes(), outbox.cost()), (0, 0));
}

/// The rule itself, without a queue of bytes: which frames leave at which nanosecond.
struct Reference {
    limit: RateLimit,
    /// Billionths of a byte.
    tokens: i128,
    /// What may be held above the burst: the needs of the last frame that waited.
    over: i128,
    at: u64,
    /// Priority, place in the order of arrival, wire bytes.
    waiting: Vec<(i32, u8, usize)>,
}

impl Reference {
    fn advance(&mut self, now: u64) {
        let earned = i128::from(self.limit.bytes_per_s) * i128::from(now - self.at);
        self.tokens = (self.tokens + earned).min(i128::from(self.limit.burst_bytes) * NANO + self.over);
        self.at = now;
    }

    /// The frames that leave at `now`, and when to look again.
    fn leave(&mut self, now: u64) -> (Vec<(u8, usize)>, Option<u64>) {
        self.advance(now);
        let mut left = Vec::new();
        loop {
            let Some(next) = (0..self.waiting.len()).min_by_key(|n| (self.waiting[*n].0, self.waiting[*n].1))
            else {
                self.over = 0;
                return (left, None);
            };
            let (_, id, bytes) = self.waiting[next];
            let needs = (bytes as i128).min(i128::from(self.limit.burst_bytes)) * NANO;
            if self.tokens < needs {
                self.over = needs;
                let rate = i128::from(self.limit.bytes_per_s);
                let wait = (needs - self.tokens + rate - 1) / rate;
                return (left, Some(now + wait as u64));
            }
            self.tokens -= bytes as i128 * NANO;
            self.waiting.remove(next);
            left.push((id, bytes));
        }
    }
}

const NANO: i128 = 1_000_000_000;

proptest! {
    /// On time and with a kernel that takes everything, the outbox follows the rule to the nanosecond.
    #[test]
    fn frames_leave_at_the_nanosecond_their_tokens_are_earned_most_urgent_first(
        rate in 50u64..2_000_000,
        burst_ms in 20u64..2_000,
        arrivals in prop::collection::vec(
            (0u64..400_000_000, -2i32..3, prop_oneof![1usize..300, 8_000usize..30_000]),
            1..60,
        ),
    ) {
        let limit = RateLimit::new(rate).with_burst((rate * burst_ms / 1000).max(1));
        let (config, mut outbox, mut local) = limited(limit.bytes_per_s, limit.burst_bytes);
        let full = i128::from(limit.burst_bytes) * NANO;
        let mut reference = Reference { limit, tokens: full, over: 0, at: 0, waiting: Vec::new() };
        let mut next_arrival = 0;
        let mut arrivals = arrivals.into_iter().enumerate().map(|(id, (gap, priority, len))| {
            next_arrival += gap;
            (next_arrival, id as u8 + 1, priority, len)
        }).peekable();
        loop {
            let wake = outbox.wakes_at().map(Time::as_nanos);
            let Some(now) = wake.into_iter().chain(arrivals.peek().map(|arrival| arrival.0)).min() else {
                break;
            };
            local.now = Time::from_nanos(now);
            while let Some((_, id, priority, len)) = arrivals.next_if(|arrival| arrival.0 == now) {
                push(&mut outbox, &config, priority, vec![id; len], &mut local);
                reference.waiting.push((priority, id, len + 4));
            }
            let left = frames(&leave(&mut outbox, &mut local));
            let left: Vec<_> = left.into_iter().map(|(id, len)| (id, len + 4)).collect();
            let (expected, wake) = reference.leave(now);
            prop_assert_eq!(left, expected, "at {}", now);
            prop_assert_eq!(outbox.wakes_at().map(Time::as_nanos), wake);
        }
        prop_assert!(reference.waiting.is_empty() && outbox.is_idle());
        prop_assert_eq!(outbox.cost(), 0);
    }

    /// Late wake-ups and a kernel that takes pieces, late: nothing is lost, mixed up or above the bound.
    #[test]
    fn any_kernel_gets_every_byte_within_the_bound(
        framed: bool,
        rate in 1_000u64..1_000_000,
        burst_ms in 20u64..500,
        lens in prop::collection::vec(prop_oneof![1usize..300, 8_000usize..30_000], 1..40),
        lateness in prop::collection::vec((0u64..20_000_000, 0u64..50_000_000, 1usize..20_000), 1..40),
        slice in 4096usize..100_000,
    ) {
        let burst = (rate * burst_ms / 1000).max(1);
        let (mut config, _, mut local) = limited(rate, burst);
        config.framing = if framed { Framing::LengthPrefixed } else { Framing::None };
        let mut outbox = Outbox::new(&config);
        let mut expected = Vec::new();
        for (n, len) in lens.iter().enumerate() {
            push(&mut outbox, &config, 0, vec![n as u8; *len], &mut local);
            if framed {
                expected.extend((*len as u32).to_be_bytes());
            }
            expected.extend(std::iter::repeat_n(n as u8, *len));
        }
        let longest = lens.iter().max().unwrap() + 4;
        let (mut wire, mut events) = (Vec::new(), Vec::new());
        let mut lateness = lateness.into_iter().cycle();
        while !outbox.is_idle() {
            let (late, takes, piece) = lateness.next().unwrap();
            let Some(transmit) = outbox.poll_transmit(slice, &mut local) else {
                let wake = outbox.wakes_at().expect("something waits, so there is a deadline");
                local.now = wake + Duration::from_nanos(late);
                continue;
            };
            let taken = &bytes_of(&transmit)[..piece.min(transmit.len())];
            wire.extend_from_slice(taken);
            events.push((local.now.as_nanos(), taken.len()));
            local.now = local.now + Duration::from_nanos(takes);
            outbox.handle_transmitted(transmit, piece, &mut local);
        }
        prop_assert_eq!(wire, expected);
        for first in 0..events.len() {
            let mut bytes = 0;
            for event in &events[first..] {
                bytes += event.1;
                let earned = u128::from(rate) * u128::from(event.0 - events[first].0) / 1_000_000_000;
                let bound = u128::from(burst) + earned + longest as u128;
                prop_assert!(bytes as u128 <= bound, "{bytes} bytes, bound {bound}");
            }
        }
    }
}

#[test]
fn broadcasts_wait_for_tokens_like_other_frames() {
    let (config, mut outbox, mut local) = limited(1000, 250);
    let frame = bytes::Bytes::from([&96u32.to_be_bytes()[..], &[7; 96]].concat());
    for _ in 0..4 {
        outbox.push_shared(&config, Priority::DEFAULT, frame.clone(), &mut local);
    }
    assert_eq!(frames(&leave(&mut outbox, &mut local)), [(7, 96); 2]);
    assert_eq!(outbox.wakes_at(), Some(ms(50)));
    local.now = ms(50);
    outbox.wake();
    assert_eq!(frames(&leave(&mut outbox, &mut local)), [(7, 96)]);
}
