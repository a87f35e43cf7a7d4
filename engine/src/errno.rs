//! The error numbers the engine tells apart (Linux, all architectures alike for these).

/// Interrupted by a signal.
pub(crate) const INTR: i32 = 4;
/// Try again.
pub(crate) const AGAIN: i32 = 11;
/// Out of memory.
pub(crate) const NOMEM: i32 = 12;
/// The system is out of descriptors.
pub(crate) const NFILE: i32 = 23;
/// The process is out of descriptors.
pub(crate) const MFILE: i32 = 24;
/// The peer reset the connection.
#[cfg(test)]
pub(crate) const CONNRESET: i32 = 104;
/// No buffer was free.
pub(crate) const NOBUFS: i32 = 105;
/// The operation was cancelled.
pub(crate) const CANCELED: i32 = 125;

/// Whether an operation that ended so can simply be asked for again.
pub(crate) const fn is_transient(errno: i32) -> bool {
    matches!(errno, INTR | AGAIN | CANCELED)
}

/// Whether the system lacks something that may come back.
pub(crate) const fn is_exhaustion(errno: i32) -> bool {
    matches!(errno, NFILE | MFILE | NOMEM | NOBUFS)
}
