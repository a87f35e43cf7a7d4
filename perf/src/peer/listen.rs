//! Listening sockets.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};

use anyhow::{Context as _, Result, bail};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, listen, socket_with, sockopt};

use super::tuning::Tuning;

/// One listener for each of `threads`, all at `address`; the kernel spreads connections over them.
///
/// # Errors
///
/// Names the address.
pub(crate) fn listeners(address: &str, threads: usize, tuning: Tuning) -> Result<Vec<TcpListener>> {
    let place = tcp_place(address)?;
    let told = || format!("cannot listen on {address}");
    let at = place.to_socket_addrs().with_context(told)?.next().with_context(told)?;
    let first = listener(at, threads > 1, tuning).with_context(told)?;
    let at = first.local_addr().with_context(told)?;
    let mut all = vec![first];
    for _ in 1..threads {
        all.push(listener(at, true, tuning).with_context(told)?);
    }
    Ok(all)
}

/// The `host:port` in `tcp://host:port`.
///
/// # Errors
///
/// Says that only TCP is spoken.
pub(crate) fn tcp_place(address: &str) -> Result<&str> {
    if address.starts_with("unix:") || address.starts_with("tls:") {
        bail!("{address}: this system speaks plain TCP only: tcp://host:port");
    }
    Ok(address.strip_prefix("tcp://").unwrap_or(address))
}

fn listener(at: SocketAddr, shared: bool, tuning: Tuning) -> Result<TcpListener> {
    let family = if at.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, Some(ipproto::TCP))?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, shared)?;
    // Accepted sockets inherit this and the sizes.
    sockopt::set_tcp_nodelay(&socket, true)?;
    if tuning.socket_bytes > 0 {
        sockopt::set_socket_recv_buffer_size(&socket, tuning.socket_bytes)?;
        sockopt::set_socket_send_buffer_size(&socket, tuning.socket_bytes)?;
    }
    bind(&socket, &at)?;
    listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

/// What the kernel holds until it is accepted; the kernel's own limit is at or below it.
const BACKLOG: i32 = 4096;

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn threads_share_one_port() {
        let all = listeners("tcp://127.0.0.1:0", 3, Tuning::new(1024, 1024)).unwrap();
        let places: Vec<_> = all.iter().map(|it| it.local_addr().unwrap()).collect();
        assert!(places.iter().all(|place| *place == places[0]) && places.len() == 3);
        TcpStream::connect(places[0]).unwrap();
    }

    #[test]
    fn an_occupied_port_and_other_transports_are_named() {
        let tuning = Tuning::new(1024, 1024);
        let holder = listeners("127.0.0.1:0", 1, tuning).unwrap();
        let address = holder[0].local_addr().unwrap().to_string();
        let error = format!("{:#}", listeners(&address, 1, tuning).unwrap_err());
        assert!(error.contains(&address) && error.contains("in use"), "{error}");
        assert!(listeners("unix:@x", 1, tuning).is_err());
    }
}
