//! Who answers questions about metrics.

use std::sync::Arc;

use serde_json::Value;

use crate::error::AdapterError;

/// Answers questions about metrics. Shared between threads; queries may run at the same time.
///
/// An implementation of one's own is selected with [`Selection::Custom`](crate::Selection::Custom).
pub trait Adapter: Send + Sync {
    /// The adapter's name, as it appears in answers and errors.
    fn name(&self) -> &str;

    /// Asks and waits for the answer. **Blocks** for up to the adapter's timeout; never call it on a shard, in a
    /// handler or in an async task: ask through a [`Worker`](crate::Worker) there.
    ///
    /// # Errors
    ///
    /// There is no answer; the error says at whose fault.
    fn query(&self, metrics: &Value) -> Result<Value, AdapterError>;
}

impl<A: Adapter + ?Sized> Adapter for Arc<A> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn query(&self, metrics: &Value) -> Result<Value, AdapterError> {
        (**self).query(metrics)
    }
}
