//! The result file.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde_json::{Value, json};

use crate::environment::{Environment, GIT_REVISION};
use crate::measure::{Plan, Round};
use crate::metric::Metrics;

/// What `--json` writes; described by `perf/schema.json`.
#[derive(Debug, Serialize)]
pub(crate) struct ResultFile {
    schema_version: u32,
    command: Vec<String>,
    git_revision: &'static str,
    environment: Environment,
    scenario: &'static str,
    params: Value,
    rounds: Vec<RoundRecord>,
    summary: Vec<Summary>,
    ratios: Vec<Ratio>,
}

#[derive(Debug, Serialize)]
struct RoundRecord {
    round: usize,
    system: &'static str,
    metrics: Metrics,
}

#[derive(Debug, Serialize)]
struct Summary {
    system: &'static str,
    metrics: BTreeMap<String, Spread>,
}

/// One metric of two systems, divided within each round.
#[derive(Debug, Serialize)]
struct Ratio {
    metric: String,
    system: &'static str,
    against: &'static str,
    #[serde(flatten)]
    spread: Spread,
}

/// A value over all rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Spread {
    min: f64,
    median: f64,
    max: f64,
}

impl ResultFile {
    /// The result of `rounds`, each a list with one entry per system, in the order of the systems.
    pub(crate) fn new(plan: &Plan<'_>, rounds: &[Vec<&Round>]) -> Self {
        let measured: Vec<Vec<_>> =
            rounds.iter().map(|round| round.iter().map(|it| (it.system, &it.metrics)).collect()).collect();
        let record = |(number, round): (usize, &Vec<(&'static str, &Metrics)>)| {
            let entry = |&(system, metrics): &(&'static str, &Metrics)| RoundRecord {
                round: number,
                system,
                metrics: metrics.clone(),
            };
            round.iter().map(entry).collect::<Vec<_>>()
        };
        Self {
            schema_version: SCHEMA_VERSION,
            command: std::env::args().collect(),
            git_revision: GIT_REVISION,
            environment: Environment::read(),
            scenario: plan.scenario.name(),
            params: params(plan, rounds),
            rounds: measured.iter().enumerate().flat_map(record).collect(),
            summary: summarize(&measured),
            ratios: ratios(&measured),
        }
    }

    /// Writes the file.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// The flags in force, and what the systems told about themselves.
fn params(plan: &Plan<'_>, rounds: &[Vec<&Round>]) -> Value {
    let load = plan.load;
    let all = || rounds.iter().flatten();
    let backends: BTreeMap<_, _> =
        all().filter_map(|round| Some((round.system, round.backend.as_ref()?))).collect();
    json!({
        "size": load.size,
        "connections": load.connections,
        "depth": load.depth,
        "from_thread": load.from_thread,
        "rate": load.rate,
        "think_s": load.think.as_secs_f64(),
        "mixed": load.mixed,
        "attackers": load.attackers,
        "slicing": load.slicing.map(|slicing| slicing.to_string()),
        "duration_s": load.duration.as_secs_f64(),
        "warmup_s": load.warmup.as_secs_f64(),
        "cooldown_s": load.cooldown.as_secs_f64(),
        "server_cpus": plan.server_cpus,
        "client_cpus": plan.client_cpus,
        "backends": backends,
        "syscalls_counted_by": all().find_map(|round| round.syscalls_from).map(|source| source.name()),
        "partial": all().any(|round| round.partial),
    })
}

type Measured<'a> = [Vec<(&'static str, &'a Metrics)>];

fn summarize(rounds: &Measured<'_>) -> Vec<Summary> {
    let systems = rounds.first().map_or(0, Vec::len);
    (0..systems)
        .filter_map(|position| {
            let column: Vec<_> = rounds.iter().filter_map(|round| round.get(position)).collect();
            let (system, _) = *column.first()?;
            let mut values: BTreeMap<String, Vec<f64>> = BTreeMap::new();
            for (name, value) in column.iter().flat_map(|(_, metrics)| *metrics) {
                values.entry(name.clone()).or_default().push(*value);
            }
            let metrics = values.into_iter().filter_map(|(name, it)| Some((name, Spread::of(it)?))).collect();
            Some(Summary { system, metrics })
        })
        .collect()
}

/// The first system against each other one, for every metric both have.
fn ratios(rounds: &Measured<'_>) -> Vec<Ratio> {
    let Some(first_round) = rounds.first() else { return Vec::new() };
    let mut ratios = Vec::new();
    for position in 1..first_round.len() {
        let mut values: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for round in rounds {
            let (Some((_, mine)), Some((_, theirs))) = (round.first(), round.get(position)) else { continue };
            for (name, value) in *mine {
                if let Some(other) = theirs.get(name).filter(|other| **other != 0.0) {
                    values.entry(name).or_default().push(value / other);
                }
            }
        }
        let (system, against) = (first_round[0].0, first_round[position].0);
        ratios.extend(values.into_iter().filter_map(|(metric, values)| {
            Some(Ratio { metric: metric.to_owned(), system, against, spread: Spread::of(values)? })
        }));
    }
    ratios
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_unstable_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { min, median, max })
    }
}

const SCHEMA_VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(entries: &[(&str, f64)]) -> Metrics {
        entries.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    #[test]
    fn a_spread_is_minimum_median_and_maximum() {
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0]), Some(Spread { min: 1.0, median: 2.0, max: 3.0 }));
        assert_eq!(Spread::of(vec![4.0, 1.0]), Some(Spread { min: 1.0, median: 2.5, max: 4.0 }));
        assert_eq!(Spread::of(vec![]), None);
    }

    #[test]
    fn each_system_is_summed_up_over_its_rounds() {
        let (a0, b0) = (metrics(&[("x", 1.0), ("only_once", 7.0)]), metrics(&[("x", 10.0)]));
        let (a1, b1) = (metrics(&[("x", 3.0)]), metrics(&[("x", 30.0)]));
        let summary = summarize(&[vec![("a", &a0), ("b", &b0)], vec![("a", &a1), ("b", &b1)]]);
        assert_eq!((summary[0].system, summary[1].system), ("a", "b"));
        assert_eq!(summary[0].metrics["x"], Spread { min: 1.0, median: 2.0, max: 3.0 });
        assert_eq!(summary[0].metrics["only_once"].median, 7.0);
        assert_eq!(summary[1].metrics["x"].max, 30.0);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let (a0, b0) = (metrics(&[("x", 1.0), ("zero", 1.0)]), metrics(&[("x", 2.0), ("zero", 0.0)]));
        let (a1, b1) = (metrics(&[("x", 8.0)]), metrics(&[("x", 2.0), ("theirs", 1.0)]));
        let ratios = ratios(&[vec![("a", &a0), ("b", &b0)], vec![("a", &a1), ("b", &b1)]]);
        assert_eq!(ratios.len(), 1);
        assert_eq!((ratios[0].metric.as_str(), ratios[0].system, ratios[0].against), ("x", "a", "b"));
        assert_eq!(ratios[0].spread, Spread { min: 0.5, median: 2.25, max: 4.0 });
    }

    #[test]
    fn one_system_has_no_ratios() {
        let a = metrics(&[("x", 1.0)]);
        assert!(ratios(&[vec![("a", &a)]]).is_empty());
    }
}
