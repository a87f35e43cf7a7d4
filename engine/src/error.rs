//! Why an engine could not start.

use std::io;

/// Why the io_uring engine cannot run here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The kernel, its configuration or a sandbox refuses io_uring, or grants too little of it.
    #[error("io_uring is not available: {0}")]
    Refused(String),
    /// The system refused a thread.
    #[error("cannot start a shard's thread: {0}")]
    Thread(#[source] io::Error),
    /// A shard's thread ended before it was ready.
    #[error("a shard ended before it was ready")]
    ShardLost,
    /// The number of shards is not between 1 and 256.
    #[error("option `shards`: must be between 1 and 256")]
    Shards,
}
