//! Tests that need a process of their own: they count descriptors, or give up privileges.

use std::env;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// True in a process that runs nothing but the test `name` (path inside the crate); otherwise runs it there
/// and passes on its failure.
pub(super) fn alone(name: &str) -> bool {
    alone_as(name, None)
}

/// As [`alone`], as another user if this process may become it.
pub(super) fn alone_as(name: &str, user: Option<u32>) -> bool {
    if env::var_os(MARK).is_some() {
        return true;
    }
    // Not the path: another user may not reach the directory.
    let mut command = Command::new("/proc/self/exe");
    command.args([name, "--exact", "--test-threads=1", "--nocapture"]).env(MARK, "1");
    if let Some(user) = user.filter(|_| is_root()) {
        command.uid(user).gid(user).current_dir("/");
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    false
}

pub(super) fn is_root() -> bool {
    fs::read_to_string("/proc/self/status").unwrap().lines().any(|line| line.starts_with("Uid:\t0\t"))
}

/// Descriptors this process has open.
pub(super) fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

const MARK: &str = "QWORMHOLE_TEST_ALONE";
