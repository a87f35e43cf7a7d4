//! The result file.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::environment::{Environment, GIT_REVISION};
use crate::measure::Plan;
use crate::metric::Metrics;
use crate::output::OutputFile;
use crate::ratio::Ratio;
use crate::rounds::Rounds;
use crate::spread::Spread;

/// What `--json` writes and `report` reads; described by `perf/schema.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ResultFile {
    pub(crate) schema_version: u32,
    pub(crate) command: Vec<String>,
    pub(crate) git_revision: String,
    pub(crate) environment: Environment,
    pub(crate) scenario: String,
    pub(crate) params: Value,
    pub(crate) rounds: Vec<RoundRecord>,
    pub(crate) summary: Vec<Summary>,
    pub(crate) ratios: Vec<Ratio>,
    pub(crate) histograms: Vec<HistogramRecord>,
}

/// One system in one round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RoundRecord {
    pub(crate) round: usize,
    pub(crate) system: String,
    pub(crate) metrics: Metrics,
    /// Cut short by an interrupt; counts in `summary` only where the system has no whole round.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) partial: bool,
}

/// One system over all rounds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(crate) system: String,
    pub(crate) metrics: BTreeMap<String, Spread>,
}

/// The round trips of one system in all rounds together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct HistogramRecord {
    pub(crate) system: String,
    pub(crate) count: u64,
    /// Percent of the round trips, and the microseconds that they stay at or below.
    pub(crate) percentiles: Vec<(f64, f64)>,
}

impl ResultFile {
    /// The result of `rounds`, by system in the order of `names`.
    pub(crate) fn new(plan: &Plan<'_>, names: &[&str], rounds: &Rounds) -> Self {
        let names: Vec<_> = names.iter().copied().filter(|name| !rounds.metrics(name).is_empty()).collect();
        let record = |(number, round): (usize, &crate::measure::Round)| RoundRecord {
            round: number,
            system: round.system.clone(),
            metrics: round.metrics.clone(),
            partial: round.partial,
        };
        Self {
            schema_version: SCHEMA_VERSION,
            command: std::env::args().collect(),
            git_revision: GIT_REVISION.to_owned(),
            environment: Environment::read(),
            scenario: plan.scenario.name().to_owned(),
            params: params(plan, rounds),
            rounds: rounds.iter().map(record).collect(),
            summary: names.iter().map(|name| summary(name, rounds)).collect(),
            ratios: ratios(&names, rounds),
            histograms: names.iter().filter_map(|name| histogram(name, rounds)).collect(),
        }
    }

    /// Notes who was asked for and could not take part, and why.
    pub(crate) fn leave_out(&mut self, reasons: &[String]) {
        self.params["left_out"] = json!(reasons);
    }

    /// Writes the file.
    pub(crate) fn write(&self, file: &mut OutputFile) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        file.write(text.as_bytes())
    }

    /// Reads a file that [`ResultFile::write`] wrote.
    ///
    /// # Errors
    ///
    /// Names the file and what is wrong with it.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let name = path.display();
        let length = fs::metadata(path).with_context(|| format!("cannot read {name}"))?.len();
        ensure!(
            length <= FILE_MAX,
            "{name} is no result: it has {length} bytes, above {} MiB",
            FILE_MAX >> 20
        );
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
        let value: Value = serde_json::from_str(&text).with_context(|| format!("{name} is no JSON"))?;
        match value.get("schema_version").and_then(Value::as_u64) {
            Some(version) if version == u64::from(SCHEMA_VERSION) => (),
            Some(version) => {
                bail!("{name} is of schema version {version}; this binary reads {SCHEMA_VERSION}")
            }
            None => bail!("{name} is no result of qwormhole-perf: it has no schema_version"),
        }
        let file: Self = serde_json::from_value(value)
            .with_context(|| format!("{name} is no result of qwormhole-perf"))?;
        ensure!(!file.summary.is_empty(), "{name} has no results");
        Ok(file)
    }

    /// One metric of one system.
    pub(crate) fn spread(&self, system: &str, metric: &str) -> Option<&Spread> {
        self.summary.iter().find(|it| it.system == system)?.metrics.get(metric)
    }

    pub(crate) fn is_partial(&self) -> bool {
        self.params["partial"].as_bool().unwrap_or(false)
    }
}

/// The flags in force, and what the systems told about themselves.
fn params(plan: &Plan<'_>, rounds: &Rounds) -> Value {
    let load = plan.load;
    let all = || rounds.iter().map(|(_, round)| round);
    let backends: BTreeMap<_, _> =
        all().filter_map(|round| Some((&round.system, round.backend.as_ref()?))).collect();
    json!({
        "size": load.size,
        "connections": load.connections,
        "depth": load.depth,
        "from_thread": load.from_thread,
        "tls": plan.speaks_tls(),
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
        "partial": rounds.is_partial(),
    })
}

fn summary(system: &str, rounds: &Rounds) -> Summary {
    let spread = |metric: &str| Some((metric.to_owned(), rounds.spread(system, metric)?));
    let metrics = rounds.metrics(system).into_iter().filter_map(spread).collect();
    Summary { system: system.to_owned(), metrics }
}

/// The first system against each other one, for every metric both have.
fn ratios(names: &[&str], rounds: &Rounds) -> Vec<Ratio> {
    let Some((first, others)) = names.split_first() else { return Vec::new() };
    let mut ratios = Vec::new();
    for other in others {
        for metric in rounds.metrics(first) {
            ratios.extend(Ratio::of(metric, first, other, &rounds.ratios(first, other, metric)));
        }
    }
    ratios
}

fn histogram(system: &str, rounds: &Rounds) -> Option<HistogramRecord> {
    let all = rounds.round_trips(system);
    (!all.is_empty()).then(|| HistogramRecord {
        system: system.to_owned(),
        count: all.len(),
        percentiles: all.percentiles(),
    })
}

const SCHEMA_VERSION: u32 = 1;
/// No result of any sensible comparison is longer.
const FILE_MAX: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rounds::tests::rounds;

    #[test]
    fn the_first_system_is_set_against_each_other_one() {
        let rounds = rounds(&[
            (0, "a", false, &[("x", 2.0), ("y", 1.0)]),
            (0, "b", false, &[("x", 1.0), ("y", 1.0)]),
            (0, "c", false, &[("x", 4.0)]),
        ]);
        let all = ratios(&["a", "b", "c"], &rounds);
        let told: Vec<_> =
            all.iter().map(|it| (&*it.metric, &*it.system, &*it.against, it.spread.median)).collect();
        assert_eq!(told, [("x", "a", "b", 2.0), ("y", "a", "b", 1.0), ("x", "a", "c", 0.5)]);
        assert!(ratios(&["a"], &rounds).is_empty());
    }

    #[test]
    fn round_trips_are_kept_as_percentiles() {
        let record = histogram("a", &rounds(&[(0, "a", false, &[]), (1, "a", false, &[])])).unwrap();
        assert_eq!(record.count, 2);
        let (percent, us) = *record.percentiles.last().unwrap();
        assert!(percent == 100.0 && (us / 20.0 - 1.0).abs() < 2e-3, "{record:?}");
    }
}
