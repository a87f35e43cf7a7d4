//! The engine behind clients: one for all of them, or one of a client's own.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use qwormhole_proto::{
    ConnectError, Context, Dial, DriverOptions, Handler, Message, PeerInfo, Service, ShardStats,
    ShutdownReport, Slicing,
};
use socket2::{SockAddr, Socket};

use crate::backend::{Backend, BackendKind, BackendReport};
use crate::error::{Forked, StartError};
use crate::host::{Host, Running};
use crate::options::Options;

/// What clients hand to their engine.
pub(crate) type ClientHandler = Box<dyn Handler + Send>;

/// An engine that only connects. When its last owner drops it, it shuts down gracefully in the background.
pub(crate) struct ClientEngine {
    /// `None` once it was shut down.
    host: RwLock<Option<Host<ClientService>>>,
    report: BackendReport,
    grace: Duration,
}

impl ClientEngine {
    /// The engine that all clients with this backend and slices share, started by the first.
    pub(crate) fn shared(backend: Backend, slicing: Slicing) -> Result<Arc<Self>, StartError> {
        let choice = backend.resolve()?;
        let mut running = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let mut alike = running.iter().filter(|shared| shared.slicing == slicing);
        if let Some(shared) = alike.find(|shared| shared.choice == choice || serves(&shared.engine, choice)) {
            return Ok(shared.engine.clone());
        }
        let options = Options { backend: choice, slicing: Some(slicing), ..Options::default() };
        let engine = Arc::new(Self::start(&options, 1)?);
        running.push(Shared { choice, slicing, engine: engine.clone() });
        Ok(engine)
    }

    /// An engine of its own.
    pub(crate) fn start(options: &Options, shards_default: usize) -> Result<Self, StartError> {
        let connections_max = DriverOptions::default().shard_connections_max;
        let driver_options = options.driver_options(shards_default, connections_max, "qwormhole-client")?;
        let host = Host::start(options.backend, &driver_options, |_shard| ClientService)?;
        let report = host.report().clone();
        let limits = &options.config.limits;
        let grace = limits.close_flush_timeout.saturating_add(limits.linger_timeout);
        Ok(Self { host: RwLock::new(Some(host)), report, grace })
    }

    pub(crate) const fn report(&self) -> &BackendReport {
        &self.report
    }

    pub(crate) fn connect(&self, dial: Dial<ClientHandler, SockAddr, Socket>) -> Result<(), Forked> {
        match &*self.host.read().unwrap_or_else(PoisonError::into_inner) {
            Some(host) => {
                host.check_fork()?;
                host.connect(dial);
            }
            None => (dial.failed)(ConnectError::ShuttingDown),
        }
        Ok(())
    }

    pub(crate) fn stats(&self) -> Vec<ShardStats> {
        let host = self.host.read().unwrap_or_else(PoisonError::into_inner);
        host.as_ref().map(Running::stats).unwrap_or_default()
    }

    /// Ends every connection of the engine; blocks. If it was shared, the next client starts another.
    pub(crate) fn shutdown(&self, deadline: Duration) -> ShutdownReport {
        let mut running = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|shared| !std::ptr::eq(Arc::as_ptr(&shared.engine), self));
        drop(running);
        let host = self.host.write().unwrap_or_else(PoisonError::into_inner).take();
        host.map(|mut host| host.shutdown(deadline)).unwrap_or_default()
    }
}

impl Drop for ClientEngine {
    fn drop(&mut self) {
        let host = self.host.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let grace = self.grace;
        if let Some(mut host) = host.filter(|host| host.check_fork().is_ok()) {
            // The owner may be a task, or a handler on one of the engine's own shards: it must not wait. If
            // the system refuses the thread, the engine ends at once.
            let stopping = thread::Builder::new().name("qwormhole-stop".into());
            drop(stopping.spawn(move || host.shutdown(grace)));
        }
    }
}

impl fmt::Debug for ClientEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientEngine").field("backend", &self.report).finish_non_exhaustive()
    }
}

/// A client engine never listens, so it is never asked for a handler.
struct ClientService;

impl Service for ClientService {
    type Handler = ClientHandler;

    fn accept(&mut self, _peer: &PeerInfo) -> ClientHandler {
        Box::new(Unexpected)
    }
}

/// Whoever came in uninvited would be cut.
struct Unexpected;

impl Handler for Unexpected {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        conn.abort();
    }

    fn on_message(&mut self, _conn: &mut Context<'_>, _message: Message<'_>) {}
}

/// Whether a running engine is what `choice` would start.
fn serves(engine: &ClientEngine, choice: Backend) -> bool {
    match choice {
        Backend::Auto | Backend::IoUring => engine.report.kind == BackendKind::IoUring,
        Backend::Tokio => engine.report.kind == BackendKind::Tokio,
    }
}

/// An engine for all clients that want it like that.
struct Shared {
    choice: Backend,
    slicing: Slicing,
    engine: Arc<ClientEngine>,
}

static SHARED: Mutex<Vec<Shared>> = Mutex::new(Vec::new());
