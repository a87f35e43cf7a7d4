//! How qwormhole publishes: broadcasts in batches, so that no outbox has to refuse one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use qwormhole::{SendErrorKind, Sender, Server};
use tokio::task::JoinSet;

use super::Part;
use super::qwormhole::{ServerPart, first, wait};
use crate::job::{Backend, Enters, Job};
use crate::pattern::Sequence;
use crate::tally::Tally;

/// A server and the thread that broadcasts. While one batch is on its way the next one is queued; a subscriber
/// that has not taken the batch before stops everything, so that an outbox holds two batches at most.
pub(super) struct Publisher {
    server: ServerPart,
    ended: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Publisher {
    /// Publishes as soon as every subscriber of the job has said through `opened` that it is there.
    pub(super) fn start(
        server: Server,
        opened: mpsc::Receiver<Sender>,
        job: &Job,
        tally: &Arc<Tally>,
    ) -> Result<Box<dyn Part>> {
        let (server, ended) = (Arc::new(server), Arc::new(AtomicBool::new(false)));
        let (count, messages) = (job.load.connections, first(job));
        let (server_there, ended_there, tally) = (server.clone(), ended.clone(), tally.clone());
        let publish = move || {
            let Some(subscribers) = gather(&opened, count, &ended_there) else { return };
            let publishing = publish(&server_there, &subscribers, messages, &ended_there);
            if let Err(error) = wait(publishing).and_then(|outcome| outcome) {
                tally.fail(format!("{error:#}"));
            }
        };
        let thread = thread::Builder::new().name(String::from("publish")).spawn(publish);
        let thread = thread.context("cannot start a thread")?;
        Ok(Box::new(Self { server: ServerPart(server), ended, thread }))
    }
}

impl Part for Publisher {
    fn address(&self) -> String {
        self.server.address()
    }

    fn backend(&self) -> Option<Backend> {
        self.server.backend()
    }

    fn enters(&self) -> Option<Enters> {
        self.server.enters()
    }

    fn stop(self: Box<Self>, patience: Duration) -> Result<()> {
        self.ended.store(true, Ordering::Relaxed);
        if self.thread.join().is_err() {
            bail!("the publishing thread panicked");
        }
        Box::new(self.server).stop(patience)
    }
}

/// Every subscriber, once the last one is there; `None` when the round ends before.
fn gather(opened: &mpsc::Receiver<Sender>, count: usize, ended: &AtomicBool) -> Option<Vec<Sender>> {
    let mut subscribers = Vec::with_capacity(count);
    while subscribers.len() < count {
        match opened.recv_timeout(LOOK) {
            Ok(subscriber) => subscribers.push(subscriber),
            Err(mpsc::RecvTimeoutError::Timeout) if !ended.load(Ordering::Relaxed) => (),
            Err(_) => return None,
        }
    }
    Some(subscribers)
}

/// Broadcasts until the round ends or a subscriber leaves.
async fn publish(
    server: &Server,
    subscribers: &[Sender],
    mut messages: Sequence,
    ended: &AtomicBool,
) -> Result<()> {
    let (mut published, mut under_way) = (0, JoinSet::new());
    while !ended.load(Ordering::Relaxed) {
        published += publish_batch(server, &mut messages)?;
        if !has_left(&mut under_way).await || !is_queued(server, published, subscribers.len(), ended)? {
            // A subscriber left; its own side says why if that is a fault.
            return Ok(());
        }
        for subscriber in subscribers {
            let subscriber = subscriber.clone();
            under_way.spawn(async move { subscriber.flush().await.is_ok() });
        }
        // A message that fills an outbox must have left before the next one.
        if messages.size() > BATCH_BYTES && !has_left(&mut under_way).await {
            return Ok(());
        }
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Broadcasts as many messages as a batch holds; how many.
fn publish_batch(server: &Server, messages: &mut Sequence) -> Result<u64> {
    let (mut published, mut bytes) = (0, 0);
    while bytes < BATCH_BYTES {
        match server.broadcast(messages.current_shared()).map_err(|error| error.kind) {
            Ok(()) => messages.advance(),
            // More than the shards have looked at: the batch is as large as it may be.
            Err(SendErrorKind::Full) => break,
            Err(kind) => return Err(kind).context("a message cannot be published"),
        }
        published += 1;
        bytes += messages.size() + BOOKKEEPING;
    }
    Ok(published)
}

/// Waits until everything broadcast so far is in the outboxes: a flush says nothing about a broadcast that its
/// shard has not looked at. False when the round is over.
fn is_queued(server: &Server, published: u64, subscribers: usize, ended: &AtomicBool) -> Result<bool> {
    loop {
        let counts = server.snapshot();
        ensure!(counts.broadcasts_missed == 0, "a subscriber missed a message: its outbox was full");
        if counts.messages_out >= published * subscribers as u64 {
            return Ok(true);
        }
        if ended.load(Ordering::Relaxed) || server.connection_count() < subscribers {
            return Ok(false);
        }
        // Nothing else is to be done on this thread; the shards take microseconds.
        thread::sleep(TURN);
    }
}

/// Waits until what was flushed has left; false when a subscriber has.
async fn has_left(under_way: &mut JoinSet<bool>) -> bool {
    let mut all = true;
    while let Some(flushed) = under_way.join_next().await {
        all &= flushed.unwrap_or(false);
    }
    all
}

/// Queued messages and what the server needs to keep each: far below what an outbox and the way to the shards
/// hold (5 MiB each).
const BATCH_BYTES: usize = 1 << 20;
const BOOKKEEPING: usize = 1 << 10;
/// How often to look for the end of the round while subscribers are awaited.
const LOOK: Duration = Duration::from_millis(20);
/// How long to wait before looking again whether the shards have queued a batch.
const TURN: Duration = Duration::from_micros(20);
