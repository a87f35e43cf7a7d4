//! The commands that measure: `run` and `client`.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Result, anyhow, bail, ensure};

use crate::cli::{ClientFlags, OutputFlags, PlacementFlags, RunFlags};
use crate::cpus::Cpus;
use crate::ending::Ending;
use crate::interrupt::Interrupt;
use crate::job::Load;
use crate::measure::{Peer, Plan, measure};
use crate::output::OutputFile;
use crate::progress::Progress;
use crate::result::ResultFile;
use crate::rounds::Rounds;
use crate::scenario::{self, Scenario};
use crate::summary::summary;
use crate::systems::{self, System};

/// Measures one system with processes of its own.
pub(crate) fn run(flags: &RunFlags) -> Result<ExitCode> {
    let load = flags.load.load()?;
    let scenarios = match &flags.scenario {
        Some(name) => vec![scenario::find(name)?],
        None => scenario::DEFAULT.to_vec(),
    };
    let saved = flags.output.json.is_some() || flags.output.hgrm.is_some();
    ensure!(!saved || scenarios.len() == 1, "--json and --hgrm save one scenario; name it: run SCENARIO");
    scenarios.iter().try_for_each(|scenario| scenario.check(&load))?;
    let system = pick(&flags.system, flags.scenario.is_none())?;
    for scenario in &scenarios {
        admit(*scenario, system, &load)?;
    }
    let (server_cpus, client_cpus) = place(&flags.placement)?;
    let plan = |scenario| Plan {
        name: system.name(),
        system,
        scenario,
        load: &load,
        server_cpus: server_cpus.clone(),
        client_cpus: client_cpus.clone(),
        peer: None,
    };
    let plans: Vec<_> = scenarios.into_iter().map(plan).collect();
    carry_out(&plans, &flags.output)
}

/// Measures a server that runs already.
pub(crate) fn client(flags: &ClientFlags) -> Result<ExitCode> {
    let load = flags.load.load()?;
    let scenario = scenario::find(&flags.scenario)?;
    let takes: Vec<_> = scenario::ALL.iter().filter(|it| it.is_remote()).map(|it| it.name()).collect();
    let (name, takes) = (scenario.name(), takes.join(", "));
    ensure!(scenario.is_remote(), "`{name}` needs both processes: use run; client takes {takes}");
    scenario.check(&load)?;
    let system = pick(&flags.system, false)?;
    admit(scenario, system, &load)?;
    check_cpus(flags.client_cpus.as_ref(), &Cpus::allowed()?)?;
    let plan = Plan {
        name: system.name(),
        system,
        scenario,
        load: &load,
        server_cpus: None,
        client_cpus: flags.client_cpus.clone(),
        peer: Some(Peer { address: &flags.connect, token: flags.token.as_deref() }),
    };
    ensure!(!plan.speaks_tls(), "TLS needs both processes, which share a certificate: use run");
    carry_out(&[plan], &flags.output)
}

fn carry_out(plans: &[Plan<'_>], output: &OutputFlags) -> Result<ExitCode> {
    let paired = output.fail_if.iter().find(|threshold| threshold.pair().is_some());
    if let Some(threshold) = paired {
        bail!("--fail-if `{threshold}`: one system has no ratios; use compare");
    }
    let mut json = output.json.as_deref().map(OutputFile::reserve).transpose()?;
    let mut hgrm = output.hgrm.as_deref().map(OutputFile::reserve).transpose()?;
    warn_of_debug_build();
    let interrupt = Interrupt::install()?;
    let mut rounds = Rounds::default();
    for (number, plan) in plans.iter().enumerate() {
        let progress =
            Progress::new(output.quiet, format!("{} on {}", plan.scenario.name(), plan.system.name()));
        let Some(round) = measure(plan, &interrupt, &progress)? else {
            eprintln!("{}: interrupted before anything was measured", plan.scenario.name());
            break;
        };
        print(&summary(plan, &round), number > 0)?;
        rounds.push(number, round);
        if interrupt.was_interrupted() {
            break;
        }
    }
    // Files are of one scenario.
    if let Some(plan) = plans.first().filter(|_| !rounds.is_empty()) {
        if let Some(file) = &mut hgrm {
            save_hgrm(&rounds, plan.name, file)?;
        }
        if let Some(file) = &mut json {
            ResultFile::new(plan, &[plan.name], &rounds).write(file)?;
        }
    }
    verdict(&rounds, output, interrupt.was_interrupted())
}

fn verdict(rounds: &Rounds, output: &OutputFlags, interrupted: bool) -> Result<ExitCode> {
    let mut ending = Ending { interrupted, ..Ending::default() };
    for threshold in &output.fail_if {
        let values = rounds.iter().filter_map(|(_, round)| round.metrics.get(threshold.metric()));
        let mut values = values.peekable();
        let measured = values.peek().is_some();
        ensure!(measured || interrupted, "--fail-if: `{}` was not measured here", threshold.metric());
        for value in values.filter(|value| threshold.holds(**value)) {
            eprintln!("failed: {threshold} (measured {value})");
            ending.failed = true;
        }
    }
    ending.code(rounds)
}

/// The system asked for, if it can run. Someone who asked for nothing in particular gets the stand-in instead.
fn pick(name: &str, unspecific: bool) -> Result<&'static dyn System> {
    let system = systems::find(name)?;
    let Err(reason) = system.diagnose() else { return Ok(system) };
    ensure!(unspecific, "system `{name}` cannot run here: {reason}");
    let stand_in = systems::STAND_IN;
    if stand_in.name() == name {
        bail!("system `{name}` cannot run here: {reason}");
    }
    print(&format!("{name} cannot run here: {reason}\nMeasuring {} instead.\n\n", stand_in.name()), false)?;
    Ok(stand_in)
}

fn admit(scenario: &dyn Scenario, system: &dyn System, load: &Load) -> Result<()> {
    let (name, what) = (system.name(), scenario.name());
    scenario
        .admits(system, load)
        .map_err(|reason| anyhow!("system `{name}` takes no part in {what}: {reason}"))
}

/// Which CPUs the two processes use: those asked for, else one each if there are two.
pub(crate) fn place(flags: &PlacementFlags) -> Result<(Option<Cpus>, Option<Cpus>)> {
    let allowed = Cpus::allowed()?;
    let two = allowed.as_slice().len() >= 2;
    let choose =
        |asked: &Option<Cpus>, position| asked.clone().or_else(|| allowed.nth(position).filter(|_| two));
    let (server, client) = (choose(&flags.server_cpus, 0), choose(&flags.client_cpus, 1));
    check_cpus(server.as_ref(), &allowed)?;
    check_cpus(client.as_ref(), &allowed)?;
    if !two || server.as_ref().zip(client.as_ref()).is_some_and(|(server, client)| server.overlaps(client)) {
        eprintln!("note: server and client share a CPU; figures say little about either");
    }
    Ok((server, client))
}

fn check_cpus(cpus: Option<&Cpus>, allowed: &Cpus) -> Result<()> {
    if let Some(cpus) = cpus.filter(|cpus| !cpus.within(allowed)) {
        bail!("CPU {cpus} is not among those this process may use: {allowed}");
    }
    Ok(())
}

pub(crate) fn print(text: &str, apart: bool) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if apart {
        writeln!(out)?;
    }
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Writes the round trips of one system for plotters.
pub(crate) fn save_hgrm(rounds: &Rounds, system: &str, file: &mut OutputFile) -> Result<()> {
    let round_trips = rounds.round_trips(system);
    ensure!(!round_trips.is_empty(), "--hgrm: no round trips were measured");
    let mut text = Vec::new();
    round_trips.write_hgrm(&mut text)?;
    file.write(&text)
}

pub(crate) fn warn_of_debug_build() {
    if cfg!(debug_assertions) {
        eprintln!(
            "note: this is a debug build; its figures say nothing (cargo run --release -p qwormhole-perf)"
        );
    }
}
