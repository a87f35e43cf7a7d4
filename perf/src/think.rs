//! Work that a server's handler pretends to do.

use std::time::{Duration, Instant};

/// Keeps the calling thread busy, as a handler that computes would: the connection's next message waits, and so
/// does everything else on this thread.
#[inline]
pub(crate) fn think(time: Duration) {
    if time.is_zero() {
        return;
    }
    let begun = Instant::now();
    while begun.elapsed() < time {
        std::hint::spin_loop();
    }
}
