//! The table of main figures in Markdown, as README shows it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::headline::{headline, load, place, rounds};
use crate::figure::{Figure, short, step};
use crate::ratio::Ratio;
use crate::result::ResultFile;

/// One row per load and figure: the first system, then every other one with the ratio and the verdict.
pub(super) fn table(results: &[ResultFile]) -> String {
    let mut text = String::new();
    for origin in results.iter().map(origin).collect::<BTreeSet<_>>() {
        let _ = writeln!(text, "{origin}\n");
    }
    let firsts: BTreeSet<_> =
        results.iter().filter_map(|it| it.summary.first()).map(|it| cell(&it.system)).collect();
    let first = firsts.into_iter().collect::<Vec<_>>().join(" or ");
    let _ = writeln!(
        text,
        "| load | figure | {first} | others (×: {first} divided by them, and the verdict about {first}) |"
    );
    text.push_str("|---|---|---|---|\n");
    for result in results {
        let mut before = String::new();
        for metric in headline(result) {
            let load = format!("`{}`", cell(&load(result)));
            let shown = if load == before { "" } else { &load };
            let _ = writeln!(text, "| {shown} | {} |", row(result, metric));
            before = load;
        }
    }
    text
}

/// A document with the table between its two marks; `None` when it has not two of them.
pub(super) fn replaced(document: &str, results: &[ResultFile]) -> Option<String> {
    let mut starts = document.match_indices(MARK).map(|(at, _)| at);
    let (first, second) = (starts.next()?, starts.next()?);
    let after = first + document[first..].find('\n')? + 1;
    (after <= second).then(|| format!("{}\n{}\n{}", &document[..after], table(results), &document[second..]))
}

fn row(result: &ResultFile, metric: &str) -> String {
    let Figure { title, unit, .. } = Figure::of(metric);
    let at = match step(metric) {
        None => String::new(),
        Some("control") => String::from(" in the control run"),
        Some(step) => format!(" at step {step}"),
    };
    let value =
        |system: &str| result.spread(system, metric).map_or_else(|| String::from("–"), |it| short(it.median));
    let first = result.summary.first().map_or("", |it| it.system.as_str());
    let others = result.summary.iter().skip(1).map(|other| {
        let ratio = result.ratios.iter().find(|it| it.against == other.system && it.metric == metric);
        format!("{} {}{}", cell(&other.system), value(&other.system), ratio.map_or_else(String::new, judged))
    });
    let others: Vec<_> = others.collect();
    format!("{title}{at}, {unit} | {} | {}", value(first), others.join("<br>"))
}

fn judged(ratio: &Ratio) -> String {
    format!(" (×{:.2}, {})", ratio.spread.median, ratio.verdict.word())
}

/// Where a result comes from, in a sentence.
fn origin(result: &ResultFile) -> String {
    let environment = &result.environment;
    let seconds = |name: &str| result.params[name].as_f64().unwrap_or(0.0);
    let count = rounds(result);
    let plural = if count == 1 { "" } else { "s" };
    let partial = if result.is_partial() { " **Partial: interrupted.**" } else { "" };
    let debug =
        if environment.versions.build == "release" { "" } else { " **Debug build: figures say nothing.**" };
    format!(
        "Medians of {count} interleaved round{plural} of {} s after {} s of warm-up, server and client in fresh processes \
         on {} and {}; {}, {} CPUs, {}; revision {}.{partial}{debug}",
        seconds("duration_s"),
        seconds("warmup_s"),
        place(&result.params["server_cpus"]),
        place(&result.params["client_cpus"]),
        cell(&environment.cpu),
        environment.cores,
        cell(&environment.kernel),
        cell(&result.git_revision),
    )
}

/// Text that cannot end a cell or begin a tag.
fn cell(text: &str) -> String {
    text.replace(['|', '<', '>', '`', '\n'], " ")
}

/// How the two lines around the table begin.
pub(super) const MARK: &str = "<!-- figures:";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::result;

    #[test]
    fn wins_and_losses_are_shown_alike() {
        let text = table(&[result()]);
        assert!(text.contains("| `echo --depth 16` | Throughput, messages/s | 2.00 M |"), "{text}");
        assert!(text.contains("fallback 4.00 M (×0.50, slower)"), "{text}");
        assert!(text.contains("monoio 1.00 M (×2.00, faster)"), "{text}");
    }

    #[test]
    fn only_what_stands_between_the_marks_is_replaced() {
        let document = "before\n<!-- figures: begin -->\nold\n<!-- figures: end -->\nafter\n";
        let once = replaced(document, &[result()]).unwrap();
        assert!(once.starts_with("before\n<!-- figures: begin -->\n\nMedians of"), "{once}");
        assert!(once.ends_with("|\n\n<!-- figures: end -->\nafter\n") && !once.contains("old"), "{once}");
        assert_eq!(replaced(&once, &[result()]).unwrap(), once);
        assert_eq!(replaced("nothing", &[result()]), None);
        assert_eq!(replaced("<!-- figures: begin -->\n", &[result()]), None);
    }
}
