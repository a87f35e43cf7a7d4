//! Every bound of one connection, in one place, with its reason.

use std::time::Duration;

use crate::error::ConfigError;

/// The bounds of one connection. `Default` is safe towards the open internet.
///
/// Worst-case memory of one connection:
/// `max_frame_len` (a frame being stitched) + `max_backpressure_bytes` + one frame (the outbox) +
/// `remote_bytes_max` (sends of other threads not yet taken over) + the receive buffers the driver had already
/// handed to the kernel when reading was paused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Longest payload accepted from the peer, in bytes, inclusive. Default 4 MiB (QWormhole's own limit);
    /// 0 admits only empty frames. A longer announcement closes the connection before anything is allocated.
    pub max_frame_len: u32,
    /// Longest payload that `send` accepts, in bytes, inclusive. Default 4 MiB, so that both ends with
    /// defaults agree.
    pub max_send_frame_len: u32,
    /// Bytes that may wait in the outbox before `send` refuses. Default 5 MiB: one largest frame and
    /// a quarter more. An empty outbox accepts any frame, or a frame above the bound could never leave.
    pub max_backpressure_bytes: usize,
    /// From here on the connection counts as backed up: `on_drain` is owed and the stall clock runs.
    /// Default 256 KiB: what waits stays in the caches of a core. A link's delay needs no more of it, because the
    /// kernel's send buffer holds what is under way.
    pub high_watermark_bytes: usize,
    /// Back at or below this, `on_drain` is called. Default 128 KiB: half the high watermark keeps the link
    /// busy while the producer wakes up.
    pub low_watermark_bytes: usize,
    /// Bytes that other threads may have staged before their `send` waits or refuses. Default 1 MiB.
    pub remote_bytes_max: usize,
    /// A backed-up connection that takes no bytes for this long is closed with
    /// [`CloseReason::Stalled`](crate::CloseReason::Stalled). Default 30 s; `Duration::ZERO` switches it off.
    /// Progress is seen per submission (at most [`Limits::transmit_bytes_max`]).
    pub stall_timeout: Duration,
    /// A started frame that gets no byte for this long, or that is older than this and slower than
    /// [`Limits::frame_bytes_per_s_min`], closes with
    /// [`CloseReason::FrameTimeout`](crate::CloseReason::FrameTimeout). Default 30 s; zero switches it off.
    pub frame_timeout: Duration,
    /// Slowest acceptable average of a started frame after `frame_timeout`. Default 1 KiB/s.
    pub frame_bytes_per_s_min: u32,
    /// How long TLS and the handshake may take together, a verifier's answer included; then the connection
    /// closes with [`CloseReason::HandshakeTimeout`](crate::CloseReason::HandshakeTimeout). Default 5 s; zero
    /// switches it off.
    pub handshake_timeout: Duration,
    /// How long a graceful close may flush the outbox, at the rate limit if there is one. Default 5 s.
    pub close_flush_timeout: Duration,
    /// How long a closed write side waits for the peer's FIN while discarding its input; closing earlier
    /// makes the kernel send a reset that destroys replies in flight. Default 2 s.
    pub linger_timeout: Duration,
    /// How much input is discarded while closing before the connection is cut. Default 16 MiB: four largest
    /// frames, so that a peer in the middle of one still sees our last reply.
    pub linger_bytes_max: u64,
    /// The most bytes of one connection submitted before other connections get their turn; how much less it is,
    /// [`Slicing`](crate::Slicing) decides. Default 256 KiB.
    pub transmit_bytes_max: usize,
    /// A connection that moves no byte in either direction for this long ends with
    /// [`CloseReason::IdleTimeout`](crate::CloseReason::IdleTimeout) after a lingering close. Default
    /// `Duration::ZERO`: off. It stands still while this side's handler has paused reading or this side's own
    /// rate limit holds messages back; a heartbeat counts as traffic.
    pub idle_timeout: Duration,
}

impl Limits {
    /// Checks that the bounds fit together.
    ///
    /// # Errors
    ///
    /// Names the option at fault and what would be accepted.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let fault = |option, fix| Err(ConfigError { option, fix });
        if self.low_watermark_bytes >= self.high_watermark_bytes {
            return fault("low_watermark_bytes", "must be below high_watermark_bytes");
        }
        if self.high_watermark_bytes > self.max_backpressure_bytes {
            return fault("high_watermark_bytes", "must not exceed max_backpressure_bytes");
        }
        if self.transmit_bytes_max < TRANSMIT_BYTES_MIN {
            return fault("transmit_bytes_max", "must be at least 4096 bytes");
        }
        if self.remote_bytes_max == 0 {
            return fault("remote_bytes_max", "must be at least 1 byte");
        }
        Ok(())
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_frame_len: 4 << 20,
            max_send_frame_len: 4 << 20,
            max_backpressure_bytes: 5 << 20,
            high_watermark_bytes: 256 << 10,
            low_watermark_bytes: 128 << 10,
            remote_bytes_max: 1 << 20,
            stall_timeout: Duration::from_secs(30),
            frame_timeout: Duration::from_secs(30),
            frame_bytes_per_s_min: 1 << 10,
            handshake_timeout: Duration::from_secs(5),
            close_flush_timeout: Duration::from_secs(5),
            linger_timeout: Duration::from_secs(2),
            linger_bytes_max: 16 << 20,
            transmit_bytes_max: 256 << 10,
            idle_timeout: Duration::ZERO,
        }
    }
}

/// Below this a submission would carry less than one page and every message its own system call.
const TRANSMIT_BYTES_MIN: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_mistakes_name_their_option() {
        assert_eq!(Limits::default().validate(), Ok(()));
        let inverted = Limits { low_watermark_bytes: 2 << 20, ..Limits::default() };
        assert_eq!(inverted.validate().unwrap_err().option, "low_watermark_bytes");
        let above = Limits { high_watermark_bytes: 6 << 20, ..Limits::default() };
        assert_eq!(above.validate().unwrap_err().option, "high_watermark_bytes");
        let tiny = Limits { transmit_bytes_max: 1, ..Limits::default() };
        assert_eq!(tiny.validate().unwrap_err().option, "transmit_bytes_max");
        let none = Limits { remote_bytes_max: 0, ..Limits::default() };
        assert_eq!(none.validate().unwrap_err().option, "remote_bytes_max");
    }
}
