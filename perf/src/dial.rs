//! Plain connections of the neutral load generator.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use rustix::fd::OwnedFd;

use crate::hello::{check_answer, hello};

/// Connects to `tcp://host:port`, `unix:/path` or `unix:@name`, shows a token if there is one, and makes the
/// socket non-blocking.
///
/// # Errors
///
/// Names the address.
pub(crate) fn dial(address: &str, token: Option<&str>) -> Result<OwnedFd> {
    let told = || format!("cannot connect to {address}");
    if let Some(place) = address.strip_prefix("unix:") {
        let mut socket = match place.strip_prefix('@') {
            Some(name) => {
                SocketAddr::from_abstract_name(name).and_then(|name| UnixStream::connect_addr(&name))
            }
            None => UnixStream::connect(place),
        }
        .with_context(told)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        greet(&mut socket, token).with_context(told)?;
        socket.set_nonblocking(true)?;
        return Ok(socket.into());
    }
    let socket = connect_tcp(address, token)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Connects to `tcp://host:port`, shows a token if there is one, and leaves the socket blocking and without
/// Nagle's delay.
///
/// # Errors
///
/// Names the address.
pub(crate) fn connect_tcp(address: &str, token: Option<&str>) -> Result<TcpStream> {
    let told = || format!("cannot connect to {address}");
    let place = address.strip_prefix("tcp://").unwrap_or(address);
    let mut socket = TcpStream::connect(place).with_context(told)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    greet(&mut socket, token).with_context(told)?;
    socket.set_read_timeout(None)?;
    Ok(socket)
}

fn greet(socket: &mut (impl Read + Write), token: Option<&str>) -> Result<()> {
    let Some(token) = token else { return Ok(()) };
    let message = hello(token);
    socket.write_all(&(message.len() as u32).to_be_bytes())?;
    socket.write_all(message.as_bytes())?;
    let mut header = [0; 4];
    socket.read_exact(&mut header).context("the peer does not answer")?;
    let len = u32::from_be_bytes(header) as usize;
    ensure!(len <= ANSWER_MAX, "the peer does not answer as an echo server would");
    let mut answer = vec![0; len];
    socket.read_exact(&mut answer).context("the peer does not answer")?;
    check_answer(&answer, token).map_err(|reason| anyhow!(reason))
}

/// How long a peer may take to answer the first message.
const PATIENCE: Duration = Duration::from_secs(5);
/// No greeting and no refusal is longer.
const ANSWER_MAX: usize = 4096;
