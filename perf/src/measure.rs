//! One round: two processes, a window of time, what happened in it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::cpus::Cpus;
use crate::interrupt::{Event, Events, Interrupt};
use crate::job::{Backend, Command, Job, Load, Outcome, Ready, Report, Side, Snapshot, Tls};
use crate::memory;
use crate::metric::Metrics;
use crate::pace::Pace;
use crate::peer::tls::self_signed;
use crate::process::Process;
use crate::progress::{Live, Progress};
use crate::record::Recorder;
use crate::scenario::{CountedAt, Scenario};
use crate::syscalls::SyscallCounter;
use crate::systems::{System, TlsUse};
use crate::wakeups::Wakeups;
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

    fn job(&self, side: Side, address: String, tls: Option<Tls>) -> Job {
        let cpus = if side == Side::Server { &self.server_cpus } else { &self.client_cpus };
        Job {
            side,
            system: self.system.name().to_owned(),
            scenario: self.scenario.name().to_owned(),
            load: self.load.clone(),
            address,
            cpus: cpus.clone(),
            token: self.peer.as_ref().and_then(|peer| peer.token).map(str::to_owned),
            tls,
        }
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
        backend: None,
        interrupted: false,
        done: None,
        early: Vec::new(),
        looks: 0,
        counted_at: plan.scenario.counted_at(),
        tls: plan.certificate()?,
        progress,
    };
    let Taken { windows, figures } = plan.scenario.conduct(&mut stage, plan)?;
    if windows.is_empty() {
        return Ok(None);
    }
    let partial = stage.interrupted;
    stage.run_for("cool-down", plan.load.cooldown)?;
    let (server_outcome, outcome) = stage.finish()?;
    let round_trips = Recorder::from_counts(&outcome.round_trips)?;
    let nothing = Recorder::new();
    let mut metrics = Metrics::new();
    for window in &windows {
        metrics.extend(window.metrics(if window.label.is_none() { &round_trips } else { &nothing })?);
    }
    let arrived = server_outcome.as_ref().filter(|_| stage.counted_at == CountedAt::Server);
    let arrived = arrived.unwrap_or(&outcome);
    let lost = outcome.sent.saturating_sub(arrived.received);
    metrics.insert(String::from("lost_messages"), lost as f64);
    metrics.insert(String::from("corrupt_messages"), arrived.corrupt as f64);
    metrics.extend(outcome.figures.clone());
    metrics.extend(figures);
    let told = |window: &Window| window.syscalls_from();
    let counted = metrics.keys().any(|name| name.starts_with("server_syscalls_per_msg"));
    let syscalls_from = windows.iter().find_map(told).filter(|_| counted);
    let (system, checked, backend) = (plan.name.to_owned(), arrived.received, stage.backend.take());
    Ok(Some(Round { system, backend, metrics, round_trips, checked, syscalls_from, partial }))
}

/// What a scenario took of a round.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// None when the round was interrupted before the first one.
    pub(crate) windows: Vec<Window>,
    /// What does not come from a window alone; these win.
    pub(crate) figures: Metrics,
}

/// The processes of a round and what comes from them.
pub(crate) struct Stage<'a> {
    events: Events,
    server: Option<Process>,
    client: Option<Process>,
    /// What the system runs on, where it tells.
    backend: Option<Backend>,
    interrupted: bool,
    /// The process whose part is over and that may end.
    done: Option<Side>,
    /// Reports that nobody has waited for yet.
    early: Vec<(Side, Report)>,
    /// Snapshots asked for the progress display that have not come yet.
    looks: u32,
    counted_at: CountedAt,
    /// What both ends need to speak TLS, if they do.
    tls: Option<Tls>,
    progress: &'a Progress,
}

impl Stage<'_> {
    /// Starts the server, unless one runs already, and then the client, which begins to send.
    pub(crate) fn start(&mut self, plan: &Plan<'_>) -> Result<()> {
        let address = self.start_server(plan)?;
        self.start_client(plan, address)
    }

    /// Starts the server, unless one runs already; where it is.
    pub(crate) fn start_server(&mut self, plan: &Plan<'_>) -> Result<String> {
        if let Some(peer) = &plan.peer {
            return Ok(peer.address.to_owned());
        }
        let job = plan.job(Side::Server, plan.system.local_address(), self.tls.clone());
        self.server = Some(Process::spawn(&job, self.events.sender())?);
        let ready = self.ready(Side::Server)?;
        self.backend = ready.backend;
        ready.address.context("the server tells no address")
    }

    /// Starts the client.
    pub(crate) fn start_client(&mut self, plan: &Plan<'_>, address: String) -> Result<()> {
        let job = plan.job(Side::Client, address, self.tls.clone());
        self.client = Some(Process::spawn(&job, self.events.sender())?);
        let ready = self.ready(Side::Client)?;
        self.backend = self.backend.take().or(ready.backend);
        Ok(())
    }

    pub(crate) const fn was_interrupted(&self) -> bool {
        self.interrupted
    }

    /// The server's process number, if it is ours.
    pub(crate) fn server_id(&self) -> Option<u32> {
        self.server.as_ref().map(Process::id)
    }

    /// Lets the client send in another manner.
    pub(crate) fn pace(&mut self, pace: Pace) -> Result<()> {
        self.snapshots(&Command::Pace(pace)).map(drop)
    }

    /// Measures for the plan's duration, and counts system calls afterwards.
    pub(crate) fn window(&mut self, plan: &Plan<'_>, what: &str) -> Result<Window> {
        let server = self.server_id();
        let wakeups_before = server.and_then(Wakeups::read);
        let begin = self.snapshots(&Command::Begin)?;
        self.run_for(what, plan.load.duration)?;
        let end = self.snapshots(&Command::End)?;
        let wakeups = server.and_then(Wakeups::read).zip(wakeups_before);
        Ok(Window {
            label: None,
            counted_at: self.counted_at,
            asked_per_s: None,
            shared: false,
            rate_name: None,
            wire_bytes_per_msg: Some(plan.scenario.wire_bytes(plan.load.size)),
            server: begin.0.zip(end.0),
            client: (begin.1, end.1),
            server_rss_bytes: server.and_then(memory::resident_bytes),
            wakeups: wakeups.map(|(after, before)| after.since(&before)),
            syscalls: self.count_syscalls(plan.load.duration)?,
        })
    }

    fn ready(&mut self, side: Side) -> Result<Ready> {
        match self.answer(side)? {
            Report::Ready(ready) => Ok(ready),
            other => bail!("the {} process answered {other:?}", side.name()),
        }
    }

    /// Gives both processes a command; the server's and the client's snapshot.
    pub(crate) fn snapshots(&mut self, command: &Command) -> Result<(Option<Snapshot>, Snapshot)> {
        while self.looks > 0 {
            self.snapshot(self.counted_at.side())?;
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
    pub(crate) fn run_for(&mut self, what: &str, duration: Duration) -> Result<()> {
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
            let side = self.counted_at.side();
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
    fn finish(&mut self) -> Result<(Option<Outcome>, Outcome)> {
        let client = self.outcome(Side::Client, None)?;
        if self.server.is_none() {
            return Ok((None, client));
        }
        let expected = (self.counted_at == CountedAt::Server).then_some(client.sent);
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

/// How long a process may take to start or to answer; it has five seconds itself to collect messages.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long to look for the cause behind a complaint.
const CAUSE_PATIENCE: Duration = Duration::from_millis(300);
/// How long system calls are counted.
const COUNTING: Duration = Duration::from_millis(500);
