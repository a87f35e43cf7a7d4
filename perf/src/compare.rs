//! The command `compare`: systems side by side.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};

use crate::cli::{CompareFlags, OutputFlags};
use crate::ending::Ending;
use crate::interrupt::{EXIT_INTERRUPTED, Interrupt};
use crate::lineup::{Entry, Lineup};
use crate::measure::{Plan, measure};
use crate::output::OutputFile;
use crate::progress::Progress;
use crate::result::ResultFile;
use crate::rounds::Rounds;
use crate::run::{place, print, save_hgrm, warn_of_debug_build};
use crate::scenario::{self, CountedAt, Scenario};
use crate::spread::{Interval, Spread, VALUES_MIN};
use crate::table::table;
use crate::threshold::Threshold;

/// Measures systems in turn, round by round, in fresh processes.
pub(crate) fn compare(flags: &CompareFlags) -> Result<ExitCode> {
    let load = flags.load.load()?;
    let scenario = scenario::find(&flags.scenario)?;
    scenario.check(&load)?;
    let asked = Lineup::parse(&flags.systems)?;
    check_names(&flags.output.fail_if, &asked)?;
    let (server_cpus, client_cpus) = place(&flags.placement)?;
    let (lineup, left_out) = asked.admitted(scenario, &load)?;
    check_admitted(&flags.output.fail_if, &lineup, &left_out)?;
    let mut files = Files::reserve(&flags.output, scenario, &lineup)?;
    left_out.iter().for_each(|reason| eprintln!("note: left out: {reason}"));
    warn_of_debug_build();
    let interrupt = Interrupt::install()?;
    let plan = |entry: &'_ Entry| Plan {
        name: "",
        system: entry.system,
        scenario,
        load: &load,
        server_cpus: server_cpus.clone(),
        client_cpus: client_cpus.clone(),
        peer: None,
    };
    let rounds = take_turns(&lineup, flags, &interrupt, plan)?;
    if rounds.is_empty() {
        eprintln!("{}: interrupted before anything was measured", scenario.name());
        return Ok(ExitCode::from(EXIT_INTERRUPTED));
    }
    let mut result = ResultFile::new(&plan(&lineup.entries()[0]), &lineup.names(), &rounds);
    result.leave_out(&left_out);
    print(&table(&plan(&lineup.entries()[0]), &result), false)?;
    files.write(&result, &rounds)?;
    verdict(&rounds, &lineup, &flags.output, interrupt.was_interrupted())
}

/// All rounds, or as many as there were before an interrupt.
fn take_turns<'a>(
    lineup: &'a Lineup,
    flags: &CompareFlags,
    interrupt: &Interrupt,
    plan: impl Fn(&'a Entry) -> Plan<'a>,
) -> Result<Rounds> {
    let mut rounds = Rounds::default();
    for number in 0..usize::from(flags.rounds) {
        for entry in lineup.order(number) {
            let title = format!("round {} of {}, {}", number + 1, flags.rounds, entry.name);
            let progress = Progress::new(flags.output.quiet, title);
            let plan = Plan { name: &entry.name, ..plan(entry) };
            let round = measure(&plan, interrupt, &progress)
                .with_context(|| format!("{} in round {}", entry.name, number + 1))?;
            rounds.extend(number, round);
            if interrupt.was_interrupted() {
                rounds.interrupt();
                return Ok(rounds);
            }
        }
    }
    Ok(rounds)
}

/// Every system in a `--fail-if` is one of `--systems`.
fn check_names(thresholds: &[Threshold], lineup: &Lineup) -> Result<()> {
    let names = lineup.names();
    for threshold in thresholds {
        for name in threshold.pair().into_iter().flat_map(|(system, against)| [system, against]) {
            ensure!(
                names.contains(&name),
                "--fail-if `{threshold}`: `{name}` is not compared; there are: {}",
                names.join(", ")
            );
        }
    }
    Ok(())
}

/// A ratio with a system that was left out can never be judged.
fn check_admitted(thresholds: &[Threshold], lineup: &Lineup, left_out: &[String]) -> Result<()> {
    let names = lineup.names();
    for threshold in thresholds {
        let Some((system, against)) = threshold.pair() else { continue };
        if !(names.contains(&system) && names.contains(&against)) {
            bail!("--fail-if `{threshold}` cannot be judged: {}", left_out.join("; "));
        }
    }
    Ok(())
}

fn verdict(rounds: &Rounds, lineup: &Lineup, output: &OutputFlags, interrupted: bool) -> Result<ExitCode> {
    let mut ending = Ending { interrupted, ..Ending::default() };
    for threshold in &output.fail_if {
        for judgement in judge(threshold, rounds, lineup) {
            let metric = threshold.metric();
            match judgement {
                Judgement::Passed => (),
                Judgement::Failed(told) => {
                    eprintln!("failed: {threshold} ({told})");
                    ending.failed = true;
                }
                Judgement::Refused(told) => {
                    eprintln!("no verdict: {threshold} ({told})");
                    ending.refused = true;
                }
                Judgement::Unmeasured if interrupted => (),
                Judgement::Unmeasured => bail!("--fail-if: `{metric}` was not measured here"),
            }
        }
    }
    ending.code(rounds)
}

/// What the rounds say about a threshold.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Judgement {
    Passed,
    Failed(String),
    Refused(String),
    Unmeasured,
}

fn judge(threshold: &Threshold, rounds: &Rounds, lineup: &Lineup) -> Vec<Judgement> {
    let Some((system, against)) = threshold.pair() else {
        let medians = lineup.names().into_iter().filter_map(|name| {
            let spread = rounds.spread(name, threshold.metric())?;
            let told = || format!("{name}: median {}", spread.median);
            Some(if threshold.holds(spread.median) { Judgement::Failed(told()) } else { Judgement::Passed })
        });
        let judgements: Vec<_> = medians.collect();
        return if judgements.is_empty() { vec![Judgement::Unmeasured] } else { judgements };
    };
    vec![judge_ratios(threshold, &rounds.ratios(system, against, threshold.metric()))]
}

fn judge_ratios(threshold: &Threshold, ratios: &[f64]) -> Judgement {
    let Some(spread) = Spread::of(ratios) else { return Judgement::Unmeasured };
    let median = format!("median {:.4} of {} rounds", spread.median, ratios.len());
    let Some(interval) = Interval::of(ratios) else {
        return Judgement::Refused(format!("{median}; a verdict needs {VALUES_MIN}"));
    };
    let Interval { low, high, confidence } = interval;
    let told = format!("{median}, {:.0} % interval {low:.4} to {high:.4}", confidence * 100.0);
    if interval.swallows(threshold.value()) {
        return Judgement::Refused(format!("{told}: the threshold lies within it"));
    }
    if threshold.holds(spread.median) { Judgement::Failed(told) } else { Judgement::Passed }
}

/// The files that were asked for.
struct Files {
    json: Option<OutputFile>,
    /// By system.
    hgrm: Vec<(String, OutputFile)>,
}

impl Files {
    fn reserve(output: &OutputFlags, scenario: &dyn Scenario, lineup: &Lineup) -> Result<Self> {
        let json = output.json.as_deref().map(OutputFile::reserve).transpose()?;
        let Some(path) = &output.hgrm else { return Ok(Self { json, hgrm: Vec::new() }) };
        let answered = scenario.counted_at() == CountedAt::Client;
        ensure!(answered, "--hgrm: {} measures no round trips", scenario.name());
        let reserve = |name: &&str| Ok(((*name).to_owned(), OutputFile::reserve(&of_system(path, name))?));
        Ok(Self { json, hgrm: lineup.names().iter().map(reserve).collect::<Result<_>>()? })
    }

    fn write(&mut self, result: &ResultFile, rounds: &Rounds) -> Result<()> {
        for (system, file) in &mut self.hgrm {
            // An interrupt may come before a system's first round.
            if !rounds.metrics(system).is_empty() {
                save_hgrm(rounds, system, file)?;
            }
        }
        self.json.as_mut().map_or(Ok(()), |file| result.write(file))
    }
}

/// `out.hgrm` for `engine#2` is `out.engine-2.hgrm`.
fn of_system(path: &Path, system: &str) -> PathBuf {
    let system = system.replace('#', "-");
    let extension = path.extension().map_or_else(String::new, |it| format!(".{}", it.to_string_lossy()));
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}.{system}{extension}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rounds::tests::rounds;

    fn judged(threshold: &str, ratios: &[f64]) -> Judgement {
        judge_ratios(&threshold.parse().unwrap(), ratios)
    }

    #[test]
    fn a_ratio_is_judged_by_its_median_when_the_rounds_agree() {
        let threshold = "a/b msgs_per_s < 0.9";
        assert_eq!(judged(threshold, &[1.0, 1.1, 0.95, 1.0, 1.0]), Judgement::Passed);
        assert!(
            matches!(judged(threshold, &[0.8, 0.7, 0.85, 0.8, 0.8]), Judgement::Failed(told) if told.contains("0.8"))
        );
    }

    #[test]
    fn a_threshold_within_the_interval_gets_no_verdict() {
        let threshold = "a/b msgs_per_s < 0.9";
        assert!(matches!(judged(threshold, &[0.8, 1.1, 0.95, 1.0, 1.0]), Judgement::Refused(_)));
        assert!(matches!(judged(threshold, &[0.8; 4]), Judgement::Refused(told) if told.contains("needs 5")));
        assert_eq!(judged(threshold, &[]), Judgement::Unmeasured);
        assert_eq!(judged("a/b msgs_per_s != 1", &[1.0; 5]), Judgement::Passed);
    }

    #[test]
    fn without_a_ratio_every_median_is_judged() {
        let rounds = rounds(&[
            (0, "engine", false, &[("msgs_per_s", 10.0)]),
            (0, "fallback", false, &[("msgs_per_s", 30.0)]),
        ]);
        let lineup = Lineup::parse("engine,fallback").unwrap();
        let judged = |text: &str| judge(&text.parse().unwrap(), &rounds, &lineup);
        assert_eq!(
            judged("msgs_per_s < 20"),
            [Judgement::Failed(String::from("engine: median 10")), Judgement::Passed]
        );
        assert_eq!(judged("rtt_us_p50 < 20"), [Judgement::Unmeasured]);
    }

    #[test]
    fn a_ratio_needs_systems_that_are_compared() {
        let lineup = Lineup::parse("engine,fallback").unwrap();
        let check = |text: &str| check_names(&[text.parse().unwrap()], &lineup);
        assert!(check("engine/fallback msgs_per_s < 1").is_ok());
        let error = check("engine/monoio msgs_per_s < 1").unwrap_err().to_string();
        assert!(error.contains("`monoio`") && error.contains("engine, fallback"), "{error}");
    }

    #[test]
    fn each_system_has_a_file_of_its_own() {
        assert_eq!(of_system(Path::new("a/out.hgrm"), "engine#2"), Path::new("a/out.engine-2.hgrm"));
        assert_eq!(of_system(Path::new("out"), "engine"), Path::new("out.engine"));
    }
}
