//! Adapters that turn a service's metrics into judgements: metrics as JSON in, JSON out.
//!
//! | adapter | what answers |
//! |---|---|
//! | [`QwormTorch`] (default) | statistics, in process |
//! | [`Noop`] | nobody |
//! | [`Rpc`] | an HTTP service |
//! | [`Spawn`] | a child process, JSON on its standard input and output |
//! | [`Composite`] | several of these, one after the other |
//! | your own | implement [`Adapter`] |
//!
//! ```
//! use qwormhole_ml::{Adapter, Selection};
//! use serde_json::json;
//!
//! // The value, else the environment variable QWORMHOLE_ML_ADAPTER, else the default.
//! let adapter = Selection::resolve(Some(Selection::default()))?.build()?;
//! let judgement = adapter.query(&json!({ "latencyMs": [12, 11, 40, 200, 9], "drops": 2 }))?;
//! assert_eq!(judgement["stats"]["health"], "steady");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A query **blocks**, for seconds if its service hangs: never call it on a shard, in a handler or in an async
//! task. [`Worker`] is a thread that asks, with a bounded queue and an async way to it.
//!
//! Features: `https` (default) lets [`Rpc`] speak TLS, with the certificates the system trusts.

#![forbid(unsafe_code)]

mod adapter;
mod composite;
mod error;
mod noop;
mod qworm_torch;
mod rpc;
mod selection;
mod series;
mod spawn;
mod variables;
mod worker;

pub use adapter::Adapter;
pub use composite::Composite;
pub use error::{AdapterError, SelectionError};
pub use noop::Noop;
pub use qworm_torch::{QwormTorch, QwormTorchOptions};
pub use rpc::{Rpc, RpcOptions};
pub use selection::Selection;
pub use series::series_index;
pub use spawn::{Spawn, SpawnOptions};
pub use worker::Worker;
