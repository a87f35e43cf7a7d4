//! Messages that keep a quiet connection from looking dead.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;

use crate::error::ConfigError;
use crate::limits::Limits;
use crate::time::Time;

/// An ordinary message sent at every interval while the connection is open, behind everything else
/// ([`Priority::HEARTBEAT`](crate::Priority::HEARTBEAT)).
///
/// Nothing answers it and nothing is concluded from it. One that finds its predecessor still waiting, or the
/// outbox full, is skipped, so heartbeats never pile up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Heartbeat {
    /// Time between two heartbeats, at least 1 ms; the first is sent one interval after the opening. Deadlines
    /// are met up to 10 ms late.
    pub interval: Duration,
    /// What is sent. Default [`HeartbeatPayload::Ping`].
    pub payload: HeartbeatPayload,
}

impl Heartbeat {
    /// The default payload every `interval`.
    pub const fn every(interval: Duration) -> Self {
        Self { interval, payload: HeartbeatPayload::Ping }
    }

    /// The same interval with another payload.
    #[must_use]
    pub fn with_payload(self, payload: impl Into<Bytes>) -> Self {
        Self { payload: HeartbeatPayload::Fixed(payload.into()), ..self }
    }

    pub(crate) fn validate(&self, limits: &Limits) -> Result<(), ConfigError> {
        let fault = |option, fix| Err(ConfigError { option, fix });
        if self.interval < INTERVAL_MIN {
            return fault("heartbeat.interval", "must be at least 1 ms");
        }
        if self.payload.len_max() > limits.max_send_frame_len as usize {
            return fault("heartbeat.payload", "must not be longer than max_send_frame_len");
        }
        Ok(())
    }
}

/// What a heartbeat says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeartbeatPayload {
    /// `{"type":"ping","ts":<ms>}` with the milliseconds since 1970 at the moment it is queued.
    #[default]
    Ping,
    /// Always the same bytes.
    Fixed(Bytes),
}

impl HeartbeatPayload {
    /// Calls `send` with the payload's bytes at `unix_ms`; allocates nothing.
    pub(crate) fn with_bytes<R>(&self, unix_ms: u64, send: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            Self::Fixed(bytes) => send(bytes),
            Self::Ping => {
                let mut text = [0; PING_LEN_MAX];
                let mut rest = text.as_mut_slice();
                // The buffer holds the longest number.
                let written = write!(rest, r#"{{"type":"ping","ts":{unix_ms}}}"#);
                debug_assert!(written.is_ok(), "a ping is at most {PING_LEN_MAX} bytes");
                let len = PING_LEN_MAX - rest.len();
                send(text.get(..len).unwrap_or_default())
            }
        }
    }

    fn len_max(&self) -> usize {
        match self {
            Self::Ping => PING_LEN_MAX,
            Self::Fixed(bytes) => bytes.len(),
        }
    }
}

/// When the next heartbeat of a connection is due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pulse {
    pub(crate) due: Time,
    /// The last heartbeat has not left completely.
    pub(crate) unsent: bool,
}

impl Pulse {
    /// The next heartbeat after one that was due; a shard that was late does not catch up.
    pub(crate) fn advance(&mut self, now: Time, interval: Duration) {
        let next = self.due + interval;
        self.due = if next > now { next } else { now + interval };
    }
}

/// The text and a number of twenty digits.
const PING_LEN_MAX: usize = 41;
const INTERVAL_MIN: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn ping(unix_ms: u64) -> String {
        HeartbeatPayload::Ping.with_bytes(unix_ms, |bytes| String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[test]
    fn a_ping_names_the_time_in_milliseconds() {
        assert_eq!(ping(1_700_000_000_123), r#"{"type":"ping","ts":1700000000123}"#);
        assert_eq!(ping(u64::MAX), r#"{"type":"ping","ts":18446744073709551615}"#);
    }

    #[test]
    fn a_late_pulse_does_not_catch_up() {
        let at = |secs| Time::ZERO + Duration::from_secs(secs);
        let mut pulse = Pulse { due: at(10), unsent: false };
        pulse.advance(at(11), Duration::from_secs(10));
        assert_eq!(pulse.due, at(20));
        pulse.advance(at(45), Duration::from_secs(10));
        assert_eq!(pulse.due, at(55));
    }

    #[test]
    fn mistakes_name_their_option() {
        let limits = Limits { max_send_frame_len: 41, ..Limits::default() };
        let option = |heartbeat: Heartbeat| heartbeat.validate(&limits).map_err(|error| error.option);
        let second = Heartbeat::every(Duration::from_secs(1));
        assert_eq!(option(second.clone()), Ok(()));
        assert_eq!(option(Heartbeat::every(Duration::ZERO)), Err("heartbeat.interval"));
        assert_eq!(option(second.with_payload(vec![0; 42])), Err("heartbeat.payload"));
    }
}
