//! What a person reads after a comparison.

use std::fmt::Write as _;

use crate::figure::{Figure, base, number, rank};
use crate::measure::Plan;
use crate::ratio::Ratio;
use crate::result::ResultFile;
use crate::spread::Spread;
use crate::summary::{load, placement};

/// Systems and their figures, then the first one against each other one.
pub(crate) fn table(plan: &Plan<'_>, result: &ResultFile) -> String {
    let mut text = String::new();
    let count = result.rounds.iter().map(|round| round.round + 1).max().unwrap_or(0);
    let partial = if result.is_partial() { "  (partial: interrupted)" } else { "" };
    let plural = if count == 1 { "" } else { "s" };
    let _ = writeln!(text, "{}, {count} round{plural}{partial}", result.scenario);
    let _ = writeln!(text, "  {}", load(plan));
    let _ = writeln!(text, "  {}\n", placement(plan));
    let widest = result.summary.iter().map(|it| it.system.chars().count()).max().unwrap_or(0);
    let width = widest.max(8) + 2;
    let metrics = main_metrics(result);
    let _ = writeln!(
        text,
        "{:<width$}{:>16}   {:<30}{:>8}",
        "",
        "median",
        "[min - max]",
        "spread",
        width = width + 2
    );
    for metric in &metrics {
        let _ = writeln!(text, "{}", heading(metric));
        for summary in &result.summary {
            if let Some(spread) = summary.metrics.get(*metric) {
                let _ = writeln!(text, "  {:<width$}{}", summary.system, figures(spread));
            }
        }
    }
    if !result.ratios.is_empty() {
        let first = &result.summary[0].system;
        let _ = writeln!(text, "\n{first} against each other system, divided within each round");
        let _ = writeln!(
            text,
            "{:<width$}{:>16}   {:<30}{:>8}   verdict",
            "",
            "median",
            "[min - max]",
            "spread",
            width = width + 2
        );
        for metric in &metrics {
            let of_metric: Vec<_> = result.ratios.iter().filter(|ratio| ratio.metric == **metric).collect();
            if !of_metric.is_empty() {
                let _ = writeln!(text, "{}", heading(metric));
            }
            for ratio in of_metric {
                let _ = writeln!(text, "  {:<width$}{}", ratio.against, judged(ratio));
            }
        }
    }
    text
}

/// The metrics worth a line, in their order. The others are in the result file.
pub(crate) fn main_metrics(result: &ResultFile) -> Vec<&str> {
    let mut metrics: Vec<_> = result.summary.iter().flat_map(|it| it.metrics.keys()).collect();
    metrics.sort_unstable_by_key(|name| rank(name));
    metrics.dedup();
    let worth = |name: &&String| {
        let nothing_wrong = ["lost_messages", "corrupt_messages", "late_starts"].contains(&base(name))
            && result.summary.iter().all(|it| it.metrics.get(*name).is_none_or(|spread| spread.max == 0.0));
        // Messages of one size: bytes per second say the same again, except about a stream.
        let repeated = base(name) == "bytes_per_s" && result.scenario != "stream";
        let paced = result.scenario == "pingpong" && base(name).ends_with("_per_s");
        !nothing_wrong && !repeated && !paced && !MINOR.contains(&base(name))
    };
    metrics.into_iter().filter(worth).map(String::as_str).collect()
}

fn heading(metric: &str) -> String {
    let Figure { title, unit, .. } = Figure::of(metric);
    if title.is_empty() { metric.to_owned() } else { format!("{metric}  ({title}, {unit})") }
}

fn figures(spread: &Spread) -> String {
    let range = format!("[{} - {}]", number(spread.min), number(spread.max));
    format!("{:>16}   {range:<30}{:>8}", number(spread.median), percent(spread))
}

fn judged(ratio: &Ratio) -> String {
    let Spread { min, median, max } = ratio.spread;
    let range = format!("[{min:.3} - {max:.3}]");
    let interval = ratio.interval.map_or_else(String::new, |interval| {
        let confidence = interval.confidence * 100.0;
        format!("   ({:.3} - {:.3} with {confidence:.0} %)", interval.low, interval.high)
    });
    let (spread, word) = (percent(&ratio.spread), ratio.verdict.word());
    format!("{median:>16.3}   {range:<30}{spread:>8}   {word}{interval}")
}

fn percent(spread: &Spread) -> String {
    spread.relative().map_or_else(String::new, |part| format!("{:.1} %", part * 100.0))
}

/// In the result file only.
const MINOR: [&str; 3] = ["server_cpu_share", "client_syscalls_per_msg", "server_spin_enters_per_s"];
