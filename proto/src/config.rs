//! What one connection speaks.

use crate::error::ConfigError;
use crate::heartbeat::Heartbeat;
use crate::limits::Limits;
use crate::token_bucket::RateLimit;

/// How messages are told apart on the byte stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Framing {
    /// Four bytes of big-endian payload length, then the payload; zero is a legal length. The default.
    #[default]
    LengthPrefixed,
    /// No framing: each chunk that the transport delivers is one message, payloads are sent as they are.
    None,
}

/// What becomes of a connection whose peer takes less than is sent to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OverflowPolicy {
    /// `send` refuses and gives the message back; `on_drain` tells when to go on. The default.
    #[default]
    Refuse,
    /// A `send` that finds the outbox full ends the connection at once with
    /// [`CloseReason::Backpressure`](crate::CloseReason::Backpressure); what is queued is lost, because a peer
    /// that does not read would not take it in any case.
    ///
    /// For other threads the outbox is full when `remote_bytes_max` are staged behind one that is backed up;
    /// only sends that do not wait count ([`Sender::try_send`](crate::Sender::try_send)).
    Close,
}

/// Configuration shared by all connections of one server or client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The framing of both directions.
    pub framing: Framing,
    /// The bounds of each connection.
    pub limits: Limits,
    /// How fast messages may leave. Default `None`: as fast as the peer takes them.
    pub rate_limit: Option<RateLimit>,
    /// A message sent at every interval. Default `None`.
    pub heartbeat: Option<Heartbeat>,
    /// What happens when a message finds the outbox full. Default [`OverflowPolicy::Refuse`].
    pub overflow: OverflowPolicy,
}

impl Config {
    /// Checks the configuration as a whole.
    ///
    /// # Errors
    ///
    /// Names the option at fault and what would be accepted.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.limits.validate()?;
        self.rate_limit.as_ref().map_or(Ok(()), RateLimit::validate)?;
        self.heartbeat.as_ref().map_or(Ok(()), |heartbeat| heartbeat.validate(&self.limits))
    }
}
