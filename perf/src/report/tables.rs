//! The numbers below the pictures.

use std::fmt::Write as _;

use super::canvas::escaped;
use crate::figure::{Figure, number, step};
use crate::ratio::{Ratio, Verdict};
use crate::result::ResultFile;

/// Some figures of every system, side by side, and how the first one does.
pub(super) fn glance(result: &ResultFile, metrics: &[&str]) -> String {
    let mut text = String::from("<div class=\"wide\"><table><thead><tr><th scope=\"col\">system</th>");
    for metric in metrics {
        let _ = write!(text, "<th scope=\"col\">{}</th>", name(metric));
    }
    text.push_str("</tr></thead><tbody>");
    for summary in &result.summary {
        let _ = write!(text, "<tr><th scope=\"row\">{}</th>", escaped(&summary.system));
        for metric in metrics {
            let ratio = result.ratios.iter().find(|it| it.against == summary.system && it.metric == *metric);
            let verdict = ratio.map_or_else(String::new, |ratio| {
                let told = times(ratio);
                format!("<br><small class=\"{}\">{told}</small>", class(ratio.verdict))
            });
            let value =
                summary.metrics.get(*metric).map_or_else(|| String::from("–"), |it| number(it.median));
            let _ = write!(text, "<td>{value}{verdict}</td>");
        }
        text.push_str("</tr>");
    }
    let first = result.summary.first().map_or("", |it| it.system.as_str());
    let _ = write!(text, "</tbody></table></div>");
    if !result.ratios.is_empty() {
        let first = escaped(first);
        let _ = write!(
            text,
            "<p class=\"faint\">Medians. Below the others: {first} divided by that system, round by round, \
             and what may be said about {first}.</p>"
        );
    }
    text
}

/// Every figure with its spread.
pub(super) fn figures(result: &ResultFile) -> String {
    let mut metrics: Vec<_> = result.summary.iter().flat_map(|it| it.metrics.keys()).collect();
    metrics.sort_unstable_by_key(|metric| crate::figure::rank(metric));
    metrics.dedup();
    let mut text =
        String::from("<div class=\"wide\"><table><caption>Median, least and greatest round</caption>");
    text.push_str("<thead><tr><th scope=\"col\">figure</th>");
    for summary in &result.summary {
        let _ = write!(text, "<th scope=\"col\">{}</th>", escaped(&summary.system));
    }
    text.push_str("</tr></thead><tbody>");
    for metric in metrics {
        let _ = write!(
            text,
            "<tr><th scope=\"row\">{} <small><code>{}</code></small></th>",
            name(metric),
            escaped(metric)
        );
        for summary in &result.summary {
            let cell = summary.metrics.get(metric).map_or_else(
                || String::from("–"),
                |it| format!("{} <small>{} – {}</small>", number(it.median), number(it.min), number(it.max)),
            );
            let _ = write!(text, "<td>{cell}</td>");
        }
        text.push_str("</tr>");
    }
    text.push_str("</tbody></table></div>");
    text
}

/// Every ratio with its spread and verdict.
pub(super) fn ratios(result: &ResultFile) -> String {
    let mut text = String::from(
        "<div class=\"wide\"><table><caption>Divided within each round</caption><thead><tr>\
         <th scope=\"col\">ratio</th><th scope=\"col\">figure</th><th scope=\"col\">median</th>\
         <th scope=\"col\">least – greatest</th><th scope=\"col\">interval of the median</th>\
         <th scope=\"col\">verdict</th></tr></thead><tbody>",
    );
    for ratio in &result.ratios {
        let interval = ratio.interval.map_or_else(
            || String::from("too few rounds"),
            |it| format!("{:.3} – {:.3} <small>{:.0} %</small>", it.low, it.high, it.confidence * 100.0),
        );
        let _ = write!(
            text,
            "<tr><th scope=\"row\">{} / {}</th><td>{}</td><td>{:.3}</td><td>{:.3} – {:.3}</td><td>{interval}</td>\
             <td class=\"{}\">{}</td></tr>",
            escaped(&ratio.system),
            escaped(&ratio.against),
            name(&ratio.metric),
            ratio.spread.median,
            ratio.spread.min,
            ratio.spread.max,
            class(ratio.verdict),
            ratio.verdict.word(),
        );
    }
    text.push_str("</tbody></table></div>");
    text
}

fn name(metric: &str) -> String {
    let figure = Figure::of(metric);
    if figure.title.is_empty() {
        return escaped(metric);
    }
    let at = step(metric).map_or_else(String::new, |step| match step.strip_suffix('b') {
        Some(percent) => format!(" back at {percent} %"),
        None => format!(" at {step} %"),
    });
    escaped(&format!("{}{at}, {}", figure.title, figure.unit))
}

fn times(ratio: &Ratio) -> String {
    format!("×{:.2}, {}", ratio.spread.median, ratio.verdict.word())
}

const fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Faster | Verdict::Less => "better",
        Verdict::Slower | Verdict::More => "worse",
        Verdict::NoDifference | Verdict::Unclear => "open",
    }
}
