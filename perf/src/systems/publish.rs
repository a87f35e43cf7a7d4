//! How qwormhole publishes: broadcasts in batches, so that no outbox has to refuse one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
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
    let mut under_way: Option<JoinSet<bool>> = None;
    while !ended.load(Ordering::Relaxed) {
        let mut bytes = 0;
        while bytes < BATCH_BYTES {
            match server.broadcast(messages.current_shared()).map_err(|error| error.kind) {
                Ok(()) => messages.advance(),
                // More than the shards have looked at: the batch is as large as it may be.
                Err(SendErrorKind::Full) => break,
                Err(kind) => return Err(kind).context("a message cannot be published"),
            }
            bytes += messages.size() + BOOKKEEPING;
        }
        let mut flushes = JoinSet::new();
        for subscriber in subscribers {
            let subscriber = subscriber.clone();
            flushes.spawn(async move { subscriber.flush().await.is_ok() });
        }
        // One message that fills an outbox must have left before the next.
        let alone = messages.size() > BATCH_BYTES;
        let before = if alone { Some(flushes) } else { under_way.replace(flushes) };
        if let Some(before) = before
            && !before.join_all().await.into_iter().all(|flushed| flushed)
        {
            // A subscriber left; its own side says why if that is a fault.
            return Ok(());
        }
    }
    Ok(())
}

/// Queued messages and what the server needs to keep each: far below what an outbox and the way to the shards
/// hold (5 MiB each).
const BATCH_BYTES: usize = 1 << 20;
const BOOKKEEPING: usize = 1 << 10;
/// How often to look for the end of the round while subscribers are awaited.
const LOOK: Duration = Duration::from_millis(20);
