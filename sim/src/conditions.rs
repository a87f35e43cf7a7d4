//! How well a simulated link behaves.

use std::time::Duration;

use fastrand::Rng;

/// The behaviour of one link, the same in both directions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// Shortest one-way delay of a segment.
    pub delay_min: Duration,
    /// Longest one-way delay of a segment; segments never overtake each other.
    pub delay_max: Duration,
    /// Longest segment in bytes; each has a random length up to it.
    pub segment_bytes_max: usize,
    /// What the sender's kernel takes before a send becomes partial or waits, in bytes.
    pub send_buffer_bytes: usize,
    /// What may be under way or unread at the receiver, in bytes.
    pub recv_window_bytes: usize,
    /// Longest single receive of a driver, in bytes; each has a random length up to it.
    pub read_bytes_max: usize,
    /// How often a send is partial although there is room, in percent.
    pub short_send_percent: u8,
    /// How often a segment or a receive waits for up to `stall_max` more, in percent.
    pub stall_percent: u8,
    /// Longest such wait.
    pub stall_max: Duration,
    /// How often a receive that had begun completes although reading was paused meanwhile, in percent.
    pub late_read_percent: u8,
}

impl Conditions {
    /// A fast and orderly link: large segments, no stalls, no partial sends.
    pub const fn calm() -> Self {
        Self {
            delay_min: Duration::from_micros(50),
            delay_max: Duration::from_micros(50),
            segment_bytes_max: 64 << 10,
            send_buffer_bytes: 256 << 10,
            recv_window_bytes: 256 << 10,
            read_bytes_max: 64 << 10,
            short_send_percent: 0,
            stall_percent: 0,
            stall_max: Duration::ZERO,
            late_read_percent: 0,
        }
    }

    /// Anything from an orderly link to one that moves bytes one by one.
    pub fn random(rng: &mut Rng) -> Self {
        // Sizes are drawn by their magnitude, so that tiny and large ones are equally likely.
        let size = |rng: &mut Rng, low: u32, high: u32| {
            let base = 1usize << rng.u32(low..high);
            rng.usize(base..2 * base)
        };
        let delay_min = Duration::from_micros(rng.u64(1..20_000));
        Self {
            delay_min,
            delay_max: delay_min + Duration::from_micros(rng.u64(0..20_000)),
            segment_bytes_max: size(rng, 3, 17),
            send_buffer_bytes: size(rng, 8, 19),
            recv_window_bytes: size(rng, 8, 19),
            read_bytes_max: size(rng, 5, 17),
            short_send_percent: rng.u8(0..50),
            stall_percent: rng.u8(0..10),
            stall_max: Duration::from_millis(rng.u64(1..200)),
            late_read_percent: rng.u8(0..100),
        }
    }
}
