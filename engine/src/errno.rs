//! The error numbers the engine tells apart (Linux, all architectures alike for these).

/// Interrupted by a signal.
pub(crate) const INTR: i32 = 4;
/// Try again.
pub(crate) const AGAIN: i32 = 11;
/// The peer gave a connection up before it was accepted.
pub(crate) const CONNABORTED: i32 = 103;
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

/// Whether a listener that failed so would fail again at once: the system lacks descriptors or memory, or
/// the listener itself is broken. A connection that was gone before it was accepted does not count.
pub(crate) const fn stops_accepting(errno: i32) -> bool {
    !is_transient(errno) && errno != CONNABORTED
}
