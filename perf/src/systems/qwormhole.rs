//! qwormhole through its public API, on a given backend and transport.

use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use qwormhole::{
    Backend, BackendKind, BackendReport, Client, Handler, Limits, PeerInfo, SendErrorKind, Sender, Server,
    Slicing, TlsOptions, TlsVersion, WaitMode,
};

use super::handlers::{Echo, PingPong, Quiet, SHARED_MIN, Sink, Source, Subscriber, ended};
use super::publish::Publisher;
use super::{ClientRole, Part, ServerRole, System, TlsUse};
use crate::job::{self, Enters, Job};
use crate::pattern::{Pattern, Sequence};
use crate::peer::tuning::Tuning;
use crate::tally::Tally;

/// qwormhole on one backend.
pub(crate) struct QWormhole {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) backend: Backend,
    pub(super) wait: WaitMode,
    /// `None`: as the environment says, which is how `--slicing` reaches both processes.
    pub(super) slicing: Option<Slicing>,
    pub(super) local: Local,
}

/// How the two processes of a local run reach each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Local {
    Tcp,
    Unix,
}

impl QWormhole {
    /// What connects as this system does; it speaks TLS if the job does.
    fn dialer(&self, job: &Job) -> Result<Client> {
        let client = Client::builder().backend(self.backend).wait(self.wait).limits(limits()?);
        let client = match self.slicing {
            Some(slicing) => client.slicing(slicing),
            None => client,
        };
        let client = match &job.tls {
            Some(tls) => client.tls(tls_options().ca(tls.certificate.as_str())),
            None => client,
        };
        Ok(client.build()?)
    }

    /// Connects with a handler that does everything else.
    fn open<H: Handler + Send>(&self, job: &Job, handler: H) -> Result<Opened> {
        let client = self.dialer(job)?;
        let sender = wait(client.open(job.address.as_str(), handler))?;
        let sender = sender.with_context(|| format!("cannot connect to {}", job.address))?;
        Ok(Opened { sender, _client: client })
    }

    fn client(job: &Job, tally: &Arc<Tally>, opened: Opened) -> Box<dyn Part> {
        Box::new(ClientPart { address: job.address.clone(), tally: tally.clone(), _opened: Some(opened) })
    }
}

impl System for QWormhole {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn diagnose(&self) -> Result<job::Backend, String> {
        let trial = Server::builder().bind("tcp://127.0.0.1:0").map_err(|error| error.to_string())?;
        let trial = trial
            .backend(self.backend)
            .wait(self.wait)
            .shards(1)
            .start(|_: &PeerInfo| Echo { token: None, think: Duration::ZERO });
        trial.map(|server| told(server.backend())).map_err(|error| error.to_string())
    }

    fn local_address(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        match self.local {
            Local::Tcp => String::from("tcp://127.0.0.1:0"),
            Local::Unix => {
                let number = COUNT.fetch_add(1, Ordering::Relaxed);
                format!("unix:@qwormhole-perf-{}-{number}", std::process::id())
            }
        }
    }

    fn serve(&self, job: &Job, role: ServerRole, tally: &Arc<Tally>) -> Result<Box<dyn Part>> {
        let shards = job.cpus.as_ref().map_or(1, |cpus| cpus.as_slice().len());
        let server = Server::builder().bind(job.address.as_str())?.backend(self.backend).shards(shards);
        let server = server.wait(self.wait).limits(limits()?);
        let server = match self.slicing {
            Some(slicing) => server.slicing(slicing),
            None => server,
        };
        let server = match &job.tls {
            Some(tls) => server.tls(tls_options().key(tls.key.as_str()).cert(tls.certificate.as_str())),
            None => server,
        };
        let server = match role {
            ServerRole::Echo => {
                let token: Option<Arc<str>> = job.token.as_deref().map(Arc::from);
                let think = job.load.think;
                server.start(move |_: &PeerInfo| Echo { token: token.clone(), think })?
            }
            ServerRole::Sink => {
                let (pattern, tally) = (Pattern::new(job.load.size), tally.clone());
                server.start(move |_: &PeerInfo| Sink {
                    expected: pattern.sequence(0),
                    received: 0,
                    corrupt: 0,
                    tally: tally.clone(),
                })?
            }
            ServerRole::Publish => {
                let (opened, subscribers) = mpsc::channel();
                let server = server.start(move |_: &PeerInfo| Subscriber { opened: opened.clone() })?;
                return Publisher::start(server, subscribers, job, tally);
            }
        };
        Ok(Box::new(ServerPart(Arc::new(server))))
    }

    fn thinks(&self) -> Result<(), &'static str> {
        Ok(())
    }

    fn tls(&self) -> TlsUse {
        TlsUse::Asked
    }

    fn drive(&self, role: ClientRole, job: &Job, tally: &Arc<Tally>) -> Result<Box<dyn Part>> {
        match role {
            ClientRole::PingPong => self.ping_pong(job, tally),
            ClientRole::Stream => self.stream(job, tally),
            ClientRole::SendOne => self.send_one(job, tally),
            ClientRole::SendFromThread => self.send_from_thread(job, tally),
        }
    }
}

impl QWormhole {
    fn ping_pong(&self, job: &Job, tally: &Arc<Tally>) -> Result<Box<dyn Part>> {
        let handler = PingPong {
            token: job.token.as_deref().map(Arc::from),
            messages: first(job),
            asked: Instant::now(),
            tally: tally.clone(),
        };
        Ok(Self::client(job, tally, self.open(job, handler)?))
    }

    fn stream(&self, job: &Job, tally: &Arc<Tally>) -> Result<Box<dyn Part>> {
        let handler = Source { messages: first(job), tally: tally.clone() };
        Ok(Self::client(job, tally, self.open(job, handler)?))
    }

    fn send_one(&self, job: &Job, tally: &Arc<Tally>) -> Result<Box<dyn Part>> {
        let (connected, told) = mpsc::sync_channel(1);
        let (client, job_there, tally_there) = (self.dialer(job)?, job.clone(), tally.clone());
        let send = move || {
            let outcome = wait(send_awaiting(client, &job_there, &tally_there, &connected));
            if let Err(error) = outcome.and_then(|sent| sent) {
                // Nobody listens once the connection was made.
                if let Err(mpsc::SendError(Err(error))) = connected.send(Err(error)) {
                    tally_there.fail(format!("{error:#}"));
                }
            }
        };
        thread::Builder::new().name(String::from("send")).spawn(send).context("cannot start a thread")?;
        told.recv().context("the sending thread is gone")??;
        Ok(Box::new(ClientPart { address: job.address.clone(), tally: tally.clone(), _opened: None }))
    }

    fn send_from_thread(&self, job: &Job, tally: &Arc<Tally>) -> Result<Box<dyn Part>> {
        let opened = self.open(job, Quiet { tally: tally.clone() })?;
        let (messages, sender_there, tally_there) = (first(job), opened.sender.clone(), tally.clone());
        thread::Builder::new()
            .name(String::from("send"))
            .spawn(move || send_blocking(&sender_there, messages, &tally_there))
            .context("cannot start a thread")?;
        Ok(Self::client(job, tally, opened))
    }
}

/// The way of the async handle: each message is awaited. Returns when the round is over.
async fn send_awaiting(
    client: Client,
    job: &Job,
    tally: &Tally,
    connected: &mpsc::SyncSender<Result<()>>,
) -> Result<()> {
    let connection = client.connect(job.address.as_str()).await;
    let mut connection = connection.with_context(|| format!("cannot connect to {}", job.address))?;
    let _ = connected.send(Ok(()));
    let mut messages = first(job);
    while !tally.is_stopping() {
        let outcome = if job.load.size < SHARED_MIN {
            connection.send(messages.current()).await.map_err(|error| error.kind)
        } else {
            connection.send(messages.current_shared()).await.map_err(|error| error.kind)
        };
        outcome.context("the connection ended")?;
        messages.advance();
        tally.add_sent(1);
    }
    ended(tally, &connection.close().await);
    Ok(())
}

/// The way of another thread: `try_send` while there is room, else wait.
fn send_blocking(sender: &Sender, mut messages: Sequence, tally: &Tally) {
    while !tally.is_stopping() {
        let outcome = if messages.current().len() < SHARED_MIN {
            sender.try_send(messages.current()).map_err(|error| error.kind)
        } else {
            sender.try_send(messages.current_shared()).map_err(|error| error.kind)
        };
        let outcome = match outcome {
            Err(SendErrorKind::Full) => {
                sender.send_blocking(messages.current_shared()).map_err(|error| error.kind)
            }
            other => other,
        };
        if outcome.is_err() {
            // `on_close` of the handler tells why.
            return;
        }
        messages.advance();
        tally.add_sent(1);
    }
    sender.close();
}

/// A running server.
pub(super) struct ServerPart(pub(super) Arc<Server>);

impl Part for ServerPart {
    fn address(&self) -> String {
        self.0.local_addrs().first().map(ToString::to_string).unwrap_or_default()
    }

    fn backend(&self) -> Option<job::Backend> {
        Some(told(self.0.backend()))
    }

    fn enters(&self) -> Option<Enters> {
        let of_ring = self.0.backend().kind == BackendKind::IoUring;
        of_ring.then(|| {
            let stats = self.0.stats();
            Enters {
                work: stats.iter().map(|shard| shard.enters).sum(),
                spin: stats.iter().map(|shard| shard.spin_enters).sum(),
            }
        })
    }

    fn stop(self: Box<Self>, patience: Duration) -> Result<()> {
        let server = Arc::into_inner(self.0).context("the server is still in use")?;
        let report = server.shutdown(patience);
        if report.leaked_bytes > 0 {
            bail!("{} bytes were still in the kernel's hands at the shutdown", report.leaked_bytes);
        }
        Ok(())
    }
}

struct ClientPart {
    address: String,
    tally: Arc<Tally>,
    _opened: Option<Opened>,
}

/// What a connection lives with for the length of the round.
struct Opened {
    sender: Sender,
    /// May have an engine of its own.
    _client: Client,
}

impl Part for ClientPart {
    fn address(&self) -> String {
        self.address.clone()
    }

    fn stop(self: Box<Self>, patience: Duration) -> Result<()> {
        // What has not come back by then is reported as lost.
        self.tally.wait_finished(patience);
        Ok(())
    }
}

fn told(report: &BackendReport) -> job::Backend {
    job::Backend { kind: report.kind.to_string(), detail: report.detail.clone() }
}

/// The defaults, unless a sweep says otherwise.
fn limits() -> Result<Limits> {
    let mut limits = Limits::default();
    // Receive buffers have no public option.
    let tuning = Tuning::new(limits.transmit_bytes_max, limits.transmit_bytes_max).or_environment()?;
    limits.transmit_bytes_max = tuning.write_bytes;
    if tuning.queue_bytes > 0 {
        limits.high_watermark_bytes = tuning.queue_bytes;
        limits.low_watermark_bytes = tuning.queue_bytes / 2;
        limits.max_backpressure_bytes = limits.max_backpressure_bytes.max(2 * tuning.queue_bytes);
    }
    Ok(limits)
}

/// The version that every system here speaks.
fn tls_options() -> TlsOptions {
    TlsOptions::new().versions([TlsVersion::Tls13])
}

/// The messages of a job from their beginning.
pub(super) fn first(job: &Job) -> Sequence {
    Pattern::new(job.load.size).sequence(0)
}

/// Waits for a future on this thread.
pub(super) fn wait<F: Future>(future: F) -> Result<F::Output> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().context("cannot start a runtime")?;
    Ok(runtime.block_on(future))
}
