//! A running server.

use std::fmt;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use futures_channel::oneshot;
use qwormhole_proto::{
    BroadcastPolicy, ConfigError, ConnId, Endpoint, Fanout, Lookup, Payload, Priority, SendError, Sender,
    ServerTls, ShardStats, ShutdownReport, TlsOptions,
};

use crate::address::Address;
use crate::backend::BackendReport;
use crate::builder::ServerBuilder;
use crate::error::StartError;
use crate::host::Running;
use crate::housekeeping::Housekeeping;
use crate::options::Options;
use crate::system_files::SystemFiles;
use crate::telemetry::Telemetry;
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
    /// Dropped after the engine, so that it tells of the end too.
    _housekeeping: Option<Housekeeping>,
    endpoint: Endpoint,
    fanout: Fanout,
    report: BackendReport,
    addrs: Vec<Address>,
    tls: Option<ServerTls>,
}

/// What a server is made of besides its engine.
pub(crate) struct ServerParts {
    pub(crate) housekeeping: Option<Housekeeping>,
    pub(crate) endpoint: Endpoint,
    pub(crate) fanout: Fanout,
    pub(crate) report: BackendReport,
    pub(crate) addrs: Vec<Address>,
    pub(crate) tls: Option<ServerTls>,
}

impl Server {
    /// Sets up a server.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::new(Options::default())
    }

    pub(crate) fn new(host: Box<dyn Running>, parts: ServerParts) -> Self {
        let ServerParts { housekeeping, endpoint, fanout, report, addrs, tls } = parts;
        Self {
            #[cfg(unix)]
            files: Vec::new(),
            host,
            _housekeeping: housekeeping,
            endpoint,
            fanout,
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
            Some(tls) => Ok(tls.reload(options, &SystemFiles)?),
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

    /// The sum over all shards, a snapshot at most one turn old.
    pub fn snapshot(&self) -> Telemetry {
        Telemetry::of(&self.stats())
    }

    /// Connections that were admitted and have not ended; counts those too whose handler is about to open.
    pub fn connection_count(&self) -> usize {
        self.endpoint.open_connections()
    }

    /// Looks a connection up by its id; `None` when it is over, or was never open. Works on any async runtime,
    /// and without one.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn connection(&self, id: ConnId) -> Option<Sender> {
        let (found, sender) = oneshot::channel();
        let mut lookup = Some(Lookup::new(id, move |sender| drop(found.send(sender))));
        poll_fn(|cx| {
            if let Some(Err(later)) = lookup.take().map(|lookup| self.host.look_up(lookup)) {
                // The shard is busy with other lookups, which takes no time worth waiting for.
                lookup = Some(later);
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
        sender.await.ok()
    }

    /// Sends one message to every open connection, with [`BroadcastPolicy::Skip`] and the default priority. See
    /// [`Server::broadcast_with`].
    ///
    /// # Errors
    ///
    /// As [`Server::broadcast_with`].
    pub fn broadcast<P: Payload>(&self, payload: P) -> Result<(), SendError<P>> {
        self.broadcast_with(Priority::DEFAULT, BroadcastPolicy::default(), payload)
    }

    /// Sends one message to every connection that is open when its shard looks. The message is framed once, all
    /// connections share the memory. Never blocks; may be called from a handler.
    ///
    /// `Ok` means that every shard will offer it to its connections: broadcasts of one priority arrive in
    /// order, and those accepted before a shutdown still leave. Nothing is said about the order of a broadcast
    /// and what a handler or a [`Sender`] sends at the same time. `policy` decides about peers whose outbox has
    /// no room.
    ///
    /// # Errors
    ///
    /// Gives the message back when it is longer than `max_send_frame_len`, or when more broadcasts are on their
    /// way to the shards than `max_backpressure_bytes` admits; no connection gets it then.
    pub fn broadcast_with<P: Payload>(
        &self,
        priority: Priority,
        policy: BroadcastPolicy,
        payload: P,
    ) -> Result<(), SendError<P>> {
        self.broadcast_to(priority, policy, None, payload)
    }

    /// As [`Server::broadcast_with`], to every connection but `except`: usually the one whose message is passed on.
    ///
    /// # Errors
    ///
    /// As [`Server::broadcast_with`].
    pub fn broadcast_except<P: Payload>(
        &self,
        except: ConnId,
        priority: Priority,
        policy: BroadcastPolicy,
        payload: P,
    ) -> Result<(), SendError<P>> {
        self.broadcast_to(priority, policy, Some(except), payload)
    }

    fn broadcast_to<P: Payload>(
        &self,
        priority: Priority,
        policy: BroadcastPolicy,
        except: Option<ConnId>,
        payload: P,
    ) -> Result<(), SendError<P>> {
        let broadcast = self.fanout.broadcast(priority, policy, except, payload)?;
        self.host.broadcast(&broadcast);
        Ok(())
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
