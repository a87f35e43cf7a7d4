//! A result made up for tests.

use serde_json::{Value, json};

use crate::result::ResultFile;

/// An echo of three systems.
pub(super) fn result() -> ResultFile {
    of("echo", json!({}), &[("engine", 2e6), ("fallback", 4e6), ("monoio", 1e6)], &[("msgs_per_s", 1.0)])
}

/// A scenario in which every metric of a system is its number times a factor, five rounds alike.
pub(super) fn of(
    scenario: &str,
    params: Value,
    systems: &[(&str, f64)],
    metrics: &[(&str, f64)],
) -> ResultFile {
    let spread = |value: f64| json!({ "min": value * 0.9, "median": value, "max": value * 1.1 });
    let summary = systems.iter().map(|(system, scale)| {
        let metrics = metrics.iter().map(|(name, factor)| ((*name).to_owned(), spread(scale * factor)));
        json!({ "system": system, "metrics": metrics.collect::<serde_json::Map<_, _>>() })
    });
    let (first, own) = systems[0];
    let ratios = systems.iter().skip(1).flat_map(|(against, theirs)| {
        metrics.iter().map(move |(metric, _)| {
            let ratio = crate::ratio::Ratio::of(metric, first, against, &[own / theirs; 5]).unwrap();
            serde_json::to_value(ratio).unwrap()
        })
    });
    let histograms = systems.iter().map(|(system, _)| {
        json!({ "system": system, "count": 1000, "percentiles": [[0.0, 10.0], [50.0, 20.0], [99.0, 90.0], [100.0, 400.0]] })
    });
    let (summary, ratios) = (summary.collect::<Vec<_>>(), ratios.collect::<Vec<_>>());
    let rounds =
        (0..5).map(|round| json!({ "round": round, "system": first, "metrics": { "msgs_per_s": own } }));
    serde_json::from_value(json!({
        "schema_version": 1,
        "command": ["qwormhole-perf", "compare", scenario, "--systems", "a,b", "--depth", "16", "--json", "x", "--quiet"],
        "git_revision": "0123456789ab",
        "environment": crate::environment::Environment::read(),
        "scenario": scenario,
        "params": params,
        "rounds": rounds.collect::<Vec<_>>(),
        "summary": summary,
        "ratios": ratios,
        "histograms": histograms.collect::<Vec<_>>(),
    }))
    .unwrap()
}
