//! Options of the sockets, and how they are made.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use qwormhole_proto::Limits;
use socket2::{Domain, SockAddr, Socket, TcpKeepalive, Type};

use crate::interface::InterfaceAddrs;

/// Options of the system's sockets. Accepted connections inherit those of their listening socket.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketOptions {
    /// Sends small segments at once (`TCP_NODELAY`). Default true: the engine batches by itself.
    pub nodelay: bool,
    /// Asks a silent peer for a sign of life after this long, in whole seconds (`SO_KEEPALIVE`); `None` never
    /// asks. Default 30 s.
    pub keepalive: Option<Duration>,
    /// The kernel's receive buffer in bytes (`SO_RCVBUF`); `None` leaves it to the system, which adapts it.
    /// Default `None`.
    pub recv_buffer_bytes: Option<usize>,
    /// The kernel's send buffer in bytes (`SO_SNDBUF`); `None` leaves it to the system, which adapts it.
    /// Default `None`.
    pub send_buffer_bytes: Option<usize>,
    /// Where a client's TCP connections come from; port 0 lets the system choose. Servers ignore it. Default
    /// `None`.
    pub local_addr: Option<SocketAddr>,
    /// The interface, such as `wg0`, whose address a client's TCP connections come from: its first address of
    /// the peer's family, a link-local one only towards link-local peers unless it has no other. Looked up for
    /// each connection; addresses of the peer that it has no family for are not tried. Not used when `local_addr`
    /// is set. Servers ignore it. Default `None`.
    pub interface: Option<String>,
    /// Lets other processes of the same user listen on a server's TCP port too, as long as all of them say so; the
    /// system spreads connections over them (`SO_REUSEPORT`). Linux only; elsewhere, and for clients, it changes nothing.
    /// Default false: a second server on the port is an error.
    pub reuse_port: bool,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            nodelay: true,
            keepalive: Some(Duration::from_secs(30)),
            recv_buffer_bytes: None,
            send_buffer_bytes: None,
            local_addr: None,
            interface: None,
            reuse_port: false,
        }
    }
}

impl SocketOptions {
    /// A fresh, non-blocking socket of the address' family with every option set.
    pub(crate) fn open(&self, domain: Domain, limits: &Limits) -> io::Result<Socket> {
        let socket = Socket::new(domain, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        if let Some(bytes) = self.recv_buffer_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(bytes) = self.send_buffer_bytes {
            socket.set_send_buffer_size(bytes)?;
        }
        if domain == Domain::IPV4 || domain == Domain::IPV6 {
            self.set_tcp(&socket, limits)?;
        }
        Ok(socket)
    }

    /// The socket of one connection attempt.
    pub(crate) fn open_to(
        &self,
        addr: &SockAddr,
        interface: Option<&InterfaceAddrs>,
        limits: &Limits,
    ) -> io::Result<Socket> {
        let socket = self.open(addr.domain(), limits)?;
        if let Some(peer) = addr.as_socket()
            && let Some(local) = self.local_addr.or_else(|| interface?.toward(&peer))
        {
            socket.bind(&local.into())?;
        }
        Ok(socket)
    }

    fn set_tcp(&self, socket: &Socket, limits: &Limits) -> io::Result<()> {
        socket.set_tcp_nodelay(self.nodelay)?;
        if let Some(after) = self.keepalive {
            socket.set_tcp_keepalive(&keepalive(after.max(Duration::from_secs(1))))?;
        }
        // Unacknowledged data is given up after this long. The peer's closed window counts too, so it is well
        // above the limit that closes such a connection with a reason of its own, and off with it.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if !limits.stall_timeout.is_zero() {
            socket
                .set_tcp_user_timeout(Some(limits.stall_timeout.saturating_mul(4).min(USER_TIMEOUT_MAX)))?;
        }
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let _ = limits;
        Ok(())
    }
}

fn keepalive(after: Duration) -> TcpKeepalive {
    let keepalive = TcpKeepalive::new().with_time(after);
    #[cfg(any(
        target_os = "linux",
        target_os = "android",
        target_os = "freebsd",
        target_os = "macos",
        target_os = "windows"
    ))]
    let keepalive = keepalive.with_interval(PROBE_INTERVAL);
    keepalive
}

/// Between two keepalive probes.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);
/// The option is a number of milliseconds of 31 bits.
#[cfg(any(target_os = "linux", target_os = "android"))]
const USER_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn tcp_sockets_get_every_option() {
        let options = SocketOptions { recv_buffer_bytes: Some(8192), ..SocketOptions::default() };
        let socket = options.open(Domain::IPV4, &Limits::default()).unwrap();
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(30));
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(120)));
        assert_eq!(socket.recv_buffer_size().unwrap(), 2 * 8192, "the kernel doubles it");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_peer_that_may_stall_for_ever_is_not_cut_by_the_kernel() {
        let mut limits = Limits::default();
        limits.stall_timeout = Duration::ZERO;
        let options = SocketOptions { keepalive: None, ..SocketOptions::default() };
        let socket = options.open(Domain::IPV4, &limits).unwrap();
        assert_eq!(socket.tcp_user_timeout().unwrap(), None);
        assert!(!socket.keepalive().unwrap());
    }

    #[test]
    fn a_client_socket_comes_from_where_it_is_told() {
        let local = SocketAddr::from(([127, 0, 0, 2], 0));
        let options = SocketOptions { local_addr: Some(local), ..SocketOptions::default() };
        let peer = SocketAddr::from(([127, 0, 0, 1], 9));
        let socket = options.open_to(&peer.into(), None, &Limits::default()).unwrap();
        assert_eq!(socket.local_addr().unwrap().as_socket().unwrap().ip(), local.ip());
    }
}
