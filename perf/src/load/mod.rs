//! The neutral load generator: one thread, plain non-blocking sockets, epoll, no runtime. It drives every
//! server alike, so that only servers are compared.

mod attackers;
mod churn;
mod connection;
mod generator;
mod incoming;
mod ledger;
mod outgoing;
mod poller;
mod schedule;
mod subscribers;
mod target;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::job::Job;
use crate::pace::{Flow, Pace};
use crate::systems::Part;
use crate::tally::Tally;

use self::attackers::Attackers;
use self::churn::Churn;
use self::generator::Generator;
pub(crate) use self::generator::Options;
use self::subscribers::Subscribers;

/// Connects, and begins to ask as the load says: in a closed loop of `--depth`, or open at `--rate`.
pub(crate) fn start(job: &Job, tally: &Arc<Tally>) -> Result<Box<dyn Part>> {
    let depth = job.load.depth;
    let options = Options::of_depth(depth);
    start_with(job, options, Pace { flow: Flow::of(&job.load), ..Pace::default() }, tally)
}

/// Connects, and begins to ask in the manner of `pace`.
pub(crate) fn start_with(
    job: &Job,
    options: Options,
    pace: Pace,
    tally: &Arc<Tally>,
) -> Result<Box<dyn Part>> {
    tally.set_pace(pace);
    let generator = Generator::connect(job, options, tally)?;
    launch(job, tally, vec![Box::new(generator)])
}

/// As [`start`], beside connections that behave as well until the pace says that they attack.
pub(crate) fn start_attacked(
    job: &Job,
    attackers: usize,
    pace: Pace,
    tally: &Arc<Tally>,
) -> Result<Box<dyn Part>> {
    tally.set_pace(pace);
    let depth = job.load.depth;
    let options = Options::of_depth(depth);
    let honest = Generator::connect(job, options, tally)?;
    launch(job, tally, vec![Box::new(honest), Box::new(Attackers::connect(job, attackers, tally)?)])
}

/// Connects the subscribers of a publisher.
pub(crate) fn subscribe(job: &Job, tally: &Arc<Tally>) -> Result<Box<dyn Part>> {
    launch(job, tally, vec![Box::new(Subscribers::connect(job, tally)?)])
}

/// Begins to come and go.
pub(crate) fn churn(job: &Job, tally: &Arc<Tally>) -> Result<Box<dyn Part>> {
    launch(job, tally, vec![Box::new(Churn::connect(job, tally)?)])
}

/// What one thread of the load generator does.
trait Driver: Send {
    /// Goes on until the round is over and everything under way has arrived, or until `abandoned`.
    fn run(&mut self, abandoned: &AtomicBool) -> Result<()>;
}

/// Gives each driver a thread; the round is over for this side when the first one is done.
fn launch(job: &Job, tally: &Arc<Tally>, drivers: Vec<Box<dyn Driver>>) -> Result<Box<dyn Part>> {
    let abandoned = Arc::new(AtomicBool::new(false));
    let mut threads = Vec::with_capacity(drivers.len());
    for (position, mut driver) in drivers.into_iter().enumerate() {
        let (abandoned_there, tally) = (abandoned.clone(), tally.clone());
        let run = move || {
            if let Err(error) = driver.run(&abandoned_there) {
                tally.fail(format!("{error:#}"));
            }
            if position == 0 {
                tally.finish();
            }
        };
        let name = format!("load-{position}");
        threads.push(thread::Builder::new().name(name).spawn(run).context("cannot start a load thread")?);
    }
    Ok(Box::new(Running { threads, abandoned, tally: tally.clone(), address: job.address.clone() }))
}

struct Running {
    threads: Vec<JoinHandle<()>>,
    /// The last answers are no longer waited for.
    abandoned: Arc<AtomicBool>,
    tally: Arc<Tally>,
    address: String,
}

impl Part for Running {
    fn address(&self) -> String {
        self.address.clone()
    }

    fn stop(self: Box<Self>, patience: Duration) -> Result<()> {
        // What has not come back by then is reported as lost.
        self.tally.wait_finished(patience);
        self.abandoned.store(true, Ordering::Relaxed);
        for thread in self.threads {
            if thread.join().is_err() {
                bail!("a load thread panicked");
            }
        }
        Ok(())
    }
}
