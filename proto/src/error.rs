//! Errors of the public operations; a refused message always comes back.

use std::fmt;
use std::io;

use crate::close::CloseReason;

/// Why a message was not accepted, and the message itself.
#[derive(Clone, PartialEq, Eq)]
pub struct SendError<P> {
    /// What stood in the way.
    pub kind: SendErrorKind,
    /// The message, unchanged.
    pub payload: P,
}

/// What stood in the way of a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendErrorKind {
    /// The queue holds as much as its bound allows; `on_drain` (or `ready`) tells when to go on.
    #[error("the connection's queue is full")]
    Full,
    /// The payload is longer than `max_send_frame_len`.
    #[error("Frame length {len} exceeds limit {limit}")]
    TooLarge {
        /// Length of the payload in bytes.
        len: usize,
        /// The configured `max_send_frame_len`.
        limit: u32,
    },
    /// The connection is closing or closed.
    #[error("the connection is closed: {0}")]
    Closed(CloseReason),
    /// There is no connection at the moment, and the sender asked not to wait for one.
    #[error("the client is not connected")]
    NotConnected,
}

impl<P> SendError<P> {
    /// Whether the same message may be accepted later.
    pub fn is_retryable(&self) -> bool {
        self.kind == SendErrorKind::Full
    }
}

impl<P> fmt::Debug for SendError<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SendError").field(&self.kind).finish()
    }
}

impl<P> fmt::Display for SendError<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.kind, f)
    }
}

impl<P> std::error::Error for SendError<P> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.kind)
    }
}

/// For users of streams. The message is dropped.
impl<P> From<SendError<P>> for io::Error {
    fn from(error: SendError<P>) -> Self {
        error.kind.into()
    }
}

impl From<SendErrorKind> for io::Error {
    fn from(kind: SendErrorKind) -> Self {
        match kind {
            SendErrorKind::Full => Self::new(io::ErrorKind::WouldBlock, kind),
            SendErrorKind::TooLarge { .. } => Self::new(io::ErrorKind::InvalidInput, kind),
            SendErrorKind::Closed(reason) => reason.into(),
            SendErrorKind::NotConnected => Self::new(io::ErrorKind::NotConnected, kind),
        }
    }
}

/// An option whose value cannot work, and what would.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("option `{option}`: {fix}")]
pub struct ConfigError {
    /// Name of the option or environment variable.
    pub option: &'static str,
    /// What would be accepted.
    pub fix: &'static str,
}

/// A peer announced a frame above the receiver's limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Frame length {len} exceeds limit {limit}")]
pub struct FrameTooLarge {
    /// The announced payload length in bytes.
    pub len: u32,
    /// The receiver's `max_frame_len`.
    pub limit: u32,
}
