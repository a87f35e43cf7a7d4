//! What can go wrong, one type per operation.

use std::error::Error;
use std::io;
use std::process::ExitStatus;
use std::time::Duration;

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdapterError {
    /// The HTTP service answered with something else than success.
    #[error("rpc adapter HTTP {status}")]
    Status {
        /// The answer's status code; redirects are not followed and land here.
        status: u16,
    },
    /// The HTTP request failed.
    #[error("rpc adapter: {0}")]
    Request(#[source] Box<dyn Error + Send + Sync>),
    /// No answer within the timeout; the child process was killed.
    #[error("{adapter} adapter: no answer within {timeout:?}")]
    TimedOut {
        /// The adapter's name.
        adapter: &'static str,
        /// Its timeout.
        timeout: Duration,
    },
    /// The answer is larger than the adapter accepts; the rest was not read.
    #[error("{adapter} adapter: the answer is longer than {bytes_max} bytes")]
    TooLarge {
        /// The adapter's name.
        adapter: &'static str,
        /// Its `answer_bytes_max`.
        bytes_max: usize,
    },
    /// The answer is not JSON.
    #[error("{adapter} adapter: the answer is not JSON: {source}")]
    NotJson {
        /// The adapter's name.
        adapter: &'static str,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// The child process cannot be started.
    #[error("spawn adapter: cannot start {command:?}: {source}")]
    Start {
        /// The program.
        command: String,
        /// What the system said.
        source: io::Error,
    },
    /// The child process failed.
    #[error("spawn adapter: {status}{}{stderr}", if stderr.is_empty() { "" } else { ": " })]
    Exit {
        /// How it ended.
        status: ExitStatus,
        /// The beginning of what it wrote to its standard error, at most 1 KiB.
        stderr: String,
    },
    /// Talking to the child process failed.
    #[error("spawn adapter: {0}")]
    Pipe(#[source] io::Error),
    /// As many queries as allowed are in progress or waiting.
    #[error("{adapter} adapter: too many queries at once")]
    Busy {
        /// The adapter's name, or `worker`.
        adapter: &'static str,
    },
    /// The worker's thread is gone: it was dropped, or its adapter panicked.
    #[error("the worker is gone")]
    Gone,
    /// An adapter of somebody else's failed.
    #[error(transparent)]
    Custom(Box<dyn Error + Send + Sync>),
}

impl AdapterError {
    /// For adapters of one's own.
    pub fn custom(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Custom(source.into())
    }
}

/// Why an adapter cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SelectionError {
    /// An environment variable has a value that means nothing.
    #[error("environment variable {name}={value:?}: must be {expected}")]
    Variable {
        /// Name of the variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// What would be accepted.
        expected: &'static str,
    },
    /// An environment variable with a secret inside has a value that means nothing; the value is not shown.
    #[error("environment variable {name}: must be {expected}")]
    SecretVariable {
        /// Name of the variable.
        name: &'static str,
        /// What would be accepted.
        expected: &'static str,
    },
    /// The selected adapter needs a variable that is not set.
    #[error(
        "environment variable {name} is not set, and QWORMHOLE_ML_ADAPTER={adapter} needs it: {expected}"
    )]
    Missing {
        /// Name of the variable.
        name: &'static str,
        /// The adapter's name.
        adapter: &'static str,
        /// What belongs into it.
        expected: &'static str,
    },
    /// An option has a value that cannot work.
    #[error("option `{option}`: {fix}")]
    Option {
        /// Name of the option.
        option: &'static str,
        /// What would be accepted.
        fix: &'static str,
    },
}
