//! The engine: its shards' threads and the way to them.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use qwormhole_proto::{
    Broadcast, Command as Ask, Config, ConnId, ConnectError, Dial, DriverOptions, Endpoint, Lookup, Service,
    ShardStats, ShutdownReport, Slicing,
};
use socket2::{SockAddr, Socket};
use tokio::runtime::{Builder, Handle, LocalOptions};
use tokio::sync::mpsc::error::TrySendError;

use crate::accept::{Listener, Listening};
use crate::error::StartError;
use crate::inbox::{Command, Inbox, Outlet, channels};
use crate::mailbox::Mailbox;
use crate::shard::{self, Shard};

/// A set of shards, each a thread with a runtime of its own, that serve and make connections.
///
/// Dropping it ends every connection at once and waits for the threads, except on a thread of its own: that
/// one ends by itself.
pub struct Engine<S: Service> {
    shards: Vec<Running>,
    next: AtomicUsize,
    service: PhantomData<fn() -> S>,
}

/// One shard as the engine sees it.
struct Running {
    mailbox: Arc<Mailbox>,
    outlet: Outlet,
    runtime: Handle,
    thread: JoinHandle<ShutdownReport>,
}

impl<S: Service> Engine<S> {
    /// Starts `options.shards` threads; `make_service` runs once on each, with the shard's number. Returns
    /// when all are ready. Works inside other runtimes.
    ///
    /// # Errors
    ///
    /// Too many shards or none, a thread or runtime that the system refuses, a CPU that cannot be pinned, a
    /// panic of `make_service`.
    pub fn start<F>(options: &DriverOptions, make_service: F) -> Result<Self, StartError>
    where
        F: Fn(usize) -> S + Clone + Send + 'static,
    {
        if !(1..=SHARDS_MAX).contains(&options.shards) {
            return Err(StartError::Shards(options.shards));
        }
        let mut engine = Self { shards: Vec::new(), next: AtomicUsize::new(0), service: PhantomData };
        for index in 0..options.shards {
            engine.shards.push(start_shard(index, options, make_service.clone())?);
        }
        Ok(engine)
    }

    /// Serves listening sockets. `sockets[i]` is accepted by shard `i` (all on one port, with
    /// `SO_REUSEPORT`); of a single socket shard 0 accepts and hands the connections out in turn. Accepted
    /// connections inherit the socket options of the listening socket.
    ///
    /// # Errors
    ///
    /// No socket or more than shards, or one that the shard's runtime cannot watch.
    pub fn listen(&self, sockets: Vec<Socket>, endpoint: Endpoint, config: Arc<Config>) -> io::Result<()> {
        if sockets.is_empty() || sockets.len() > self.shards.len() {
            let message = format!("{} sockets for {} shards", sockets.len(), self.shards.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let others = if sockets.len() > 1 { &[] } else { &self.shards[1..] };
        for (socket, shard) in sockets.into_iter().zip(&self.shards) {
            let listener = {
                let _runtime = shard.runtime.enter();
                Listener::from_socket(socket)?
            };
            let others = others.iter().map(|shard| shard.outlet.commands.clone()).collect();
            let listening =
                Listening { listener, endpoint: endpoint.clone(), config: config.clone(), others };
            if shard.outlet.listeners.try_send(listening).is_err() {
                return Err(io::Error::new(io::ErrorKind::WouldBlock, "too many listeners at once"));
            }
        }
        Ok(())
    }

    /// Makes a connection; never blocks. Shards are used in turn. The outcome is `on_open` of the handler or
    /// `dial.failed`; the latter runs on the caller's thread when too many connections wait to be made.
    pub fn connect(&self, dial: Dial<S::Handler, SockAddr, Socket>)
    where
        S::Handler: Send,
    {
        let shard = &self.shards[self.next.fetch_add(1, Ordering::Relaxed) % self.shards.len()];
        let (command, error) = match shard.outlet.commands.try_send(Command::Dial(Box::new(dial))) {
            Ok(()) => return,
            Err(TrySendError::Full(command)) => (command, ConnectError::TooManyConnections),
            Err(TrySendError::Closed(command)) => (command, ConnectError::ShuttingDown),
        };
        if let Command::Dial(dial) = command {
            dial.refuse(error);
        }
    }

    /// Offers a message to every open connection.
    pub fn broadcast(&self, broadcast: &Arc<Broadcast>) {
        for shard in &self.shards {
            // A broadcast is never given back.
            let _ = shard.mailbox.command(Ask::Broadcast(broadcast.clone()));
        }
    }

    /// Looks a connection up on its shard.
    ///
    /// # Errors
    ///
    /// Gives the lookup back while too many wait for that shard; ask again.
    pub fn look_up(&self, lookup: Lookup) -> Result<(), Lookup> {
        let Some(shard) = self.shards.get(usize::from(lookup.id().shard())) else { return Ok(()) };
        match shard.mailbox.command(Ask::Lookup(lookup)) {
            Err(Ask::Lookup(lookup)) => Err(lookup),
            _ => Ok(()),
        }
    }

    /// What [`Engine::stats`] reads, for a thread that outlives the engine: it keeps nothing of it running.
    pub fn watch(&self) -> impl Fn() -> Vec<ShardStats> + Send + use<S> {
        let mailboxes: Vec<_> = self.shards.iter().map(|shard| shard.mailbox.clone()).collect();
        move || mailboxes.iter().map(|mailbox| mailbox.stats()).collect()
    }

    /// Stops accepting, closes every connection with
    /// [`CloseReason::Shutdown`](qwormhole_proto::CloseReason::Shutdown) so that what is queued still leaves,
    /// cuts what is left at the deadline and waits for the threads. Attempts to connect end with
    /// [`ConnectError::ShuttingDown`].
    pub fn shutdown(mut self, deadline: Duration) -> ShutdownReport {
        let now = Instant::now();
        self.stop(now.checked_add(deadline).unwrap_or(now + DEADLINE_MAX))
    }

    /// Counters of every shard, a snapshot at most one turn old.
    pub fn stats(&self) -> Vec<ShardStats> {
        self.shards.iter().map(|shard| shard.mailbox.stats()).collect()
    }

    /// Tells every shard first, then waits for all.
    fn stop(&mut self, deadline: Instant) -> ShutdownReport {
        let mut threads = Vec::new();
        for Running { outlet, thread, .. } in self.shards.drain(..) {
            // A shard that is gone already is found out by the join.
            let _ = outlet.stop.send(deadline);
            threads.push(thread);
        }
        let mut report = ShutdownReport::default();
        for thread in threads.into_iter().filter(|thread| thread.thread().id() != thread::current().id()) {
            match thread.join() {
                Ok(of_shard) => report.add(&of_shard),
                Err(_) => tracing::error!("a shard's thread panicked"),
            }
        }
        report
    }
}

impl<S: Service> Drop for Engine<S> {
    fn drop(&mut self) {
        self.stop(Instant::now());
    }
}

impl<S: Service> fmt::Debug for Engine<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("shards", &self.shards.len()).finish_non_exhaustive()
    }
}

fn start_shard<S, F>(index: usize, options: &DriverOptions, make_service: F) -> Result<Running, StartError>
where
    S: Service,
    F: Fn(usize) -> S + Send + 'static,
{
    let connections_max = options.shard_connections_max.min(ConnId::SLOTS_MAX);
    let cpu = options.cpus.get(index % options.cpus.len().max(1)).copied();
    let mailbox = Arc::new(Mailbox::new(connections_max));
    let (outlet, inbox) = channels(connections_max);
    let (ready, started) = sync_channel(1);
    let slicing = options.slicing;
    let plan = Plan { index, cpu, connections_max, mailbox: mailbox.clone(), inbox, slicing, ready };
    let thread = thread::Builder::new()
        .name(format!("{}-{index}", options.thread_name.replace('\0', "")))
        .spawn(move || run_shard(plan, make_service))
        .map_err(StartError::Thread)?;
    // A thread that ends without a word has panicked in `make_service`.
    match started.recv().unwrap_or(Err(StartError::Service(index))) {
        Ok(runtime) => Ok(Running { mailbox, outlet, runtime, thread }),
        Err(error) => {
            let _ = thread.join();
            Err(error)
        }
    }
}

/// What a shard's thread needs to know.
struct Plan {
    index: usize,
    cpu: Option<usize>,
    connections_max: u32,
    mailbox: Arc<Mailbox>,
    inbox: Inbox,
    slicing: Slicing,
    ready: SyncSender<Result<Handle, StartError>>,
}

/// The life of a shard's thread.
fn run_shard<S: Service>(plan: Plan, make_service: impl Fn(usize) -> S) -> ShutdownReport {
    let Plan { index, cpu, connections_max, mailbox, inbox, slicing, ready } = plan;
    let prepared = cpu.map_or(Ok(()), pin_to).and_then(|()| {
        let runtime =
            Builder::new_current_thread().enable_io().enable_time().build_local(LocalOptions::default());
        let runtime = runtime.map_err(StartError::Runtime)?;
        let service = catch_unwind(AssertUnwindSafe(|| make_service(index)));
        Ok((runtime, service.map_err(|_| StartError::Service(index))?))
    });
    let (runtime, service) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            let _ = ready.send(Err(error));
            return ShutdownReport::default();
        }
    };
    if ready.send(Ok(runtime.handle().clone())).is_err() {
        return ShutdownReport::default();
    }
    drop(ready);
    let shard = Rc::new(Shard::new(index as u8, connections_max, service, mailbox, slicing));
    runtime.block_on(shard::run::<S>(shard, inbox))
}

#[cfg(target_os = "linux")]
fn pin_to(cpu: usize) -> Result<(), StartError> {
    use rustix::thread::{CpuSet, sched_setaffinity};

    let fault = |source| StartError::Pin { cpu, source };
    if cpu >= CpuSet::MAX_CPU {
        return Err(fault(io::ErrorKind::InvalidInput.into()));
    }
    let mut cpus = CpuSet::new();
    cpus.set(cpu);
    sched_setaffinity(None, &cpus).map_err(|error| fault(error.into()))
}

#[cfg(not(target_os = "linux"))]
fn pin_to(cpu: usize) -> Result<(), StartError> {
    Err(StartError::Pin { cpu, source: io::ErrorKind::Unsupported.into() })
}

/// A connection's id has 8 bits for its shard.
const SHARDS_MAX: usize = 256;
/// What a deadline beyond the system's clock is cut to.
const DEADLINE_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
