//! The engine: a set of shards and the way to instruct them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{io, thread};

use crossbeam_channel::{Receiver, Sender, bounded};
use qwormhole_proto::{
    Broadcast, Command, Config, ConnectError, Dial, DriverOptions, Endpoint, Lookup, Service, ShardStats,
    ShutdownReport,
};

use crate::control::{ConnectJob, Control, ShardEnd, ShardHandle};
use crate::error::StartError;
use crate::mailbox::Mailbox;
use crate::shard::{Shard, ShardParts};
use crate::sys::{SockAddr, Socket, UringRing, pin_to_cpu};

type RawSocket = socket2::Socket;

/// Shards with one io_uring each. Dropping the engine ends everything at once; [`Engine::shutdown`] ends it
/// gracefully.
///
/// Memory per shard: 8 MiB of receive buffers (touched as they are used), the ring, 16 bytes of mailbox per
/// possible connection.
pub struct Engine<S: Service> {
    shards: Vec<Running<S>>,
    next: AtomicUsize,
}

struct Running<S: Service> {
    handle: ShardHandle<UringRing, S>,
    thread: Option<JoinHandle<io::Result<ShardEnd>>>,
    stats: Arc<Mutex<ShardStats>>,
}

impl<S: Service> Engine<S> {
    /// Starts `options.shards` threads. `make_service` runs once on each shard's thread.
    ///
    /// # Errors
    ///
    /// The reason in words when io_uring is refused; nothing is left running then.
    pub fn start<F>(options: &DriverOptions, make_service: F) -> Result<Self, StartError>
    where
        F: Fn(usize) -> S + Clone + Send + 'static,
    {
        if !(1..=256).contains(&options.shards) {
            return Err(StartError::Shards);
        }
        crate::probe::probe().map_err(|refusal| StartError::Refused(refusal.to_string()))?;
        let connections_max = options.shard_connections_max.max(1);
        let doors: Vec<_> = (0..options.shards)
            .map(|_| {
                let mailbox = Arc::new(Mailbox::new(connections_max as usize));
                let (handle, controls) = ShardHandle::new(mailbox.clone());
                (handle, controls, mailbox)
            })
            .collect();
        let peers: Vec<_> = doors.iter().map(|(handle, ..)| handle.clone()).collect();
        let (ready, started) = bounded(options.shards);
        let mut engine = Self { shards: Vec::new(), next: AtomicUsize::new(0) };
        for (index, (handle, controls, mailbox)) in doors.into_iter().enumerate() {
            let stats = Arc::<Mutex<ShardStats>>::default();
            let peers = peers.clone();
            let parts = ShardParts {
                index,
                connections_max,
                mailbox,
                controls,
                peers,
                published: stats.clone(),
                wait: options.wait,
                slicing: options.slicing,
            };
            let make_service = make_service.clone();
            let cpu = options.cpus.get(index % options.cpus.len().max(1)).copied();
            let ready = ready.clone();
            let thread = thread::Builder::new()
                .name(format!("{}-{index}", options.thread_name))
                .spawn(move || run_shard(parts, cpu, &make_service, &ready))
                .map_err(StartError::Thread)?;
            engine.shards.push(Running { handle, thread: Some(thread), stats });
        }
        drop(ready);
        engine.await_start(&started)?;
        Ok(engine)
    }

    /// Accepts on sockets that are bound, listening and not blocking. Socket *i* belongs to shard *i*; a single
    /// socket with several shards is accepted by the first, which hands connections out in turn.
    ///
    /// # Errors
    ///
    /// More sockets than shards.
    pub fn listen(&self, sockets: Vec<RawSocket>, endpoint: Endpoint, config: Arc<Config>) -> io::Result<()> {
        if sockets.len() > self.shards.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "more listening sockets than shards"));
        }
        let spread = sockets.len() == 1 && self.shards.len() > 1;
        for (socket, shard) in sockets.into_iter().zip(&self.shards) {
            let socket = for_ring(socket)?;
            let (endpoint, config) = (endpoint.clone(), config.clone());
            shard.handle.send(Control::Listen { socket, endpoint, config, spread });
        }
        Ok(())
    }

    /// Makes a connection; never blocks. Shards take turns. The outcome is `on_open` of the handler or a call
    /// of `dial.failed`.
    pub fn connect(&self, dial: Dial<S::Handler, SockAddr, RawSocket>)
    where
        S::Handler: Send,
    {
        let Dial { addrs, open_socket, config, handler, timeout, failed } = dial;
        let open_socket = Arc::new(move |addr: &SockAddr| open_socket(addr).and_then(for_ring));
        let dial = Dial { addrs, open_socket, config, handler, timeout, failed };
        let job: ConnectJob<UringRing, S> = Box::new(move |shard| match shard {
            Ok(shard) => shard.dial(dial),
            Err(error) => _ = dial.fail(error),
        });
        let index = self.next.fetch_add(1, Ordering::Relaxed) % self.shards.len().max(1);
        let Some(shard) = self.shards.get(index) else { return job(Err(ConnectError::ShuttingDown)) };
        if let Err(Control::Connect(job)) = shard.handle.try_send(Control::Connect(job)) {
            job(Err(ConnectError::TooManyConnections));
        }
    }

    /// Offers a message to every open connection.
    pub fn broadcast(&self, broadcast: &Arc<Broadcast>) {
        for shard in &self.shards {
            // A broadcast is never given back.
            let _ = shard.handle.command(Command::Broadcast(broadcast.clone()));
        }
    }

    /// Looks a connection up on its shard.
    ///
    /// # Errors
    ///
    /// Gives the lookup back while too many wait for that shard; ask again.
    pub fn look_up(&self, lookup: Lookup) -> Result<(), Lookup> {
        let Some(shard) = self.shards.get(usize::from(lookup.id().shard())) else { return Ok(()) };
        match shard.handle.command(Command::Lookup(lookup)) {
            Err(Command::Lookup(lookup)) => Err(lookup),
            _ => Ok(()),
        }
    }

    /// What [`Engine::stats`] reads, for a thread that outlives the engine: it keeps nothing of it running.
    pub fn watch(&self) -> impl Fn() -> Vec<ShardStats> + Send + use<S> {
        let shards: Vec<_> = self.shards.iter().map(|shard| shard.stats.clone()).collect();
        move || shards.iter().map(|stats| *stats.lock().unwrap_or_else(PoisonError::into_inner)).collect()
    }

    /// Stops accepting, closes every connection gracefully, cuts what is left at the deadline and joins the
    /// threads. Blocks until then.
    pub fn shutdown(mut self, deadline: Duration) -> ShutdownReport {
        self.end(deadline)
    }

    /// Counters of each shard, at most one turn old.
    pub fn stats(&self) -> Vec<ShardStats> {
        self.shards.iter().map(|shard| *shard.stats.lock().unwrap_or_else(PoisonError::into_inner)).collect()
    }

    /// Waits until every shard is ready, or reports the first that is not.
    fn await_start(&self, started: &Receiver<Result<(), StartError>>) -> Result<(), StartError> {
        for _ in &self.shards {
            started.recv().map_err(|_| StartError::ShardLost)??;
        }
        Ok(())
    }

    fn end(&mut self, deadline: Duration) -> ShutdownReport {
        for shard in &self.shards {
            shard.handle.send(Control::Shutdown(deadline));
        }
        let mut report = ShutdownReport::default();
        for shard in &mut self.shards {
            let Some(thread) = shard.thread.take() else { continue };
            match thread.join() {
                Ok(Ok(end)) => report.add(&end),
                Ok(Err(error)) => tracing::error!(%error, "a shard lost its ring"),
                Err(_) => tracing::error!("a shard panicked"),
            }
        }
        report
    }
}

impl<S: Service> Drop for Engine<S> {
    fn drop(&mut self) {
        if self.shards.iter().any(|shard| shard.thread.is_some()) {
            self.end(Duration::ZERO);
        }
    }
}

/// A non-blocking socket would make the ring's operations fail with `EAGAIN` instead of waiting.
fn for_ring(socket: RawSocket) -> io::Result<Socket> {
    socket.set_nonblocking(false)?;
    Ok(Socket::from(socket))
}

/// The body of a shard's thread. The ring is made here because it belongs to the thread that makes it.
fn run_shard<S: Service, F: Fn(usize) -> S>(
    parts: ShardParts<UringRing, S>,
    cpu: Option<usize>,
    make_service: &F,
    ready: &Sender<Result<(), StartError>>,
) -> io::Result<ShardEnd> {
    if let Some(cpu) = cpu
        && let Err(error) = pin_to_cpu(cpu)
    {
        tracing::warn!(cpu, %error, "cannot pin a shard");
    }
    let ring = match UringRing::new(parts.connections_max) {
        Ok(ring) => ring,
        Err(refusal) => {
            let _ = ready.send(Err(StartError::Refused(refusal.to_string())));
            return Ok(ShardEnd::default());
        }
    };
    let service = make_service(parts.index);
    let shard = Shard::new(ring, service, parts);
    let _ = ready.send(Ok(()));
    shard.run()
}
