//! The file of a listening unix socket.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process;

use socket2::{Domain, SockAddr, Socket, Type};

/// The file that `bind` made. Dropping it removes the file, if it is still that one and this process is still
/// the one that made it.
#[derive(Debug)]
pub(crate) struct UnixFile {
    path: PathBuf,
    identity: (u64, u64),
    pid: u32,
}

impl UnixFile {
    /// Binds `socket` to `path`. A file left behind by a server that is gone is replaced; a server that
    /// answers is not, and neither is a file that is no socket.
    pub(crate) fn bind(socket: &Socket, path: &Path, mode: Option<u32>) -> io::Result<Self> {
        let addr = SockAddr::unix(path)?;
        match socket.bind(&addr) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                remove_stale(path, &addr)?;
                socket.bind(&addr)?;
            }
            bound => bound?,
        }
        let metadata = fs::symlink_metadata(path)?;
        // The file must go whatever happens to the working directory.
        let path = std::path::absolute(path)?;
        let file = Self { path, identity: identity(&metadata), pid: process::id() };
        if let Some(mode) = mode {
            // Nobody can connect before `listen`, so the mode is in force in time.
            fs::set_permissions(&file.path, fs::Permissions::from_mode(mode))?;
        }
        Ok(file)
    }
}

impl Drop for UnixFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|now| identity(&now) == self.identity);
        if ours && self.pid == process::id() {
            // A directory that became read-only keeps the file; the next server replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes the file of a server that is gone.
fn remove_stale(path: &Path, addr: &SockAddr) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the file exists and is not a socket"));
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A server whose backlog is full must not hold us up.
    probe.set_nonblocking(true)?;
    match probe.connect(addr) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
        _ => return Err(io::Error::new(io::ErrorKind::AddrInUse, "another server listens there")),
    }
    // Another server may have replaced it since; its file stays.
    match fs::symlink_metadata(path) {
        Ok(now) if identity(&now) == identity(&found) => fs::remove_file(path),
        _ => Ok(()),
    }
}

fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};

    fn bind(path: &Path) -> io::Result<(Socket, UnixFile)> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        let file = UnixFile::bind(&socket, path, Some(0o600))?;
        socket.listen(1)?;
        Ok((socket, file))
    }

    #[test]
    fn a_stale_file_is_replaced_and_the_own_one_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("q");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "std leaves the file behind");
        let (_socket, file) = bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        UnixStream::connect(&path).unwrap();
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_server_that_answers_keeps_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("q");
        let _server = UnixListener::bind(&path).unwrap();
        assert_eq!(bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn a_server_with_a_full_backlog_keeps_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("q");
        let server = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        server.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        server.listen(0).unwrap();
        let _waiting = UnixStream::connect(&path).unwrap();
        assert_eq!(bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("precious");
        fs::write(&path, "data").unwrap();
        assert_eq!(bind(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"data");
    }

    #[test]
    fn the_file_of_a_successor_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("q");
        let (_socket, file) = bind(&path).unwrap();
        // Bound before the removal, so that its file cannot get the same identity.
        let beside = dir.path().join("beside");
        let _successor = UnixListener::bind(&beside).unwrap();
        fs::rename(&beside, &path).unwrap();
        drop(file);
        assert!(path.exists());
    }
}
