//! Who is at the other end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::handshake::HandshakeInfo;
use crate::tls::TlsFacts;

/// What is known about the peer when a connection is made.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PeerInfo {
    /// The peer's transport address.
    pub addr: PeerAddr,
    /// The process at the other end of a unix socket, where the system tells.
    pub credentials: Option<PeerCredentials>,
    /// What TLS agreed on and the peer's certificate; `None` without TLS.
    pub tls: Option<Arc<TlsFacts>>,
    /// The handshake that was accepted; `None` on the connecting side and where none is asked for.
    pub handshake: Option<Arc<HandshakeInfo>>,
    /// Whether the server acknowledged our handshake, as [`ClientHandshake::ask_ack`] asks it to.
    ///
    /// [`ClientHandshake::ask_ack`]: crate::handshake::ClientHandshake::ask_ack
    pub acknowledged: bool,
}

impl PeerInfo {
    /// A peer known by its address only.
    pub const fn new(addr: PeerAddr) -> Self {
        Self { addr, credentials: None, tls: None, handshake: None, acknowledged: false }
    }
}

/// The peer's transport address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PeerAddr {
    /// IPv4 or IPv6.
    Ip(SocketAddr),
    /// A unix socket; the connecting side usually has no path.
    Unix(Option<PathBuf>),
    /// The system would not tell (the peer left before it was asked), or a simulated peer.
    Unknown,
}

/// Credentials of the process at the other end of a unix socket, as of its `connect` or `listen`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerCredentials {
    /// Process id, where the system tells.
    pub pid: Option<i32>,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
}
