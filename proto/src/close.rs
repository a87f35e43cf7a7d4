//! Why and how a connection ends.

use std::io;

use crate::error::FrameTooLarge;
use crate::handshake::HandshakeFault;
use crate::time::Time;
use crate::tls::TlsFault;

/// Why a connection ended; the first reason wins.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer ended the stream between two frames.
    #[error("the peer closed the connection")]
    PeerClosed,
    /// The peer ended the stream inside a frame.
    #[error("the peer closed the connection in the middle of a frame")]
    PeerTruncated,
    /// The peer, or the network, reset the connection.
    #[error("the connection was reset")]
    PeerReset,
    /// The peer announced a frame above `max_frame_len`.
    #[error(transparent)]
    FrameTooLarge(#[from] FrameTooLarge),
    /// The peer started a frame and did not go on with it in time.
    #[error("the peer sent a frame too slowly")]
    FrameTimeout,
    /// The peer took no bytes for `stall_timeout` while the outbox was backed up.
    #[error("the peer stopped reading")]
    Stalled,
    /// A message found the outbox full, and [`OverflowPolicy::Close`](crate::OverflowPolicy::Close), or for a
    /// broadcast [`BroadcastPolicy::Close`](crate::BroadcastPolicy::Close), was asked for.
    #[error("Backpressure limit exceeded")]
    Backpressure,
    /// No byte moved in either direction for `idle_timeout`.
    #[error("the connection was idle")]
    IdleTimeout,
    /// This side asked for it.
    #[error("closed by this side")]
    Local,
    /// The server or client shut down.
    #[error("the engine shut down")]
    Shutdown,
    /// The handler panicked.
    #[error("the handler panicked")]
    HandlerPanicked,
    /// The handshake was refused, by either side, or could not be made.
    #[error(transparent)]
    Handshake(#[from] HandshakeFault),
    /// TLS or the handshake was not finished within `handshake_timeout`.
    #[error("the handshake was not finished in time")]
    HandshakeTimeout,
    /// Too many connections were shaking hands; the oldest made room.
    #[error("refused: too many unfinished handshakes")]
    HandshakeOverload,
    /// TLS failed.
    #[error(transparent)]
    Tls(#[from] TlsFault),
    /// Admission refused the connection.
    #[error("refused: too many connections")]
    Refused,
    /// The server's own hook did not allow the peer.
    #[error("refused: the peer is not allowed")]
    NotAllowed,
    /// The system reported another error.
    #[error("transport error: {0}")]
    Transport(io::ErrorKind),
}

impl CloseReason {
    /// The reason behind a failed receive or send.
    pub fn from_transport(kind: io::ErrorKind) -> Self {
        match kind {
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected => Self::PeerReset,
            other => Self::Transport(other),
        }
    }

    /// Whether something went wrong: a clean end by either side is no error.
    pub const fn had_error(&self) -> bool {
        !matches!(self, Self::PeerClosed | Self::Local | Self::Shutdown)
    }
}

/// For users of streams: the kind says what ended the connection, the reason is the source.
impl From<CloseReason> for io::Error {
    fn from(reason: CloseReason) -> Self {
        let kind = match &reason {
            CloseReason::PeerClosed | CloseReason::Local | CloseReason::Shutdown => {
                io::ErrorKind::NotConnected
            }
            CloseReason::PeerTruncated => io::ErrorKind::UnexpectedEof,
            CloseReason::PeerReset => io::ErrorKind::ConnectionReset,
            CloseReason::FrameTooLarge(_) | CloseReason::Tls(_) => io::ErrorKind::InvalidData,
            CloseReason::Handshake(_) => io::ErrorKind::PermissionDenied,
            CloseReason::FrameTimeout
            | CloseReason::Stalled
            | CloseReason::IdleTimeout
            | CloseReason::HandshakeTimeout => io::ErrorKind::TimedOut,
            CloseReason::Backpressure => io::ErrorKind::Other,
            CloseReason::HandlerPanicked => io::ErrorKind::Other,
            CloseReason::Refused | CloseReason::HandshakeOverload => io::ErrorKind::ConnectionRefused,
            CloseReason::NotAllowed => io::ErrorKind::PermissionDenied,
            CloseReason::Transport(kind) => *kind,
        };
        Self::new(kind, reason)
    }
}

/// What the driver must do for a connection that is ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Everything queued has left: end the write side (FIN) and go on reading until the peer ends its own.
    ShutdownWrite,
    /// The connection is over: call [`Session::finish`](crate::Session::finish), cancel what is in flight,
    /// close the socket.
    Close,
}

/// The stages of a lingering close. Closing a socket with unread input makes the kernel reset the
/// connection, which destroys replies the peer has not read yet; so the end is: flush, FIN, discard input,
/// close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Messages flow.
    Open,
    /// What is queued leaves; input is discarded.
    Flushing { deadline: Time },
    /// The write side has ended; input is discarded until the peer ends too.
    Lingering { deadline: Time },
    /// Over, and the driver does not know yet.
    Closed,
    /// Over, and the driver knows.
    Reported,
}

impl Phase {
    pub(crate) const fn deadline(self) -> Option<Time> {
        match self {
            Self::Flushing { deadline } | Self::Lingering { deadline } => Some(deadline),
            Self::Open | Self::Closed | Self::Reported => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_io_error_keeps_the_reason() {
        let error = io::Error::from(CloseReason::PeerTruncated);
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        let source = error.get_ref().and_then(|source| source.downcast_ref::<CloseReason>());
        assert_eq!(source, Some(&CloseReason::PeerTruncated));
    }

    #[test]
    fn only_clean_ends_are_no_error() {
        assert!(!CloseReason::PeerClosed.had_error());
        assert!(!CloseReason::Local.had_error());
        assert!(CloseReason::PeerTruncated.had_error());
        assert!(CloseReason::from_transport(io::ErrorKind::BrokenPipe).had_error());
        let other = CloseReason::from_transport(io::ErrorKind::TimedOut);
        assert_eq!(other, CloseReason::Transport(io::ErrorKind::TimedOut));
    }
}
