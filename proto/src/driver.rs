//! What the facade tells a driver and hears from it, without naming a socket type.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::close::CloseReason;
use crate::config::Config;
use crate::owner::DialFailed;
use crate::slicer::Slicing;
use crate::waiting::WaitMode;

/// How a driver lays out its shards.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DriverOptions {
    /// Number of shards, each one thread; 1 to 256. Default 1 here; the facade passes the CPUs the process
    /// may use.
    pub shards: usize,
    /// CPUs to pin the shards to, by shard modulo length; empty pins nothing. Default empty.
    pub cpus: Vec<usize>,
    /// Connections one shard holds at most, clients included. Default 16,384: the mailbox has room for each,
    /// 256 KiB.
    pub shard_connections_max: u32,
    /// Prefix of the shards' thread names. Default `qwormhole`.
    pub thread_name: String,
    /// How a shard without work waits. Default [`WaitMode::Auto`].
    pub wait: WaitMode,
    /// How much of one connection is submitted at once. Default [`Slicing::Auto`].
    pub slicing: Slicing,
}

impl Default for DriverOptions {
    fn default() -> Self {
        Self {
            shards: 1,
            cpus: Vec::new(),
            shard_connections_max: 16 << 10,
            thread_name: String::from("qwormhole"),
            wait: WaitMode::Auto,
            slicing: Slicing::Auto,
        }
    }
}

/// Makes the socket for one connection attempt: not blocking, options set, bound if asked for.
pub type OpenSocket<A, K> = Arc<dyn Fn(&A) -> io::Result<K> + Send + Sync>;

/// A connection to be made: addresses `A` are raced with [`ConnectRace`](crate::ConnectRace) over sockets `K`.
///
/// Success shows as `on_open` of the handler; failure is reported through `failed`, once.
pub struct Dial<H, A, K> {
    /// Addresses in the order to try them.
    pub addrs: Vec<A>,
    /// Makes the socket of an attempt.
    pub open_socket: OpenSocket<A, K>,
    /// What the connection speaks.
    pub config: Arc<Config>,
    /// Owner of the connection's messages.
    pub handler: H,
    /// How long all attempts may take together; `None` leaves it to the system.
    pub timeout: Option<Duration>,
    /// Told when no attempt succeeded; runs on the shard's thread and must not block.
    pub failed: DialFailed,
}

impl<H, A, K> Dial<H, A, K> {
    /// The dial is over without a connection: drops the handler, then tells whoever waits. A panic in either
    /// is contained, because it must not take a shard with it; returns how many there were.
    pub fn fail(self, error: ConnectError) -> u64 {
        let Self { handler, failed, .. } = self;
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(handler)));
        let told = catch_unwind(AssertUnwindSafe(|| failed(error)));
        u64::from(told.is_err()) + u64::from(dropped.is_err())
    }
}

impl<H, A: fmt::Debug, K> fmt::Debug for Dial<H, A, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dial")
            .field("addrs", &self.addrs)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Why a connection could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No attempt succeeded within the timeout.
    #[error("Connection timed out")]
    TimedOut,
    /// Every address refused; the error of the last attempt.
    #[error("cannot connect: {0}")]
    Failed(#[source] io::Error),
    /// The name has no address.
    #[error("cannot connect: the name has no address")]
    NoAddress,
    /// `shard_connections_max` connections are open.
    #[error("cannot connect: too many connections")]
    TooManyConnections,
    /// The transport was established, but the connection ended before it was open.
    #[error("cannot connect: {0}")]
    Closed(CloseReason),
    /// The engine is shutting down.
    #[error("cannot connect: the engine is shutting down")]
    ShuttingDown,
}

/// How a shutdown went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Connections that ended after everything queued for them was handed to the kernel.
    pub drained: u64,
    /// Connections cut at the deadline.
    pub cut: u64,
    /// Memory left to the kernel because it had not confirmed the end of an operation, in bytes. Not zero
    /// only if the kernel misbehaves; leaking it is the safe choice.
    pub leaked_bytes: u64,
    /// Receive buffers that had not returned to their pool: messages still leased by the user.
    pub buffers_out: u64,
    /// Operations whose end the kernel had not confirmed. Not zero only if the kernel misbehaves.
    pub ops_in_flight: u64,
}

impl ShutdownReport {
    /// Adds the report of another shard.
    pub fn add(&mut self, other: &Self) {
        self.drained += other.drained;
        self.cut += other.cut;
        self.leaked_bytes += other.leaked_bytes;
        self.buffers_out += other.buffers_out;
        self.ops_in_flight += other.ops_in_flight;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fragile;

    impl Drop for Fragile {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("dropped"));
        }
    }

    #[test]
    fn a_failed_dial_contains_the_panics_of_its_owner() {
        let dial = Dial {
            addrs: vec![()],
            open_socket: Arc::new(|()| Ok(())),
            config: Arc::default(),
            handler: Fragile,
            timeout: None,
            failed: Box::new(|_| std::panic::resume_unwind(Box::new("told"))),
        };
        assert_eq!(dial.fail(ConnectError::NoAddress), 2);
    }
}
