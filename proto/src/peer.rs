//! Who is at the other end.

use std::net::SocketAddr;
use std::path::PathBuf;

/// What is known about the peer when a connection is made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerInfo {
    /// The peer's transport address.
    pub addr: PeerAddr,
    /// The process at the other end of a unix socket, where the system tells.
    pub credentials: Option<PeerCredentials>,
}

impl PeerInfo {
    /// A peer known by its address only.
    pub const fn new(addr: PeerAddr) -> Self {
        Self { addr, credentials: None }
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
