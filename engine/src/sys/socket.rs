//! Sockets of the io_uring ring.

use std::io;
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use qwormhole_proto::{PeerAddr, PeerCredentials, PeerInfo};

use crate::ring::RingSocket;

/// A stream socket, connected or listening. Dropping it closes its descriptor; operations in flight keep the
/// connection behind it alive.
#[derive(Debug)]
pub struct Socket(socket2::Socket);

impl Socket {
    /// Takes a descriptor that an accept handed out.
    ///
    /// # Safety
    ///
    /// `fd` must be open and owned by nobody else.
    pub(super) unsafe fn from_accepted(fd: RawFd) -> Self {
        // SAFETY: by the contract of this function.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Self(fd.into())
    }

    pub(super) fn raw(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    fn credentials(&self) -> io::Result<PeerCredentials> {
        let mut credentials = MaybeUninit::<libc::ucred>::uninit();
        let mut len = size_of::<libc::ucred>() as libc::socklen_t;
        let (level, name) = (libc::SOL_SOCKET, libc::SO_PEERCRED);
        // SAFETY: the kernel writes at most `len` bytes, the size of what the pointer refers to.
        let done = unsafe {
            libc::getsockopt(self.raw(), level, name, credentials.as_mut_ptr().cast(), &raw mut len)
        };
        if done != 0 || (len as usize) < size_of::<libc::ucred>() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel reported success and that it filled the whole structure.
        let credentials = unsafe { credentials.assume_init() };
        Ok(PeerCredentials { pid: Some(credentials.pid), uid: credentials.uid, gid: credentials.gid })
    }
}

impl From<socket2::Socket> for Socket {
    fn from(socket: socket2::Socket) -> Self {
        Self(socket)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl RingSocket for Socket {
    fn peer_info(&self) -> PeerInfo {
        let Ok(addr) = self.0.peer_addr() else { return PeerInfo::new(PeerAddr::Unknown) };
        if let Some(addr) = addr.as_socket() {
            return PeerInfo::new(PeerAddr::Ip(addr));
        }
        if !addr.is_unix() {
            return PeerInfo::new(PeerAddr::Unknown);
        }
        let mut peer = PeerInfo::new(PeerAddr::Unix(addr.as_pathname().map(Into::into)));
        peer.credentials = self.credentials().ok();
        peer
    }

    fn shutdown_write(&self) {
        // The peer may be gone already; then there is nobody left to tell.
        let _ = self.0.shutdown(Shutdown::Write);
    }
}
