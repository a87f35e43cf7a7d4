//! A connected socket.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::BytesMut;
use qwormhole_proto::{PeerAddr, PeerInfo, Segment, Transmit};
use socket2::{SockRef, Socket};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

/// A connected socket of one shard's runtime.
#[derive(Debug)]
pub(crate) enum Stream {
    /// IPv4 or IPv6.
    Tcp(TcpStream),
    /// A unix stream socket.
    #[cfg(unix)]
    Unix(UnixStream),
}

impl Stream {
    /// Takes a connected socket into the runtime at hand.
    pub(crate) fn from_socket(socket: Socket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        #[cfg(unix)]
        if socket.local_addr()?.is_unix() {
            return UnixStream::from_std(socket.into()).map(Self::Unix);
        }
        TcpStream::from_std(socket.into()).map(Self::Tcp)
    }

    /// Takes the socket out of its runtime, for another shard.
    pub(crate) fn into_socket(self) -> io::Result<Socket> {
        match self {
            Self::Tcp(stream) => stream.into_std().map(Socket::from),
            #[cfg(unix)]
            Self::Unix(stream) => stream.into_std().map(Socket::from),
        }
    }

    /// Receives into the free capacity of `room`; 0 is the end. A receive that does not fill the room tells
    /// the runtime that the socket is empty, which saves the call that would find out.
    pub(crate) fn poll_recv(&mut self, cx: &mut Context<'_>, room: &mut BytesMut) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => poll_recv(stream, cx, room),
            #[cfg(unix)]
            Self::Unix(stream) => poll_recv(stream, cx, room),
        }
    }

    /// Sends as much of `transmit` as the system takes; never 0.
    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>, transmit: &Transmit) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => poll_send(stream, cx, transmit),
            #[cfg(unix)]
            Self::Unix(stream) => poll_send(stream, cx, transmit),
        }
    }

    /// Ends the write side. A peer that has left already shows in the next receive.
    pub(crate) fn shutdown_write(&self) {
        let ended = match self {
            Self::Tcp(stream) => SockRef::from(stream).shutdown(Shutdown::Write),
            #[cfg(unix)]
            Self::Unix(stream) => SockRef::from(stream).shutdown(Shutdown::Write),
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "cannot end the write side");
        }
    }

    /// Who is at the other end; what cannot be found out is unknown.
    pub(crate) fn peer_info(&self) -> PeerInfo {
        match self {
            Self::Tcp(stream) => PeerInfo::new(stream.peer_addr().map_or(PeerAddr::Unknown, PeerAddr::Ip)),
            #[cfg(unix)]
            Self::Unix(stream) => unix_peer_info(stream),
        }
    }
}

#[cfg(unix)]
fn unix_peer_info(stream: &UnixStream) -> PeerInfo {
    let path = |addr: tokio::net::unix::SocketAddr| addr.as_pathname().map(Into::into);
    let mut info =
        PeerInfo::new(stream.peer_addr().map_or(PeerAddr::Unknown, |addr| PeerAddr::Unix(path(addr))));
    info.credentials = stream.peer_cred().ok().map(|cred| qwormhole_proto::PeerCredentials {
        pid: cred.pid(),
        uid: cred.uid(),
        gid: cred.gid(),
    });
    info
}

fn poll_recv<T: AsyncRead + Unpin>(
    stream: &mut T,
    cx: &mut Context<'_>,
    room: &mut BytesMut,
) -> Poll<io::Result<usize>> {
    pin!(stream.read_buf(room)).poll(cx)
}

fn poll_send<T: AsyncWrite + Unpin>(
    stream: &mut T,
    cx: &mut Context<'_>,
    transmit: &Transmit,
) -> Poll<io::Result<usize>> {
    let sent = match transmit.segments() {
        [only] => Pin::new(stream).poll_write(cx, only.as_slice()),
        segments => {
            let mut slices = [IoSlice::new(&[]); Transmit::SEGMENTS_MAX];
            let count = segments.len().min(slices.len());
            slices.iter_mut().zip(segments).for_each(|(slice, segment)| *slice = io_slice(segment));
            Pin::new(stream).poll_write_vectored(cx, &slices[..count])
        }
    };
    match sent {
        Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        other => other,
    }
}

fn io_slice(segment: &Segment) -> IoSlice<'_> {
    IoSlice::new(segment.as_slice())
}
