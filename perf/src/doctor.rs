//! The command `doctor`.

/// What the kernel grants, in words.
pub(crate) fn doctor() -> String {
    String::new()
}
