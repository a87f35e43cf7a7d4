//! Where TLS options get their files and authorities from.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use qwormhole_proto::TlsFiles;

/// This computer's files and the authorities it trusts. Both are read, blocking, while a client or server is built
/// and when a certificate is reloaded.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SystemFiles;

impl TlsFiles for SystemFiles {
    /// At most 1 MiB; a longer file is an error.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut content)?;
        if content.len() as u64 > FILE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is longer than 1 MiB"));
        }
        Ok(content)
    }

    /// The environment variables `SSL_CERT_FILE` and `SSL_CERT_DIR` say where else to look.
    fn platform_roots(&self) -> io::Result<Vec<Vec<u8>>> {
        let mut found = rustls_native_certs::load_native_certs();
        if found.certs.is_empty() && !found.errors.is_empty() {
            return Err(io::Error::other(found.errors.swap_remove(0)));
        }
        Ok(found.certs.iter().map(|certificate| certificate.to_vec()).collect())
    }
}

/// Certificates and keys are a thousandth of it; a device or a wrong file may have no end.
const FILE_BYTES_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pem");
        std::fs::write(&path, vec![b'x'; 1 << 20]).unwrap();
        assert_eq!(SystemFiles.read(&path).unwrap().len(), 1 << 20);
        std::fs::write(&path, vec![b'x'; (1 << 20) + 1]).unwrap();
        assert_eq!(SystemFiles.read(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(
            SystemFiles.read(folder.path().join("b").as_path()).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }
}
