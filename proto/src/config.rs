//! What one connection speaks.

use crate::error::ConfigError;
use crate::limits::Limits;
use crate::reject::RejectHook;

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

/// Configuration shared by all connections of one server or client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The framing of both directions.
    pub framing: Framing,
    /// The bounds of each connection.
    pub limits: Limits,
    /// Told of connections that ended before their handler was opened. Servers only; nobody by default.
    pub on_reject: RejectHook,
    /// Whether this side may go on sending after the peer ended its own; default false: what is queued then still
    /// leaves, and the connection closes. With true the handler is told with
    /// [`Handler::on_peer_end`](crate::Handler::on_peer_end) and decides. Meant for unencrypted connections.
    pub allow_half_open: bool,
}

impl Config {
    /// Checks the configuration as a whole.
    ///
    /// # Errors
    ///
    /// Names the option at fault and what would be accepted.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.limits.validate()
    }
}
