//! Why an engine could not start.

use std::io;

/// Why [`Engine::start`](crate::Engine::start) failed. Shards already started have been stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The number of shards is out of range.
    #[error("{0} shards asked for, 1 to 256 are possible")]
    Shards(usize),
    /// A shard's thread could not be started.
    #[error("cannot start a shard's thread: {0}")]
    Thread(#[source] io::Error),
    /// A shard's runtime could not be built.
    #[error("cannot build a shard's runtime: {0}")]
    Runtime(#[source] io::Error),
    /// A shard could not be pinned.
    #[error("cannot pin a shard to CPU {cpu}: {source}")]
    Pin {
        /// The CPU that was asked for.
        cpu: usize,
        /// What the system said.
        source: io::Error,
    },
    /// `make_service` panicked.
    #[error("the service of shard {0} panicked while it was made")]
    Service(usize),
}
