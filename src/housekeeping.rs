//! The thread beside a server that tells others how it does.

use std::fmt;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use qwormhole_proto::ShardStats;

#[cfg(feature = "metrics")]
use crate::metrics::Published;
use crate::telemetry::Telemetry;

/// A running housekeeping thread. Dropping it tells what changed last and waits for the thread; a fork leaves it
/// alone.
#[derive(Debug)]
pub(crate) struct Housekeeping {
    /// Dropped to stop the thread.
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    pid: u32,
}

/// What a housekeeping thread is to do; without listeners there is no thread.
pub(crate) struct Chores {
    pub(crate) interval: Duration,
    pub(crate) on_telemetry: Option<OnTelemetry>,
    #[cfg(feature = "metrics")]
    pub(crate) metrics: bool,
}

/// The user's ear.
pub(crate) type OnTelemetry = Box<dyn FnMut(&Telemetry) + Send>;

impl Housekeeping {
    /// Starts the thread, if there is anything to do; `stats` reads the shards' counters.
    pub(crate) fn start(
        chores: Chores,
        stats: Box<dyn Fn() -> Vec<ShardStats> + Send>,
    ) -> std::io::Result<Option<Self>> {
        if !chores.has_listener() {
            return Ok(None);
        }
        let (stop, stopped) = sync_channel(0);
        let thread = thread::Builder::new()
            .name("qwormhole-telemetry".into())
            .spawn(move || keep_telling(chores, &*stats, &stopped))?;
        Ok(Some(Self { stop: Some(stop), thread: Some(thread), pid: process::id() }))
    }
}

impl Chores {
    const fn has_listener(&self) -> bool {
        #[cfg(feature = "metrics")]
        if self.metrics {
            return true;
        }
        self.on_telemetry.is_some()
    }
}

impl Default for Chores {
    fn default() -> Self {
        Self {
            interval: INTERVAL,
            on_telemetry: None,
            #[cfg(feature = "metrics")]
            metrics: false,
        }
    }
}

impl fmt::Debug for Chores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chores").field("interval", &self.interval).finish_non_exhaustive()
    }
}

impl Drop for Housekeeping {
    fn drop(&mut self) {
        if process::id() != self.pid {
            mem::forget((self.stop.take(), self.thread.take()));
            return;
        }
        drop(self.stop.take());
        // A callback that owns the server ends it on this very thread.
        if let Some(thread) =
            self.thread.take().filter(|thread| thread.thread().id() != thread::current().id())
        {
            // It contains the panics of the callback.
            let _ = thread.join();
        }
    }
}

/// The life of the thread: looks every `interval`, and once more when it is stopped.
fn keep_telling(mut chores: Chores, stats: &dyn Fn() -> Vec<ShardStats>, stopped: &Receiver<()>) {
    let mut last = Telemetry::default();
    #[cfg(feature = "metrics")]
    let mut published = chores.metrics.then(Published::default);
    loop {
        let over = stopped.recv_timeout(chores.interval) != Err(RecvTimeoutError::Timeout);
        let now = Telemetry::of(&stats());
        if now != last {
            last = now;
            if let Some(tell) = &mut chores.on_telemetry
                && catch_unwind(AssertUnwindSafe(|| tell(&now))).is_err()
            {
                tracing::error!("panic in on_telemetry");
            }
            #[cfg(feature = "metrics")]
            if let Some(published) = &mut published {
                published.update(&now);
            }
        }
        if over {
            return;
        }
    }
}

/// Often enough for a graph, seldom enough to cost nothing.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);
