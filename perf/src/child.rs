//! A server or client process of a run: does its part and obeys its parent.

use std::io::{self, BufRead};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Resource, Signal, getrlimit, set_parent_process_death_signal, setrlimit};

use crate::job::{Command, Job, Ready, Report, Side, Snapshot};
use crate::systems::Part;
use crate::tally::{Phase, Tally, report};
use crate::{scenario, systems, told};

/// Runs as a child process: reads its job and then commands from standard input. Ends when told, when its
/// input ends, and with its parent in any case.
pub(crate) fn run() -> ExitCode {
    let outcome = set_parent_process_death_signal(Some(Signal::KILL))
        .context("cannot be tied to the parent process")
        .and_then(|()| obey());
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&Report::Failed(told::once(&error)));
            ExitCode::FAILURE
        }
    }
}

fn obey() -> Result<()> {
    let mut lines = io::stdin().lock().lines();
    let first = lines.next().context("no job was given")??;
    let job: Job = serde_json::from_str(&first).context("the job cannot be read")?;
    if let Some(cpus) = &job.cpus {
        cpus.pin()?;
    }
    allow_open_files(job.load.connections + job.load.attackers)?;
    let tally = Arc::new(Tally::new());
    let part = start(&job, &tally)?;
    report(&Report::Ready(Ready {
        address: (job.side == Side::Server).then(|| part.address()),
        backend: part.backend(),
    }));
    for line in lines {
        let mut rtt_p99_ns = None;
        match serde_json::from_str(&line?).context("a command cannot be read")? {
            Command::Begin => tally.enter(Phase::Measure),
            Command::End => tally.enter(Phase::CoolDown),
            Command::Show => rtt_p99_ns = tally.rtt_p99_ns(),
            Command::Look => (),
            Command::Pace(pace) => tally.set_pace(pace),
            Command::Stop { expected } => return stop(part, &tally, expected),
        }
        report(&Report::Snapshot(Snapshot { enters: part.enters(), rtt_p99_ns, ..tally.snapshot() }));
    }
    bail!("the parent process is gone")
}

fn start(job: &Job, tally: &Arc<Tally>) -> Result<Box<dyn Part>> {
    let system = systems::find(&job.system)?;
    let scenario = scenario::find(&job.scenario)?;
    match job.side {
        Side::Server => system.serve(job, scenario.server_role(), tally),
        Side::Client => scenario.drive(system, job, tally),
    }
}

fn stop(part: Box<dyn Part>, tally: &Tally, expected: Option<u64>) -> Result<()> {
    tally.enter(Phase::Stop);
    if let Some(expected) = expected {
        tally.wait_received(expected, PATIENCE);
    }
    part.stop(PATIENCE)?;
    report(&Report::Outcome(tally.outcome()));
    Ok(())
}

/// Raises the limit of open files as far as it goes.
pub(crate) fn allow_open_files(connections: usize) -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("cannot raise the limit of open files")?;
    let needed = connections as u64 + OTHER_FILES;
    match limit.maximum {
        Some(most) if most < needed => {
            bail!(
                "{connections} connections need {needed} open files; this process may have {most} (ulimit -n)"
            )
        }
        _ => Ok(()),
    }
}

/// How long the last messages may take without any progress.
const PATIENCE: Duration = Duration::from_secs(5);
/// Open files besides connections: standard streams, rings, epoll, wake-ups.
const OTHER_FILES: u64 = 64;
