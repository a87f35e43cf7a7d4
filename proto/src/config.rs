//! What one connection speaks.

use std::sync::Arc;

use crate::error::ConfigError;
use crate::handshake::{ClientHandshake, HandshakeAck, HandshakePolicy};
use crate::heartbeat::Heartbeat;
use crate::limits::Limits;
use crate::reject::RejectHook;
use crate::tls::{ClientTls, ServerTls, TlsFault, TlsFilter};
use crate::token_bucket::RateLimit;
use crate::trust::TrustHook;

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
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Config {
    /// The framing of both directions.
    pub framing: Framing,
    /// The bounds of each connection.
    pub limits: Limits,
    /// TLS from the first byte, and on which side of it; `None` speaks plainly. Default `None`.
    pub tls: Option<TlsRole>,
    /// Our part in the handshake; `None` sends none and expects none. Default `None`.
    pub handshake: Option<HandshakeRole>,
    /// How fast messages may leave. Default `None`: as fast as the peer takes them.
    pub rate_limit: Option<RateLimit>,
    /// A message sent at every interval. Default `None`.
    pub heartbeat: Option<Heartbeat>,
    /// What happens when a message finds the outbox full. Default [`OverflowPolicy::Refuse`].
    pub overflow: OverflowPolicy,
    /// Told of connections that ended before their handler was opened. Servers only; nobody by default.
    pub on_reject: RejectHook,
    /// Told of every connection that ended. Nobody by default.
    pub on_trust_snapshot: TrustHook,
    /// Whether this side may go on sending after the peer ended its own; default false: what is queued then still
    /// leaves, and the connection closes. With true the handler is told with
    /// [`Handler::on_peer_end`](crate::Handler::on_peer_end) and decides. Meant for unencrypted connections.
    pub allow_half_open: bool,
}

/// Our side of TLS.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TlsRole {
    /// We connect to `server_name`, which the peer's certificate must be for.
    Client {
        /// What we trust and present.
        tls: ClientTls,
        /// Name or address of the peer.
        server_name: String,
    },
    /// We were connected to.
    Server(ServerTls),
}

impl TlsRole {
    /// A connection's TLS state at its start.
    pub(crate) fn filter(&self) -> Result<TlsFilter, TlsFault> {
        match self {
            Self::Client { tls, server_name } => TlsFilter::client(tls, server_name),
            Self::Server(tls) => TlsFilter::server(tls),
        }
    }
}

/// Our side of the handshake.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum HandshakeRole {
    /// We connect: ours is the first message.
    Send(Arc<ClientHandshake>),
    /// We were connected to: the peer's first message is its handshake, judged by this policy.
    Expect(Arc<HandshakePolicy>),
}

impl Config {
    /// What a client that asked for it is told when its handshake is accepted.
    pub(crate) fn ack(&self) -> HandshakeAck {
        match &self.handshake {
            Some(HandshakeRole::Expect(policy)) => HandshakeAck { version: policy.protocol_version.clone() },
            _ => HandshakeAck::default(),
        }
    }

    /// Whether the peer's handshake comes first.
    pub(crate) const fn expects_handshake(&self) -> bool {
        matches!(self.handshake, Some(HandshakeRole::Expect(_)))
    }

    /// Whether peers come unasked and have something to prove before they are let in.
    pub(crate) const fn accepts_strangers(&self) -> bool {
        matches!(self.tls, Some(TlsRole::Server(_))) || self.expects_handshake()
    }

    /// Checks the configuration as a whole.
    ///
    /// # Errors
    ///
    /// Names the option at fault and what would be accepted.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.limits.validate()?;
        self.rate_limit.as_ref().map_or(Ok(()), RateLimit::validate)?;
        let acks = matches!(self.handshake, Some(HandshakeRole::Expect(_)));
        if acks && self.ack().encode().len() > self.limits.max_send_frame_len as usize {
            let fix = "must have room for the acknowledgement of a handshake";
            return Err(ConfigError { option: "max_send_frame_len", fix });
        }
        self.heartbeat.as_ref().map_or(Ok(()), |heartbeat| heartbeat.validate(&self.limits))
    }
}
