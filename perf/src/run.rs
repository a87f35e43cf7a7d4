//! The commands that measure: `run` and `client`.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use crate::cli::{ClientFlags, OutputFlags, RunFlags};
use crate::cpus::Cpus;
use crate::interrupt::{EXIT_INTERRUPTED, Interrupt};
use crate::job::Load;
use crate::measure::{Peer, Plan, Round, measure};
use crate::progress::Progress;
use crate::result::ResultFile;
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
    let (server_cpus, client_cpus) = place(flags)?;
    let plan = |scenario| Plan {
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
        system,
        scenario,
        load: &load,
        server_cpus: None,
        client_cpus: flags.client_cpus.clone(),
        peer: Some(Peer { address: &flags.connect, token: flags.token.as_deref() }),
    };
    carry_out(&[plan], &flags.output)
}

fn carry_out(plans: &[Plan<'_>], output: &OutputFlags) -> Result<ExitCode> {
    if cfg!(debug_assertions) {
        eprintln!(
            "note: this is a debug build; its figures say nothing (cargo run --release -p qwormhole-perf)"
        );
    }
    let interrupt = Interrupt::install()?;
    let mut rounds = Vec::new();
    for (number, plan) in plans.iter().enumerate() {
        let progress =
            Progress::new(output.quiet, format!("{} on {}", plan.scenario.name(), plan.system.name()));
        let Some(round) = measure(plan, &interrupt, &progress)? else {
            eprintln!("{}: interrupted before anything was measured", plan.scenario.name());
            break;
        };
        print(&summary(plan, &round), number > 0)?;
        save(plan, &round, output)?;
        rounds.push(round);
        if interrupt.was_interrupted() {
            break;
        }
    }
    verdict(&rounds, output, interrupt.was_interrupted())
}

/// The exit code: what was lost or corrupt is an error, then an interrupt, then what `--fail-if` says.
fn verdict(rounds: &[Round], output: &OutputFlags, interrupted: bool) -> Result<ExitCode> {
    let total = |name: &str| rounds.iter().filter_map(|round| round.metrics.get(name)).sum::<f64>();
    let (lost, corrupt) = (total("lost_messages"), total("corrupt_messages"));
    let mut failed = false;
    for threshold in &output.fail_if {
        let mut values = rounds.iter().filter_map(|round| round.metrics.get(threshold.metric())).peekable();
        let measured = values.peek().is_some();
        ensure!(measured || interrupted, "--fail-if: `{}` was not measured here", threshold.metric());
        for value in values.filter(|value| threshold.holds(**value)) {
            eprintln!("failed: {threshold} (measured {value})");
            failed = true;
        }
    }
    if interrupted {
        return Ok(ExitCode::from(EXIT_INTERRUPTED));
    }
    if failed {
        return Ok(ExitCode::from(EXIT_THRESHOLD));
    }
    if lost + corrupt > 0.0 {
        bail!("{lost:.0} messages were lost and {corrupt:.0} corrupt");
    }
    Ok(ExitCode::SUCCESS)
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
fn place(flags: &RunFlags) -> Result<(Option<Cpus>, Option<Cpus>)> {
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

fn print(text: &str, apart: bool) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if apart {
        writeln!(out)?;
    }
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

fn save(plan: &Plan<'_>, round: &Round, output: &OutputFlags) -> Result<()> {
    if let Some(path) = &output.hgrm {
        ensure!(!round.round_trips.is_empty(), "--hgrm: {} measures no round trips", plan.scenario.name());
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        let mut file = BufWriter::new(file);
        round.round_trips.write_hgrm(&mut file)?;
        file.flush()?;
    }
    match &output.json {
        Some(path) => ResultFile::new(plan, &[vec![round]]).write(path),
        None => Ok(()),
    }
}

/// The exit code when a `--fail-if` holds.
const EXIT_THRESHOLD: u8 = 99;
