//! A plain blocking peer that knows nothing of the library.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use qwormhole::Address;

use super::{PATIENCE, frame};

/// A blocking stream to a server, TCP or unix.
#[derive(Debug)]
pub(crate) enum Peer {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Peer {
    pub(crate) fn connect(address: &Address) -> Self {
        let text = address.to_string();
        let peer = match text.strip_prefix("unix:") {
            Some(path) => Self::Unix(UnixStream::connect(path).expect("connect")),
            None => {
                let stream = TcpStream::connect(text.trim_start_matches("tcp://")).expect("connect");
                stream.set_nodelay(true).expect("nodelay");
                Self::Tcp(stream)
            }
        };
        peer.set_timeout(Some(PATIENCE));
        peer
    }

    pub(crate) fn set_timeout(&self, timeout: Option<Duration>) {
        match self {
            Self::Tcp(stream) => stream.set_read_timeout(timeout),
            Self::Unix(stream) => stream.set_read_timeout(timeout),
        }
        .expect("timeout");
    }

    pub(crate) fn try_clone(&self) -> Self {
        match self {
            Self::Tcp(stream) => Self::Tcp(stream.try_clone().expect("clone")),
            Self::Unix(stream) => Self::Unix(stream.try_clone().expect("clone")),
        }
    }

    pub(crate) fn send_frame(&mut self, payload: &[u8]) {
        self.write_all(&frame(payload)).expect("send");
    }

    pub(crate) fn recv_frame(&mut self) -> Vec<u8> {
        recv_frame(self)
    }

    /// Ends the write side.
    pub(crate) fn end(&self) {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
        .expect("shutdown");
    }

    /// Reads until the other side ends; a reset is an error.
    pub(crate) fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        match self {
            Self::Tcp(stream) => stream.read_to_end(&mut all),
            Self::Unix(stream) => stream.read_to_end(&mut all),
        }?;
        Ok(all)
    }
}

impl Read for Peer {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buf),
            Self::Unix(stream) => stream.read(buf),
        }
    }
}

impl Write for Peer {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(buf),
            Self::Unix(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The payload of the next frame.
pub(crate) fn recv_frame(reader: &mut impl Read) -> Vec<u8> {
    let mut header = [0; 4];
    reader.read_exact(&mut header).expect("header");
    let mut payload = vec![0; u32::from_be_bytes(header) as usize];
    reader.read_exact(&mut payload).expect("payload");
    payload
}
