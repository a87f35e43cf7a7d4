//! Callbacks of the user that a shard runs.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::stats::ShardStats;

/// A callback, or nobody to call. It runs on a shard's thread and must not block; its panics are contained and
/// counted. Two hooks are equal when they are the same callback.
pub struct Hook<F: ?Sized>(Option<Arc<F>>);

impl<F: ?Sized> Hook<F> {
    /// Calls this.
    pub const fn of(callback: Arc<F>) -> Self {
        Self(Some(callback))
    }

    /// Whether anybody listens; without, what it would be told need not be found out.
    pub const fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// Runs `call` with the callback, if there is one.
    pub(crate) fn run(&self, stats: &mut ShardStats, call: impl FnOnce(&F)) {
        if let Some(callback) = &self.0
            && catch_unwind(AssertUnwindSafe(|| call(callback))).is_err()
        {
            stats.panics += 1;
        }
    }
}

impl<F: ?Sized> Default for Hook<F> {
    fn default() -> Self {
        Self(None)
    }
}

impl<F: ?Sized> Clone for Hook<F> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<F: ?Sized> PartialEq for Hook<F> {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(mine), Some(theirs)) => Arc::ptr_eq(mine, theirs),
            (mine, theirs) => mine.is_none() && theirs.is_none(),
        }
    }
}

impl<F: ?Sized> Eq for Hook<F> {}

impl<F: ?Sized> fmt::Debug for Hook<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_set() { "Hook(set)" } else { "Hook(none)" })
    }
}
