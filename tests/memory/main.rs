//! What the heap holds after refusals and while a reader stands still. Alone in its binary: the allocator counts for
//! everybody.

#[path = "../support/mod.rs"]
mod support;

mod refused;
mod stalled;

use std::alloc::System;

use qwormhole::Backend;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use crate::support::Bed;
use crate::support::attacker::Bad;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes allocated and not yet freed, by the whole process.
fn live_bytes() -> i64 {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated as i64 - stats.bytes_deallocated as i64
}

/// One test, because what others do at the same time would be counted too.
#[test]
fn refused_and_stalled_connections_hold_no_more_than_they_may() {
    for bed in [Bed::new(Backend::IoUring), Bed::new(Backend::Tokio)] {
        [false, true].into_iter().for_each(|tls| stalled::hold_their_limits(bed, tls));
        Bad::ALL.iter().for_each(|bad| refused::leave_nothing(bed, *bad));
    }
}
