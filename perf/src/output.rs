//! Files that a command writes when it is done.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// A file that can be written, known before anything is measured. What it contained stays until the new
/// contents are there; a file that was not there before and is never written disappears again.
#[derive(Debug)]
pub(crate) struct OutputFile {
    path: PathBuf,
    file: File,
    /// It exists only because it was reserved.
    empty: bool,
}

impl OutputFile {
    /// Opens a file without changing it.
    ///
    /// # Errors
    ///
    /// Names the file and why it cannot be written.
    pub(crate) fn reserve(path: &Path) -> Result<Self> {
        let told = || format!("cannot write {}", path.display());
        let mut options = OpenOptions::new();
        options.write(true);
        let (file, empty) = match options.clone().create_new(true).open(path) {
            Ok(file) => (file, true),
            Err(_) => (options.open(path).with_context(told)?, false),
        };
        Ok(Self { path: path.to_owned(), file, empty })
    }

    /// Replaces the contents.
    pub(crate) fn write(&mut self, contents: &[u8]) -> Result<()> {
        let told = || format!("cannot write {}", self.path.display());
        // A pipe or a terminal has no length.
        if self.file.metadata().is_ok_and(|metadata| metadata.is_file()) {
            self.file.set_len(0).with_context(told)?;
        }
        self.file.write_all(contents).and_then(|()| self.file.flush()).with_context(told)?;
        self.empty = false;
        Ok(())
    }
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        if self.empty {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unwritten_file_leaves_everything_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let (fresh, old) = (folder.path().join("fresh"), folder.path().join("old"));
        fs::write(&old, "before, and longer").unwrap();
        drop((OutputFile::reserve(&fresh).unwrap(), OutputFile::reserve(&old).unwrap()));
        assert!(!fresh.exists());
        assert_eq!(fs::read_to_string(&old).unwrap(), "before, and longer");
        OutputFile::reserve(&old).unwrap().write(b"after").unwrap();
        OutputFile::reserve(&fresh).unwrap().write(b"").unwrap();
        assert_eq!(fs::read_to_string(&old).unwrap(), "after");
        assert!(fresh.exists());
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().to_owned(), folder.path().join("none/file")] {
            let error = format!("{:#}", OutputFile::reserve(&path).unwrap_err());
            assert!(error.contains(path.to_str().unwrap()), "{error}");
        }
        assert!(OutputFile::reserve(Path::new("/dev/null")).unwrap().write(b"x").is_ok());
    }
}
