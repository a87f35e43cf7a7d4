//! Nobody.

use serde_json::{Value, json};

use crate::adapter::Adapter;
use crate::error::AdapterError;

/// Answers `{"adapter":"noop"}` to everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Noop;

impl Adapter for Noop {
    fn name(&self) -> &str {
        "noop"
    }

    fn query(&self, _metrics: &Value) -> Result<Value, AdapterError> {
        Ok(json!({ "adapter": "noop" }))
    }
}
