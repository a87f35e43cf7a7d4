//! A running server.

use std::fmt;
use std::time::Duration;

use qwormhole_proto::{ConfigError, ServerTls, ShardStats, ShutdownReport, TlsOptions};

use crate::address::Address;
use crate::backend::BackendReport;
use crate::builder::ServerBuilder;
use crate::error::StartError;
use crate::host::Running;
use crate::security::System;
#[cfg(unix)]
use crate::unix_file::UnixFile;

/// A server whose connections belong to handlers on its shards.
///
/// Dropping it ends everything at once: queued messages are lost. [`Server::shutdown`] ends it gracefully. It
/// belongs to the process that started it; in a fork it does nothing.
pub struct Server {
    /// Dropped first, so that a successor can bind while connections still close.
    #[cfg(unix)]
    files: Vec<UnixFile>,
    host: Box<dyn Running>,
    report: BackendReport,
    addrs: Vec<Address>,
    tls: Option<ServerTls>,
}

impl Server {
    /// Sets up a server.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::new()
    }

    pub(crate) fn new(
        host: Box<dyn Running>,
        report: BackendReport,
        addrs: Vec<Address>,
        tls: Option<ServerTls>,
    ) -> Self {
        Self {
            #[cfg(unix)]
            files: Vec::new(),
            host,
            report,
            addrs,
            tls,
        }
    }

    /// Presents another certificate from the next connection on; connections that are open go on. Only the key,
    /// the certificate and the passphrase of `options` are looked at.
    ///
    /// # Errors
    ///
    /// What is wrong with them; the present certificate stays. Also a server without TLS.
    pub fn reload_certificate(&self, options: &TlsOptions) -> Result<(), StartError> {
        match &self.tls {
            Some(tls) => Ok(tls.reload(options, &System)?),
            None => Err(ConfigError { option: "tls", fix: "the server was started without TLS" }.into()),
        }
    }

    /// Removes `files` when the server ends.
    #[cfg(unix)]
    pub(crate) fn with_files(mut self, files: Vec<UnixFile>) -> Self {
        self.files = files;
        self
    }

    /// Where the server listens, ports chosen by the system included; several for a name with several
    /// addresses.
    pub fn local_addrs(&self) -> &[Address] {
        &self.addrs
    }

    /// Which driver runs, and why.
    pub const fn backend(&self) -> &BackendReport {
        &self.report
    }

    /// Counters of each shard, a snapshot at most one turn old.
    pub fn stats(&self) -> Vec<ShardStats> {
        self.host.stats()
    }

    /// Stops accepting, closes every connection with
    /// [`CloseReason::Shutdown`](crate::CloseReason::Shutdown) so that what is queued still leaves, cuts what
    /// is left at the deadline, 10 s being a good one, and joins the threads. Blocks until then; never call it
    /// from a handler.
    pub fn shutdown(mut self, deadline: Duration) -> ShutdownReport {
        #[cfg(unix)]
        self.files.clear();
        self.host.shutdown(deadline)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("addrs", &self.addrs)
            .field("backend", &self.report)
            .finish_non_exhaustive()
    }
}
