//! Where many connections go to, without waiting for each.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

use anyhow::{Context as _, Result};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::sockopt::set_tcp_nodelay;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, socket_with};

/// A server's address, looked up once.
pub(super) struct Target {
    told: String,
    place: Place,
}

enum Place {
    Tcp(SocketAddr),
    Unix(SocketAddrUnix),
}

impl Target {
    /// Reads `tcp://host:port`, `unix:/path` or `unix:@name`.
    pub(super) fn find(address: &str) -> Result<Self> {
        let told = format!("cannot connect to {address}");
        let place = match address.strip_prefix("unix:") {
            Some(place) => Place::Unix(match place.strip_prefix('@') {
                Some(name) => {
                    SocketAddrUnix::new_abstract_name(name.as_bytes()).with_context(|| told.clone())?
                }
                None => SocketAddrUnix::new(place).with_context(|| told.clone())?,
            }),
            None => {
                let place = address.strip_prefix("tcp://").unwrap_or(address);
                let mut found = place.to_socket_addrs().with_context(|| told.clone())?;
                Place::Tcp(found.next().with_context(|| told.clone())?)
            }
        };
        Ok(Self { told, place })
    }

    /// Begins to connect; the socket is writable as soon as it is connected. On loopback, `source` chooses one
    /// of the addresses from 127.0.0.2 up, each of which has ports of its own.
    pub(super) fn connect(&self, source: u64) -> Result<OwnedFd> {
        self.begin(source).with_context(|| self.told.clone())
    }

    /// What came of connecting, when the socket is writable.
    pub(super) fn check(&self, socket: &OwnedFd) -> Result<()> {
        rustix::net::sockopt::socket_error(socket)?.with_context(|| self.told.clone())
    }

    fn begin(&self, source: u64) -> Result<OwnedFd> {
        let flags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);
        match &self.place {
            Place::Tcp(to) => {
                let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
                let socket = socket_with(family, SocketType::STREAM, flags, None)?;
                set_tcp_nodelay(&socket, true)?;
                if to.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) {
                    let last = SOURCE_FIRST + (source % SOURCES) as u8;
                    let from = SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0));
                    bind(&socket, &from).context("no local port is left")?;
                }
                match connect(&socket, to) {
                    Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
                    Err(error) => Err(error.into()),
                }
            }
            Place::Unix(to) => {
                // A full backlog is waited for: such a socket cannot be told later.
                let socket =
                    socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
                connect(&socket, to)?;
                rustix::io::ioctl_fionbio(&socket, true)?;
                Ok(socket)
            }
        }
    }
}

/// The last byte of the first source address on loopback.
const SOURCE_FIRST: u8 = 2;
const SOURCES: u64 = 200;
