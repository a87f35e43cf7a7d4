//! Which adapter to use.

use std::fmt;
use std::sync::Arc;

use crate::adapter::Adapter;
use crate::composite::Composite;
use crate::error::SelectionError;
use crate::noop::Noop;
use crate::qworm_torch::{QwormTorch, QwormTorchOptions};
use crate::rpc::{Rpc, RpcOptions};
use crate::spawn::{Spawn, SpawnOptions};
use crate::variables;

/// Which adapter to use, as a value: an option of a service, or read from the environment.
///
/// | variable | meaning |
/// |---|---|
/// | `QWORMHOLE_ML_ADAPTER` | `qworm_torch`, `noop`, `rpc` or `spawn` |
/// | `QWORMHOLE_ML_RPC_URL` | for `rpc`, required |
/// | `QWORMHOLE_ML_RPC_HEADERS` | for `rpc`: a JSON object of strings, or `name:value,name:value` |
/// | `QWORMHOLE_ML_RPC_TIMEOUT` | for `rpc`: milliseconds, 1 to 3600000 |
/// | `QWORMHOLE_ML_SPAWN_CMD` | for `spawn`, required: the program |
/// | `QWORMHOLE_ML_SPAWN_ARGS` | for `spawn`: its arguments, separated by spaces |
///
/// An empty variable counts as not set.
#[derive(Clone)]
#[non_exhaustive]
pub enum Selection {
    /// Statistics in process; the default.
    QwormTorch(QwormTorchOptions),
    /// No answers.
    Noop,
    /// An HTTP service.
    Rpc(RpcOptions),
    /// A child process.
    Spawn(SpawnOptions),
    /// Several, one after the other.
    Composite(Vec<Self>),
    /// One of one's own.
    Custom(Arc<dyn Adapter>),
}

impl Selection {
    /// What is in force: `value`, else the environment, else the default.
    ///
    /// # Errors
    ///
    /// A variable in force has a value that means nothing; the error names it and what it may be.
    pub fn resolve(value: Option<Self>) -> Result<Self, SelectionError> {
        match value {
            Some(value) => Ok(value),
            None => Ok(Self::from_env()?.unwrap_or_default()),
        }
    }

    /// What the environment says now; `None` if nothing.
    ///
    /// # Errors
    ///
    /// A variable has a value that means nothing; the error names it and what it may be.
    pub fn from_env() -> Result<Option<Self>, SelectionError> {
        variables::read(|name| std::env::var_os(name))
    }

    /// Makes the adapter.
    ///
    /// # Errors
    ///
    /// An option cannot work; the error names it.
    pub fn build(self) -> Result<Arc<dyn Adapter>, SelectionError> {
        Ok(match self {
            Self::QwormTorch(options) => Arc::new(QwormTorch::new(options)?),
            Self::Noop => Arc::new(Noop),
            Self::Rpc(options) => Arc::new(Rpc::new(options)?),
            Self::Spawn(options) => Arc::new(Spawn::new(options)?),
            Self::Composite(several) => {
                let adapters = several.into_iter().map(Self::build).collect::<Result<_, _>>()?;
                Arc::new(Composite::new(adapters))
            }
            Self::Custom(adapter) => adapter,
        })
    }
}

impl Default for Selection {
    fn default() -> Self {
        Self::QwormTorch(QwormTorchOptions::default())
    }
}

impl fmt::Debug for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::QwormTorch(options) => f.debug_tuple("QwormTorch").field(options).finish(),
            Self::Noop => f.write_str("Noop"),
            Self::Rpc(options) => f.debug_tuple("Rpc").field(options).finish(),
            Self::Spawn(options) => f.debug_tuple("Spawn").field(options).finish(),
            Self::Composite(several) => f.debug_tuple("Composite").field(several).finish(),
            Self::Custom(adapter) => f.debug_tuple("Custom").field(&adapter.name()).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_wins_and_every_kind_can_be_built() {
        let custom: Arc<dyn Adapter> = Arc::new(Noop);
        let several = Selection::Composite(vec![
            Selection::Noop,
            Selection::Custom(custom),
            Selection::Spawn(SpawnOptions::new("true")),
            Selection::Rpc(RpcOptions::new("http://localhost/")),
            Selection::default(),
        ]);
        let resolved = Selection::resolve(Some(several)).unwrap();
        assert!(matches!(resolved, Selection::Composite(_)));
        assert_eq!(resolved.build().unwrap().name(), "composite");
        assert_eq!(
            Selection::default().build().unwrap().query(&json!([1])).unwrap()["adapter"],
            "qworm_torch"
        );
        let broken = Selection::Composite(vec![Selection::Rpc(RpcOptions::new("ftp://x/"))]);
        assert!(broken.build().is_err());
    }
}
