//! Listening sockets: bound, listening and not blocking, in groups as the drivers want them.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use qwormhole_proto::Limits;
use socket2::{Domain, SockAddr, Socket};

use crate::address::Address;
use crate::error::StartError;
use crate::resolve::resolve_here;
use crate::socket::SocketOptions;
#[cfg(unix)]
use crate::unix_file::UnixFile;

/// Something a server is to listen on.
#[derive(Debug)]
pub(crate) enum Target {
    Address(Address),
    /// A socket that somebody else bound.
    Socket(Socket),
}

impl Target {
    /// Whether its address says so.
    pub(crate) fn asks_for_tls(&self) -> bool {
        matches!(self, Self::Address(address) if address.is_tls())
    }
}

/// How to bind.
#[derive(Debug)]
pub(crate) struct Binding<'a> {
    pub(crate) shards: usize,
    pub(crate) unix_mode: Option<u32>,
    pub(crate) options: &'a SocketOptions,
    pub(crate) limits: &'a Limits,
}

/// Everything that was bound.
#[derive(Debug, Default)]
pub(crate) struct Bound {
    /// One group per address: a socket per shard, or one.
    pub(crate) groups: Vec<Vec<Socket>>,
    pub(crate) addrs: Vec<Address>,
    /// Removed when dropped.
    #[cfg(unix)]
    pub(crate) files: Vec<UnixFile>,
}

impl Binding<'_> {
    /// Binds all of `targets`, or none.
    pub(crate) fn bind(&self, targets: Vec<Target>) -> Result<Bound, StartError> {
        if targets.is_empty() {
            return Err(StartError::NoAddress);
        }
        let v4_ports = unspecified_v4_ports(&targets);
        let mut bound = Bound::default();
        for target in targets {
            let (result, address) = match target {
                Target::Address(Address::Tcp { host, port } | Address::Tls { host, port }) => {
                    let result = self.bind_tcp(&host, port, &v4_ports, &mut bound);
                    (result, Address::Tcp { host, port }.to_string())
                }
                Target::Address(address) => (self.bind_unix(&address, &mut bound), address.to_string()),
                Target::Socket(socket) => (adopt(socket, &mut bound), "the inherited socket".to_owned()),
            };
            result.map_err(|source| StartError::Bind { address, source })?;
        }
        Ok(bound)
    }

    /// Binds every address of the host. A name's address of a family that the machine lacks is left out.
    fn bind_tcp(&self, host: &str, port: u16, v4_ports: &[u16], bound: &mut Bound) -> io::Result<()> {
        let mut addrs = resolve_here(host, port)?;
        addrs.sort_unstable();
        addrs.dedup();
        let mut attempts_left = if port == 0 && addrs.len() > 1 { SHARED_PORT_ATTEMPTS } else { 1 };
        loop {
            attempts_left -= 1;
            match self.bind_addrs(&addrs, v4_ports) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts_left > 0 => {}
                Err(error) => return Err(error),
                Ok(groups) => {
                    for (group, addr) in groups {
                        bound.groups.push(group);
                        bound.addrs.push(addr.into());
                    }
                    return Ok(());
                }
            }
        }
    }

    /// Binds `addrs` to one port; with port 0 the first address chooses it.
    fn bind_addrs(
        &self,
        addrs: &[SocketAddr],
        v4_ports: &[u16],
    ) -> io::Result<Vec<(Vec<Socket>, SocketAddr)>> {
        let mut groups = Vec::new();
        let mut chosen = None;
        let mut missing = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for addr in addrs {
            let mut addr = *addr;
            addr.set_port(chosen.unwrap_or_else(|| addr.port()));
            match self.bind_group(addr, v4_ports) {
                Ok((group, addr)) => {
                    chosen = Some(addr.port());
                    groups.push((group, addr));
                }
                Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => missing = error,
                Err(error) => return Err(error),
            }
        }
        if groups.is_empty() { Err(missing) } else { Ok(groups) }
    }

    /// Binds one address: a socket per shard where the kernel spreads connections over them, else one.
    fn bind_group(&self, addr: SocketAddr, v4_ports: &[u16]) -> io::Result<(Vec<Socket>, SocketAddr)> {
        let dual_stack = addr.ip() == Ipv6Addr::UNSPECIFIED && !v4_ports.contains(&addr.port());
        let sockets = if cfg!(target_os = "linux") { self.shards } else { 1 };
        // Without `SO_REUSEPORT` this one finds out whether somebody listens already; while it lives, the port
        // it was given belongs to it.
        let first = self.open_tcp(addr, dual_stack)?;
        first.bind(&addr.into())?;
        let addr = first.local_addr()?.as_socket().unwrap_or(addr);
        let mut group = Vec::with_capacity(sockets);
        if sockets == 1 {
            group.push(first);
        } else {
            for _ in 0..sockets {
                let socket = self.open_tcp(addr, dual_stack)?;
                #[cfg(target_os = "linux")]
                socket.set_reuse_port(true)?;
                socket.bind(&addr.into())?;
                group.push(socket);
            }
        }
        for socket in &group {
            socket.listen(BACKLOG)?;
        }
        Ok((group, addr))
    }

    fn open_tcp(&self, addr: SocketAddr, dual_stack: bool) -> io::Result<Socket> {
        let domain = Domain::for_address(addr);
        let socket = self.options.open(domain, self.limits).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => error,
            _ => io::Error::new(io::ErrorKind::AddrNotAvailable, error),
        })?;
        if domain == Domain::IPV6 {
            socket.set_only_v6(!dual_stack)?;
        }
        #[cfg(target_os = "linux")]
        if self.options.reuse_port {
            socket.set_reuse_port(true)?;
        }
        // Elsewhere it would let two servers share a port by accident.
        if cfg!(unix) {
            socket.set_reuse_address(true)?;
        }
        Ok(socket)
    }

    #[cfg(unix)]
    fn bind_unix(&self, address: &Address, bound: &mut Bound) -> io::Result<()> {
        let socket = self.options.open(Domain::UNIX, self.limits)?;
        match address {
            Address::Unix(path) => {
                let file = UnixFile::bind(&socket, path, self.unix_mode)?;
                bound.addrs.push(Address::Unix(path.clone()));
                bound.files.push(file);
            }
            other => {
                socket.bind(&unix_addr(other)?)?;
                bound.addrs.push(other.clone());
            }
        }
        socket.listen(BACKLOG)?;
        bound.groups.push(vec![socket]);
        Ok(())
    }

    #[cfg(not(unix))]
    fn bind_unix(&self, _address: &Address, _bound: &mut Bound) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// The system's form of a unix address; TCP addresses have none before they are resolved.
pub(crate) fn unix_addr(address: &Address) -> io::Result<SockAddr> {
    match address {
        Address::Unix(path) => SockAddr::unix(path),
        Address::Abstract(name) => SockAddr::unix(format!("\0{name}")),
        Address::Tcp { .. } | Address::Tls { .. } => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// Takes over a socket that was bound elsewhere, listening or not.
fn adopt(socket: Socket, bound: &mut Bound) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    // Also turns a socket that was only bound into a listening one.
    socket.listen(BACKLOG)?;
    bound.addrs.push(address_of(&socket.local_addr()?)?);
    bound.groups.push(vec![socket]);
    Ok(())
}

fn address_of(addr: &SockAddr) -> io::Result<Address> {
    if let Some(addr) = addr.as_socket() {
        return Ok(addr.into());
    }
    #[cfg(unix)]
    if let Some(path) = addr.as_pathname() {
        return Ok(Address::Unix(path.to_owned()));
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Some(name) = addr.as_abstract_namespace() {
        return Ok(Address::Abstract(String::from_utf8_lossy(name).into_owned()));
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "neither a TCP nor a unix socket"))
}

/// The ports that are bound for all of IPv4 by an address of their own; `[::]` then stands for IPv6 only.
fn unspecified_v4_ports(targets: &[Target]) -> Vec<u16> {
    let v4_port = |target: &Target| match target {
        Target::Address(address) => address.socket_addr(),
        Target::Socket(socket) => socket.local_addr().ok().and_then(|addr| addr.as_socket()),
    };
    let addrs = targets.iter().filter_map(v4_port);
    addrs
        .filter(|addr| matches!(addr.ip(), IpAddr::V4(v4) if v4.is_unspecified()) && addr.port() != 0)
        .map(|addr| addr.port())
        .collect()
}

/// Connections that may wait to be accepted; the system's own bound (`somaxconn`) applies besides.
const BACKLOG: i32 = 4096;
/// How often another port is tried when one that is free for one address is taken for another.
const SHARED_PORT_ATTEMPTS: u32 = 16;

#[cfg(test)]
#[path = "listen_tests.rs"]
mod tests;
