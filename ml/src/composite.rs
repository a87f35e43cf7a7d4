//! Several adapters.

use std::fmt;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::adapter::Adapter;
use crate::error::AdapterError;

/// Asks its adapters one after the other and gives all answers: `{"adapter":"composite","results":[..]}`, each
/// result `{"name","result"}` or `{"name","error"}`. It never fails itself, and takes as long as all of them.
pub struct Composite {
    adapters: Vec<Arc<dyn Adapter>>,
}

impl Composite {
    /// Asks `adapters` in this order.
    pub fn new(adapters: Vec<Arc<dyn Adapter>>) -> Self {
        Self { adapters }
    }
}

impl Adapter for Composite {
    fn name(&self) -> &str {
        "composite"
    }

    fn query(&self, metrics: &Value) -> Result<Value, AdapterError> {
        let ask = |adapter: &Arc<dyn Adapter>| match adapter.query(metrics) {
            Ok(result) => json!({ "name": adapter.name(), "result": result }),
            Err(error) => json!({ "name": adapter.name(), "error": error.to_string() }),
        };
        let results: Vec<Value> = self.adapters.iter().map(ask).collect();
        Ok(json!({ "adapter": "composite", "results": results }))
    }
}

impl fmt::Debug for Composite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.adapters.iter().map(|adapter| adapter.name()).collect();
        f.debug_tuple("Composite").field(&names).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::Noop;

    /// Fails, and notes when it was asked.
    struct Broken(&'static Mutex<Vec<u8>>, u8);

    impl Adapter for Broken {
        fn name(&self) -> &str {
            "broken"
        }

        fn query(&self, _metrics: &Value) -> Result<Value, AdapterError> {
            self.0.lock().unwrap().push(self.1);
            Err(AdapterError::custom("out of order"))
        }
    }

    #[test]
    fn every_adapter_is_asked_in_order_whatever_the_others_say() {
        static ASKED: Mutex<Vec<u8>> = Mutex::new(Vec::new());
        let composite = Composite::new(vec![
            Arc::new(Broken(&ASKED, 1)),
            Arc::new(Noop),
            Arc::new(Composite::new(vec![Arc::new(Broken(&ASKED, 2))])),
        ]);
        let answer = composite.query(&json!({})).unwrap();
        let broken = json!({ "name": "broken", "error": "out of order" });
        assert_eq!(
            answer,
            json!({ "adapter": "composite", "results": [
                broken,
                { "name": "noop", "result": { "adapter": "noop" } },
                { "name": "composite", "result": { "adapter": "composite", "results": [broken] } },
            ] })
        );
        assert_eq!(*ASKED.lock().unwrap(), [1, 2]);
        assert_eq!(format!("{composite:?}"), r#"Composite(["broken", "noop", "composite"])"#);
    }
}
