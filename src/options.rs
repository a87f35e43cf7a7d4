//! What the builders of servers and clients have in common.

use std::num::NonZero;
use std::thread;

use qwormhole_proto::{Config, ConfigError, DriverOptions, Slicing, TlsOptions, WaitMode};

use crate::backend::Backend;
use crate::environment::Environment;
use crate::error::StartError;
use crate::inbox::InboxLimits;
use crate::socket::SocketOptions;

#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) backend: Backend,
    /// `None` leaves the number to the builder.
    pub(crate) shards: Option<usize>,
    pub(crate) cpus: Vec<usize>,
    pub(crate) config: Config,
    pub(crate) sockets: SocketOptions,
    pub(crate) inbox: InboxLimits,
    pub(crate) wait: WaitMode,
    /// `None` leaves it to the environment.
    pub(crate) slicing: Option<Slicing>,
    pub(crate) tls: Option<TlsOptions>,
    /// `None` reads it when the server or client is built.
    pub(crate) environment: Option<Environment>,
}

impl Options {
    /// The environment: what was given for it, or the process' own.
    pub(crate) fn environment(&self) -> Result<Environment, StartError> {
        self.environment.clone().map_or_else(Environment::read, Ok)
    }

    /// Whether the engine that all clients share will not do.
    pub(crate) fn needs_own_engine(&self) -> bool {
        self.shards.is_some() || !self.cpus.is_empty() || self.wait != WaitMode::default()
    }

    /// Checks everything, and says how the shards are laid out.
    pub(crate) fn driver_options(
        &self,
        shards_default: usize,
        connections_max: u32,
        thread_name: &str,
    ) -> Result<DriverOptions, StartError> {
        self.config.validate()?;
        self.inbox.validate()?;
        let shards = self.shards.unwrap_or(shards_default);
        if !(1..=SHARDS_MAX).contains(&shards) {
            return Err(ConfigError { option: "shards", fix: "must be between 1 and 256" }.into());
        }
        let mut options = DriverOptions::default();
        options.shards = shards;
        options.cpus.clone_from(&self.cpus);
        options.shard_connections_max = connections_max;
        options.thread_name = thread_name.to_owned();
        options.wait = self.wait;
        options.slicing = self.slicing.unwrap_or_default();
        Ok(options)
    }
}

/// The CPUs this process may use by its affinity mask and its quota, at most 256.
pub(crate) fn cpus_allowed() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get).min(SHARDS_MAX)
}

/// A connection's id has 8 bits for its shard.
const SHARDS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_between_1_and_256() {
        for (shards, valid) in [(0, false), (1, true), (256, true), (257, false), (usize::MAX, false)] {
            let options = Options { shards: Some(shards), ..Options::default() };
            assert_eq!(options.driver_options(1, 1, "t").is_ok(), valid, "{shards}");
        }
        let options = Options::default().driver_options(3, 7, "t").unwrap();
        assert_eq!((options.shards, options.shard_connections_max), (3, 7));
        assert!((1..=256).contains(&cpus_allowed()));
    }

    #[test]
    fn limits_that_cannot_work_are_refused() {
        let mut options = Options::default();
        options.config.limits.remote_bytes_max = 0;
        assert!(options.driver_options(1, 1, "t").unwrap_err().to_string().contains("remote_bytes_max"));
        let mut options = Options::default();
        options.inbox.messages_max = 0;
        assert!(options.driver_options(1, 1, "t").unwrap_err().to_string().contains("messages_max"));
    }
}
