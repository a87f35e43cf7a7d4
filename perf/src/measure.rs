//! One round: two processes, a window of time, what happened in it.

use std::fs;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::cpus::Cpus;
use crate::interrupt::{Event, Events, Interrupt};
use crate::job::{Backend, Command, Job, Load, Outcome, Ready, Report, Side, Snapshot, Tls};
use crate::metric::Metrics;
use crate::peer::tls::self_signed;
use crate::process::Process;
use crate::progress::{Live, Progress};
use crate::record::Recorder;
use crate::scenario::{CountedAt, Scenario};
use crate::syscalls::SyscallCounter;
use crate::systems::{System, TlsUse};
use crate::window::{SyscallSource, Syscalls, Window};

/// What is to be measured.
pub(crate) struct Plan<'a> {
    /// What the system is called in the result.
    pub(crate) name: &'a str,
    pub(crate) system: &'a dyn System,
    pub(crate) scenario: &'a dyn Scenario,
    pub(crate) load: &'a Load,
    pub(crate) server_cpus: Option<Cpus>,
    pub(crate) client_cpus: Option<Cpus>,
    /// A server that runs already, perhaps elsewhere; `None` starts one.
    pub(crate) peer: Option<Peer<'a>>,
}

impl Plan<'_> {
    /// Whether the two processes speak TLS with each other.
    pub(crate) fn speaks_tls(&self) -> bool {
        self.load.tls || self.system.tls() == TlsUse::Always
    }

    /// A fresh certificate, if they do.
    fn certificate(&self) -> Result<Option<Tls>> {
        self.speaks_tls().then(self_signed).transpose()
    }
}

/// A server that runs already.
#[derive(Clone, Debug)]
pub(crate) struct Peer<'a> {
    pub(crate) address: &'a str,
    pub(crate) token: Option<&'a str>,
}

/// What one round measured.
#[derive(Debug)]
pub(crate) struct Round {
    /// The system under the name it has in the result.
    pub(crate) system: String,
    /// What the system runs on, where it tells.
    pub(crate) backend: Option<Backend>,
    pub(crate) metrics: Metrics,
    pub(crate) round_trips: Recorder,
    /// Messages that were checked, those outside of the window included.
    pub(crate) checked: u64,
    /// Who counted the system calls, if anybody could.
    pub(crate) syscalls_from: Option<SyscallSource>,
    /// Cut short by Ctrl-C.
    pub(crate) partial: bool,
}

/// Runs one round in fresh processes. `None` when it was interrupted before anything was measured.
///
/// # Errors
///
/// One line: a process that cannot start, fails or dies, a peer that does not answer.
pub(crate) fn measure(plan: &Plan<'_>, interrupt: &Interrupt, progress: &Progress) -> Result<Option<Round>> {
    let mut stage = Stage {
        events: interrupt.events(),
        server: None,
        client: None,
        interrupted: false,
        done: None,
        early: Vec::new(),
        looks: 0,
        counted_at: plan.scenario.counted_at().side(),
        progress,
    };
    let (server, client) = stage.start(plan)?;
    stage.run_for("warm-up", plan.load.warmup)?;
    if stage.interrupted {
        return Ok(None);
    }
    let begin = stage.snapshots(&Command::Begin)?;
    stage.run_for("measuring", plan.load.duration)?;
    let end = stage.snapshots(&Command::End)?;
    let server_rss_bytes = stage.server.as_ref().and_then(|server| resident_bytes(server.id()));
    let partial = stage.interrupted;
    let syscalls = stage.count_syscalls(plan.load.duration)?;
    stage.run_for("cool-down", plan.load.cooldown)?;
    let (server_outcome, outcome) = stage.finish(plan.scenario.counted_at())?;
    let window = Window {
        counted_at: plan.scenario.counted_at(),
        wire_bytes_per_msg: plan.scenario.wire_bytes(plan.load.size),
        server: begin.0.zip(end.0),
        client: (begin.1, end.1),
        syscalls,
        server_rss_bytes,
    };
    let round_trips = Recorder::from_counts(&outcome.round_trips)?;
    let arrived = server_outcome.as_ref().filter(|_| plan.scenario.counted_at() == CountedAt::Server);
    let arrived = arrived.unwrap_or(&outcome);
    let corrupt = arrived.corrupt;
    let metrics = window.metrics(&round_trips, outcome.sent.saturating_sub(arrived.received), corrupt)?;
    let syscalls_from = window.syscalls_from().filter(|_| metrics.contains_key("server_syscalls_per_msg"));
    let backend = server.and_then(|ready| ready.backend).or(client.backend);
    let (system, checked) = (plan.name.to_owned(), arrived.received);
    Ok(Some(Round { system, backend, metrics, round_trips, checked, syscalls_from, partial }))
}

/// The processes of a round and what comes from them.
struct Stage<'a> {
    events: Events,
    server: Option<Process>,
    client: Option<Process>,
    interrupted: bool,
    /// The process whose part is over and that may end.
    done: Option<Side>,
    /// Reports that nobody has waited for yet.
    early: Vec<(Side, Report)>,
    /// Snapshots asked for the progress display that have not come yet.
    looks: u32,
    counted_at: Side,
    progress: &'a Progress,
}

impl Stage<'_> {
    fn start(&mut self, plan: &Plan<'_>) -> Result<(Option<Ready>, Ready)> {
        let tls = plan.certificate()?;
        let job = |side, address: String, cpus: &Option<Cpus>, token: Option<&str>| Job {
            side,
            system: plan.system.name().to_owned(),
            scenario: plan.scenario.name().to_owned(),
            load: plan.load.clone(),
            address,
            cpus: cpus.clone(),
            token: token.map(str::to_owned),
            tls: tls.clone(),
        };
        let events: Sender<Event> = self.events.sender().clone();
        let Some(peer) = &plan.peer else {
            let job_server = job(Side::Server, plan.system.local_address(), &plan.server_cpus, None);
            self.server = Some(Process::spawn(&job_server, &events)?);
            let ready = self.ready(Side::Server)?;
            let address = ready.address.clone().context("the server tells no address")?;
            self.client =
                Some(Process::spawn(&job(Side::Client, address, &plan.client_cpus, None), &events)?);
            return Ok((Some(ready), self.ready(Side::Client)?));
        };
        let job_client = job(Side::Client, peer.address.to_owned(), &plan.client_cpus, peer.token);
        self.client = Some(Process::spawn(&job_client, &events)?);
        Ok((None, self.ready(Side::Client)?))
    }

    fn ready(&mut self, side: Side) -> Result<Ready> {
        match self.answer(side)? {
            Report::Ready(ready) => Ok(ready),
            other => bail!("the {} process answered {other:?}", side.name()),
        }
    }

    /// Gives both processes a command; the server's and the client's snapshot.
    fn snapshots(&mut self, command: &Command) -> Result<(Option<Snapshot>, Snapshot)> {
        while self.looks > 0 {
            self.snapshot(self.counted_at)?;
            self.looks -= 1;
        }
        self.processes().for_each(|process| process.send(command));
        let server = if self.server.is_some() { Some(self.snapshot(Side::Server)?) } else { None };
        Ok((server, self.snapshot(Side::Client)?))
    }

    fn snapshot(&mut self, side: Side) -> Result<Snapshot> {
        match self.answer(side)? {
            Report::Snapshot(snapshot) => Ok(snapshot),
            other => bail!("the {} process answered {other:?}", side.name()),
        }
    }

    /// Lets the load run; shorter when interrupted.
    fn run_for(&mut self, what: &str, duration: Duration) -> Result<()> {
        if duration.is_zero() {
            return Ok(());
        }
        let begun = Instant::now();
        self.progress.begin(what, duration);
        let mut live = Live::default();
        while !self.interrupted && begun.elapsed() < duration {
            let next = (begun + duration).min(Instant::now() + self.progress.interval());
            match self.events.next_until(next) {
                Some(Event::Report(_, Report::Snapshot(snapshot))) => {
                    self.looks -= 1;
                    live.note(&snapshot);
                }
                Some(event) => self.note(event)?,
                None if Instant::now() < begun + duration => {
                    self.progress.tick(begun.elapsed(), &live);
                    self.look();
                }
                None => (),
            }
        }
        self.progress.end();
        Ok(())
    }

    /// Asks for a snapshot for the progress display, one at a time.
    fn look(&mut self) {
        if self.looks == 0 {
            let side = self.counted_at;
            self.looks += 1;
            self.processes().filter(|it| it.side() == side).for_each(|it| it.send(&Command::Show));
        }
    }

    /// Counts the server's system calls under the same load for a moment, after the window because counting
    /// slows every system call of the machine.
    fn count_syscalls(&mut self, duration: Duration) -> Result<Option<Syscalls>> {
        let Some(server) = self.server.as_ref().filter(|_| !self.interrupted) else { return Ok(None) };
        let Some(client) = self.client.as_ref() else { return Ok(None) };
        let counters = (SyscallCounter::start(server.id()), SyscallCounter::start(client.id()));
        let (Ok(server_counter), Ok(client_counter)) = counters else { return Ok(None) };
        let begin = self.snapshots(&Command::Look)?;
        self.run_for("counting system calls", duration.min(COUNTING))?;
        let end = self.snapshots(&Command::Look)?;
        let totals = (server_counter.finish(), client_counter.finish());
        let (Ok(server_total), Ok(client_total)) = totals else { return Ok(None) };
        let server = begin.0.zip(end.0).context("the server gave no snapshot")?;
        Ok(Some(Syscalls { server_total, client_total, server, client: (begin.1, end.1) }))
    }

    /// Ends the client, then the server; what both counted.
    fn finish(&mut self, counted_at: CountedAt) -> Result<(Option<Outcome>, Outcome)> {
        let client = self.outcome(Side::Client, None)?;
        if self.server.is_none() {
            return Ok((None, client));
        }
        let expected = (counted_at == CountedAt::Server).then_some(client.sent);
        let server = self.outcome(Side::Server, expected)?;
        Ok((Some(server), client))
    }

    fn outcome(&mut self, side: Side, expected: Option<u64>) -> Result<Outcome> {
        if let Some(process) = self.processes().find(|process| process.side() == side) {
            process.send(&Command::Stop { expected });
        }
        loop {
            match self.answer(side)? {
                Report::Outcome(outcome) => {
                    self.done = Some(side);
                    return Ok(outcome);
                }
                Report::Snapshot(_) => (),
                other => bail!("the {} process answered {other:?}", side.name()),
            }
        }
    }

    /// The next report of one process. What the other one reports meanwhile waits for its turn.
    fn answer(&mut self, side: Side) -> Result<Report> {
        if let Some(at) = self.early.iter().position(|(from, _)| *from == side) {
            return Ok(self.early.remove(at).1);
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.events.next_until(deadline) {
                Some(Event::Report(from, report)) if !matches!(report, Report::Failed(_)) => {
                    if from == side {
                        return Ok(report);
                    }
                    self.early.push((from, report));
                }
                Some(event) => self.note(event)?,
                None => bail!("the {} process does not answer", side.name()),
            }
        }
    }

    /// Takes note of an event nobody waits for.
    fn note(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Interrupted => {
                self.interrupted = true;
                Ok(())
            }
            Event::Ended(side) if self.done == Some(side) => Ok(()),
            Event::Ended(side) => Err(self.failure(side, None)),
            Event::Report(side, Report::Failed(reason)) => Err(self.failure(side, Some(reason))),
            Event::Report(side, report) => {
                self.early.push((side, report));
                Ok(())
            }
        }
    }

    /// What went wrong, in one line. When one process is killed, the other sees a lost connection and may be
    /// quicker to complain, so a death that follows is taken for the cause.
    fn failure(&mut self, side: Side, reason: Option<String>) -> anyhow::Error {
        let Some(reason) = reason else { return self.obituary(side) };
        let deadline = Instant::now() + CAUSE_PATIENCE;
        while let Some(event) = self.events.next_until(deadline) {
            match event {
                Event::Ended(other) if other != side => return self.obituary(other),
                Event::Report(other, Report::Failed(_)) if other != side => break,
                _ => (),
            }
        }
        anyhow!("the {} process: {reason}", side.name())
    }

    fn obituary(&mut self, side: Side) -> anyhow::Error {
        let told = self.processes().find(|process| process.side() == side).map(Process::obituary);
        anyhow!(told.unwrap_or_else(|| format!("the {} process is gone", side.name())))
    }

    fn processes(&mut self) -> impl Iterator<Item = &mut Process> {
        self.server.iter_mut().chain(&mut self.client)
    }
}

/// Memory of a process that is not swapped out; `None` when the process is gone.
fn resident_bytes(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// How long a process may take to start or to answer; it has five seconds itself to collect messages.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long to look for the cause behind a complaint.
const CAUSE_PATIENCE: Duration = Duration::from_millis(300);
/// How long system calls are counted.
const COUNTING: Duration = Duration::from_millis(500);
