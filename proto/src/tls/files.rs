//! What the options need from the system.

use std::io;
use std::path::Path;

/// Reads what [`TlsOptions`](super::TlsOptions) name but do not contain. It is called while a
/// [`ClientTls`](super::ClientTls) or [`ServerTls`](super::ServerTls) is built and when a certificate is reloaded,
/// never for a connection.
pub trait TlsFiles {
    /// The content of a file.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// The certificates, in DER form, of the authorities that this computer trusts. Asked for only when the peer's
    /// certificate is to be checked and no `ca` is given.
    ///
    /// # Errors
    ///
    /// When there is no such list.
    fn platform_roots(&self) -> io::Result<Vec<Vec<u8>>>;
}

/// No files and no list of authorities: everything must be in the options. For simulations and tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFiles;

impl TlsFiles for NoFiles {
    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "there are no files here"))
    }

    fn platform_roots(&self) -> io::Result<Vec<Vec<u8>>> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "there is no list of authorities here"))
    }
}
