//! The one place that names both drivers: starts one of them and passes calls on.

use std::io;
use std::mem;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use qwormhole_proto::{
    Broadcast, Config, Dial, DriverOptions, Endpoint, Lookup, Service, ShardStats, ShutdownReport,
};
use socket2::{SockAddr, Socket};

use crate::backend::{Backend, BackendKind, BackendReport};
use crate::error::{Forked, StartError};

/// A running engine of either driver, and what is known about it.
///
/// It belongs to the process that started it: in a fork every call is refused, and dropping it there does
/// nothing, because its threads stayed behind.
pub(crate) struct Host<S: Service> {
    /// `None` once it was shut down.
    engine: Option<AnyEngine<S>>,
    report: BackendReport,
    pid: u32,
}

enum AnyEngine<S: Service> {
    #[cfg(all(target_os = "linux", feature = "io-uring"))]
    IoUring(qwormhole_engine::Engine<S>),
    #[cfg(feature = "tokio")]
    Tokio(qwormhole_fallback::Engine<S>),
}

/// Runs `$body` with `$engine` bound to the driver's own engine.
macro_rules! each {
    ($any:expr, $engine:ident => $body:expr) => {
        match $any {
            #[cfg(all(target_os = "linux", feature = "io-uring"))]
            AnyEngine::IoUring($engine) => $body,
            #[cfg(feature = "tokio")]
            AnyEngine::Tokio($engine) => $body,
        }
    };
}

impl<S: Service> Host<S> {
    /// Starts the backend that `backend` and the environment ask for.
    pub(crate) fn start<F>(
        backend: Backend,
        options: &DriverOptions,
        make_service: F,
    ) -> Result<Self, StartError>
    where
        F: Fn(usize) -> S + Clone + Send + 'static,
    {
        let (engine, kind, refusal) = match backend.resolve()? {
            Backend::IoUring => (start_io_uring(options, make_service)?, BackendKind::IoUring, None),
            Backend::Tokio => (start_tokio(options, make_service)?, BackendKind::Tokio, None),
            Backend::Auto => match start_io_uring(options, make_service.clone()) {
                Ok(engine) => (engine, BackendKind::IoUring, None),
                Err(refusal) => {
                    let engine = start_tokio(options, make_service)?;
                    (engine, BackendKind::Tokio, Some(reason_of(&refusal)))
                }
            },
        };
        let report = BackendReport { kind, detail: detail_of(kind, options), refusal };
        log_once(&report);
        Ok(Self { engine: Some(engine), report, pid: process::id() })
    }

    pub(crate) const fn report(&self) -> &BackendReport {
        &self.report
    }

    /// Refuses to work in a fork of the process that started the engine.
    pub(crate) fn check_fork(&self) -> Result<(), Forked> {
        let here = process::id();
        if here == self.pid { Ok(()) } else { Err(Forked { started_by: self.pid, here }) }
    }

    pub(crate) fn listen(
        &self,
        sockets: Vec<Socket>,
        endpoint: Endpoint,
        config: Arc<Config>,
    ) -> io::Result<()> {
        match &self.engine {
            Some(engine) => each!(engine, engine => engine.listen(sockets, endpoint, config)),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    pub(crate) fn connect(&self, dial: Dial<S::Handler, SockAddr, Socket>)
    where
        S::Handler: Send,
    {
        match &self.engine {
            Some(engine) => each!(engine, engine => engine.connect(dial)),
            None => (dial.failed)(qwormhole_proto::ConnectError::ShuttingDown),
        }
    }
}

/// An engine whose service does not matter to its owner.
pub(crate) trait Running: Send + Sync {
    /// Stops, and waits for the threads; the second call and one in a fork do nothing.
    fn shutdown(&mut self, deadline: Duration) -> ShutdownReport;

    /// Counters of each shard; empty after the shutdown and in a fork.
    fn stats(&self) -> Vec<ShardStats>;

    /// What `stats` reads, for another thread; it keeps nothing running.
    fn watch(&self) -> Box<dyn Fn() -> Vec<ShardStats> + Send>;

    /// Offers a message to every open connection; to none after the shutdown and in a fork.
    fn broadcast(&self, broadcast: &Arc<Broadcast>);

    /// Looks a connection up; finds none after the shutdown and in a fork. Gives the lookup back while too many
    /// wait.
    fn look_up(&self, lookup: Lookup) -> Result<(), Lookup>;
}

impl<S: Service> Running for Host<S> {
    fn shutdown(&mut self, deadline: Duration) -> ShutdownReport {
        match self.engine.take() {
            Some(engine) if self.check_fork().is_ok() => each!(engine, engine => engine.shutdown(deadline)),
            stranded => {
                mem::forget(stranded);
                ShutdownReport::default()
            }
        }
    }

    fn stats(&self) -> Vec<ShardStats> {
        match &self.engine {
            Some(engine) if self.check_fork().is_ok() => each!(engine, engine => engine.stats()),
            _ => Vec::new(),
        }
    }

    fn watch(&self) -> Box<dyn Fn() -> Vec<ShardStats> + Send> {
        match &self.engine {
            Some(engine) => each!(engine, engine => Box::new(engine.watch())),
            None => Box::new(Vec::new),
        }
    }

    fn broadcast(&self, broadcast: &Arc<Broadcast>) {
        if let Some(engine) = self.engine.as_ref().filter(|_| self.check_fork().is_ok()) {
            each!(engine, engine => engine.broadcast(broadcast));
        }
    }

    fn look_up(&self, lookup: Lookup) -> Result<(), Lookup> {
        match &self.engine {
            Some(engine) if self.check_fork().is_ok() => each!(engine, engine => engine.look_up(lookup)),
            _ => Ok(()),
        }
    }
}

impl<S: Service> Drop for Host<S> {
    fn drop(&mut self) {
        if self.check_fork().is_err() {
            mem::forget(self.engine.take());
        }
    }
}

#[cfg(all(target_os = "linux", feature = "io-uring"))]
fn start_io_uring<S, F>(options: &DriverOptions, make_service: F) -> Result<AnyEngine<S>, StartError>
where
    S: Service,
    F: Fn(usize) -> S + Clone + Send + 'static,
{
    let engine = qwormhole_engine::Engine::start(options, make_service);
    let fault = |source| StartError::Backend { kind: BackendKind::IoUring, source: Box::new(source) };
    engine.map(AnyEngine::IoUring).map_err(fault)
}

#[cfg(not(all(target_os = "linux", feature = "io-uring")))]
fn start_io_uring<S, F>(_options: &DriverOptions, _make_service: F) -> Result<AnyEngine<S>, StartError>
where
    S: Service,
    F: Fn(usize) -> S + Clone + Send + 'static,
{
    Err(StartError::NotBuilt(BackendKind::IoUring))
}

#[cfg(feature = "tokio")]
fn start_tokio<S, F>(options: &DriverOptions, make_service: F) -> Result<AnyEngine<S>, StartError>
where
    S: Service,
    F: Fn(usize) -> S + Clone + Send + 'static,
{
    let engine = qwormhole_fallback::Engine::start(options, make_service);
    let fault = |source| StartError::Backend { kind: BackendKind::Tokio, source: Box::new(source) };
    engine.map(AnyEngine::Tokio).map_err(fault)
}

#[cfg(not(feature = "tokio"))]
fn start_tokio<S, F>(_options: &DriverOptions, _make_service: F) -> Result<AnyEngine<S>, StartError>
where
    S: Service,
    F: Fn(usize) -> S + Clone + Send + 'static,
{
    Err(StartError::NotBuilt(BackendKind::Tokio))
}

/// The driver's own words, without "backend io_uring cannot start" in front.
fn reason_of(refusal: &StartError) -> String {
    match refusal {
        StartError::Backend { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}

fn detail_of(kind: BackendKind, options: &DriverOptions) -> String {
    let what = match kind {
        BackendKind::IoUring => io_uring_detail(),
        BackendKind::Tokio => "one current-thread runtime per shard".to_owned(),
    };
    format!("{what}, {} shard{}", options.shards, if options.shards == 1 { "" } else { "s" })
}

#[cfg(all(target_os = "linux", feature = "io-uring"))]
fn io_uring_detail() -> String {
    // The engine has asked already; the answer is kept.
    match qwormhole_engine::probe::probe() {
        Ok(found) => format!("tier {:?}, Linux {}", found.tier, found.kernel),
        Err(refusal) => refusal.to_string(),
    }
}

#[cfg(not(all(target_os = "linux", feature = "io-uring")))]
fn io_uring_detail() -> String {
    String::new()
}

/// One line per process, whichever engine starts first.
fn log_once(report: &BackendReport) {
    static LOGGED: AtomicBool = AtomicBool::new(false);
    if LOGGED.swap(true, Ordering::Relaxed) {
        return;
    }
    match &report.refusal {
        Some(refusal) => {
            tracing::warn!(backend = %report.kind, %refusal, "io_uring refused, using the fallback")
        }
        None => tracing::info!(backend = %report.kind, detail = %report.detail, "engine started"),
    }
}

#[cfg(all(test, feature = "tokio"))]
mod tests {
    use super::*;
    use qwormhole_proto::{Context, Handler, Message, PeerInfo};

    struct Ignore;

    impl Handler for Ignore {
        fn on_message(&mut self, _conn: &mut Context<'_>, _message: Message<'_>) {}
    }

    #[test]
    fn a_fork_is_told_and_leaves_the_engine_alone() {
        let options = DriverOptions::default();
        let mut host = Host::start(Backend::Tokio, &options, |_| |_: &PeerInfo| Ignore).unwrap();
        assert_eq!(host.check_fork(), Ok(()));
        let (ours, theirs) = (host.pid, host.pid + 1);
        host.pid = theirs;
        assert_eq!(host.check_fork(), Err(Forked { started_by: theirs, here: ours }));
        assert!(Running::stats(&host).is_empty());
        host.pid = ours;
        assert_eq!(Running::stats(&host).len(), 1);
        host.shutdown(Duration::ZERO);
        assert!(Running::stats(&host).is_empty(), "after the shutdown");
    }
}
