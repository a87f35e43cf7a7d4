//! The files of the repository.

use std::fs;
use std::path::Path;

/// A file, by its path from the repository's root.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) path: String,
    /// Empty where it is no text, such as a picture.
    pub(crate) text: String,
    pub(crate) executable: bool,
}

/// All files that belong to the repository.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) files: Vec<File>,
}

impl Tree {
    pub(crate) fn read() -> Self {
        let mut files = Vec::new();
        read_folder(Path::new(env!("CARGO_MANIFEST_DIR")), "", &mut files);
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Self { files }
    }

    pub(crate) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Whether `path` is a file, or a folder with files.
    pub(crate) fn has(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        self.files.iter().any(|file| file.path == path || file.path.starts_with(&folder))
    }
}

impl File {
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    pub(crate) fn is_markdown(&self) -> bool {
        self.path.ends_with(".md")
    }
}

/// What builds and runs leave behind, and data that is nobody's prose.
fn is_left_out(path: &str) -> bool {
    path.starts_with("target-")
        || path.split('/').any(|part| part == "target" || part == "node_modules")
        || [".git", "Cargo.lock", "fuzz/Cargo.lock", "fuzz/artifacts", "fuzz/corpus", "perf/results"]
            .contains(&path)
}

fn read_folder(root: &Path, folder: &str, files: &mut Vec<File>) {
    for entry in fs::read_dir(root.join(folder)).expect("a readable folder") {
        let entry = entry.expect("a readable entry");
        let name = entry.file_name().into_string().expect("a name in UTF-8");
        let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        let kind = entry.file_type().expect("a known type");
        if is_left_out(&path) {
            continue;
        }
        if kind.is_dir() {
            read_folder(root, &path, files);
        } else {
            let bytes = fs::read(entry.path()).expect("a readable file");
            let text = String::from_utf8(bytes).unwrap_or_default();
            files.push(File { executable: is_executable(&entry), path, text });
        }
    }
}

#[cfg(unix)]
fn is_executable(entry: &fs::DirEntry) -> bool {
    use std::os::unix::fs::PermissionsExt;
    entry.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o111 != 0)
}

/// Elsewhere the system does not tell.
#[cfg(not(unix))]
fn is_executable(_entry: &fs::DirEntry) -> bool {
    true
}

/// A file made up for a test of a rule.
#[cfg(test)]
pub(crate) fn sample(path: &str, text: &str) -> File {
    File { path: path.into(), text: text.into(), executable: false }
}
