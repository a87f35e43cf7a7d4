//! What can go wrong, one type per operation.

use std::error::Error;
use std::io;

use qwormhole_proto::{CloseReason, ConfigError, TlsOptionError};

use crate::address::{Address, AddressError};
use crate::backend::BackendKind;

/// Why a server or a client's engine could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// An environment variable has a value that means nothing.
    #[error("environment variable {name}={value:?}: must be one of {choices}")]
    Variable {
        /// Name of the variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// What would be accepted.
        choices: &'static str,
    },
    /// An option has a value that cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A TLS option that cannot work, a file that cannot be read.
    #[error(transparent)]
    Tls(TlsOptionError),
    /// An address could not be read.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The system refused to listen.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// Where it was to listen.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// A server without an address.
    #[error("nothing to listen on: call `bind` first")]
    NoAddress,
    /// The backend cannot run here; the source says why.
    #[error("backend {kind} cannot start: {source}")]
    Backend {
        /// The backend that was asked for, or the last one tried.
        kind: BackendKind,
        /// The driver's reason.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The system refused the thread that tells of the server's telemetry.
    #[error("cannot start the telemetry thread: {0}")]
    Thread(#[source] io::Error),
    /// The backend was left out of this build.
    #[error("backend {0} is not part of this build: it needs {hint}", hint = .0.needs())]
    NotBuilt(BackendKind),
    /// The process is a fork of the one that started the engine; threads do not survive a fork.
    #[error(transparent)]
    Forked(#[from] Forked),
}

/// The engine belongs to the parent of this process: after a fork its threads are gone. Start the engine in
/// the child, or `exec`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the engine was started by process {started_by}, this is its fork {here}; start it after the fork")]
pub struct Forked {
    pub(crate) started_by: u32,
    pub(crate) here: u32,
}

/// Why a connection could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address could not be read.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The client's engine could not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The name could not be resolved.
    #[error("cannot resolve {address}: {source}")]
    Resolve {
        /// Whom it was to reach.
        address: Address,
        /// What the resolver said.
        source: io::Error,
    },
    /// The name has no address.
    #[error("cannot connect to {address}: the name has no address")]
    NoAddress {
        /// Whom it was to reach.
        address: Address,
    },
    /// The option `interface` names none of this machine, or one without an address of the peer's family
    /// (`E_INTERFACE_NOT_FOUND` of QWormhole).
    #[error("cannot connect to {address}: Interface {interface} not found{detail}")]
    Interface {
        /// Whom it was to reach.
        address: Address,
        /// The name that was given.
        interface: String,
        /// What is missing, when the interface exists.
        detail: &'static str,
    },
    /// No attempt succeeded within the timeout.
    #[error("cannot connect to {address}: Connection timed out")]
    TimedOut {
        /// Whom it was to reach.
        address: Address,
    },
    /// Every address refused; the source is the last attempt's.
    #[error("cannot connect to {address}: {source}")]
    Failed {
        /// Whom it was to reach.
        address: Address,
        /// The error of the last attempt.
        source: io::Error,
    },
    /// The engine holds as many connections as it may.
    #[error("cannot connect to {address}: too many connections")]
    TooManyConnections {
        /// Whom it was to reach.
        address: Address,
    },
    /// The connection was made, but ended before it was open: the TLS or protocol handshake failed, or the
    /// peer refused it.
    #[error("cannot connect to {address}: {reason}")]
    Closed {
        /// Whom it was to reach.
        address: Address,
        /// Why the connection ended.
        reason: CloseReason,
    },
    /// The client was shut down.
    #[error("cannot connect to {address}: the client is shutting down")]
    ShuttingDown {
        /// Whom it was to reach.
        address: Address,
    },
}

impl ConnectError {
    /// Whether the same attempt may succeed later.
    pub const fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Resolve { .. }
                | Self::NoAddress { .. }
                | Self::Closed { .. }
                | Self::Interface { .. }
                | Self::TimedOut { .. }
                | Self::Failed { .. }
                | Self::TooManyConnections { .. }
        )
    }

    pub(crate) fn from_driver(address: Address, error: qwormhole_proto::ConnectError) -> Self {
        use qwormhole_proto::ConnectError as Driver;
        match error {
            Driver::TimedOut => Self::TimedOut { address },
            Driver::Failed(source) => Self::Failed { address, source },
            Driver::NoAddress => Self::NoAddress { address },
            Driver::TooManyConnections => Self::TooManyConnections { address },
            Driver::Closed(reason) => Self::Closed { address, reason },
            Driver::ShuttingDown => Self::ShuttingDown { address },
            other => Self::Failed { address, source: io::Error::other(other) },
        }
    }
}

/// The connection ended with an error; every message before it was delivered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct RecvError {
    reason: CloseReason,
}

impl RecvError {
    pub(crate) const fn new(reason: CloseReason) -> Self {
        Self { reason }
    }

    /// Why the connection ended.
    pub const fn reason(&self) -> &CloseReason {
        &self.reason
    }
}

impl From<StartError> for io::Error {
    fn from(error: StartError) -> Self {
        let kind = match &error {
            StartError::Bind { source, .. } | StartError::Thread(source) => source.kind(),
            StartError::NotBuilt(_) | StartError::Backend { .. } => io::ErrorKind::Unsupported,
            StartError::Forked(_) => io::ErrorKind::Other,
            _ => io::ErrorKind::InvalidInput,
        };
        Self::new(kind, error)
    }
}

impl From<ConnectError> for io::Error {
    fn from(error: ConnectError) -> Self {
        let kind = match &error {
            ConnectError::Resolve { source, .. } | ConnectError::Failed { source, .. } => source.kind(),
            ConnectError::TimedOut { .. } => io::ErrorKind::TimedOut,
            ConnectError::NoAddress { .. } => io::ErrorKind::NotFound,
            ConnectError::Closed { reason, .. } => return reason.clone().into(),
            ConnectError::Interface { .. } => io::ErrorKind::AddrNotAvailable,
            ConnectError::Address(_) => io::ErrorKind::InvalidInput,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

impl From<AddressError> for io::Error {
    fn from(error: AddressError) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}

impl From<RecvError> for io::Error {
    fn from(error: RecvError) -> Self {
        error.reason.into()
    }
}
