//! Bars: throughput, and CPU per message.

use super::canvas::{Anchor, Canvas, RIGHT, TOP, WIDTH, round};
use super::picture::Picture;
use super::scale::Scale;
use super::series::Series;
use crate::figure::{Figure, number, short};
use crate::result::ResultFile;
use crate::spread::Spread;

/// Throughput of each system, whatever a scenario counts.
pub(super) fn throughput(result: &ResultFile, series: &Series) -> Option<Picture> {
    let metric = ["msgs_per_s", "connections_per_s", "deliveries_per_s"].into_iter().find(|metric| {
        let paced = ["pingpong", "rate"].contains(&result.scenario.as_str());
        !paced && result.summary.iter().any(|it| it.metrics.contains_key(*metric))
    })?;
    let unit = Figure::of(metric).unit;
    Some(bars(result, series, &format!("Throughput in {unit}"), &[(metric, "")]))
}

/// CPU time per message of both processes.
pub(super) fn cpu(result: &ResultFile, series: &Series) -> Option<Picture> {
    let all = [("server_cpu_ns_per_msg", "server"), ("client_cpu_ns_per_msg", "client")];
    let there = |metric: &str| result.summary.iter().any(|it| it.metrics.contains_key(metric));
    let metrics: Vec<_> = all.into_iter().filter(|(metric, _)| there(metric)).collect();
    let title = "CPU time per message in ns";
    (!metrics.is_empty()).then(|| bars(result, series, title, &metrics))
}

/// One bar per system and metric: its median, and a whisker from the least to the greatest round.
fn bars(result: &ResultFile, series: &Series, title: &str, metrics: &[(&str, &str)]) -> Picture {
    let names = result.summary.iter().map(|it| it.system.chars().count()).max().unwrap_or(0);
    let kind_width = if metrics.len() > 1 { 52.0 } else { 0.0 };
    let left = (8.6 * names as f64 + 10.0 + kind_width).min(WIDTH / 2.0);
    let of = |metric: &str| {
        result.summary.iter().filter_map(|it| Some(it.metrics.get(metric)?.max)).collect::<Vec<_>>()
    };
    let high = metrics.iter().flat_map(|(metric, _)| of(metric)).fold(0.0, f64::max);
    // Room for the label behind the longest bar.
    let scale = Scale::from_zero(high, left, RIGHT - 64.0);
    let mut canvas = Canvas::new(TOP);
    let mut y = 8.0;
    let mut told = Vec::new();
    for summary in &result.summary {
        let middle = y + BAR * metrics.len() as f64 / 2.0;
        canvas.text(0.0, middle + 4.5, Anchor::Start, "label", &summary.system);
        for (position, (metric, kind)) in metrics.iter().enumerate() {
            let Some(spread) = summary.metrics.get(*metric) else { continue };
            if !kind.is_empty() {
                canvas.text(left - 6.0, y + BAR / 2.0 + 3.5, Anchor::End, "tick", kind);
            }
            let lighter = if position > 0 { " second" } else { "" };
            let class = format!("bar {}{lighter}", series.class(&summary.system));
            bar(&mut canvas, &scale, (left, y), spread, &class);
            told.push(format!("{} {kind} {}", summary.system, number(spread.median)));
            y += BAR;
        }
        y += GAP;
    }
    for tick in every_other(&scale.ticks()) {
        let x = scale.place(tick);
        canvas.rule((x, 4.0), (x, y));
        canvas.text(x, y + 16.0, Anchor::Middle, "tick", &round(tick));
    }
    canvas.grow(y + 24.0 - TOP);
    let note = "Bars: median of the rounds. Whiskers: least and greatest round.";
    Picture::new(canvas, title, &told.join("; "), note)
}

fn bar(canvas: &mut Canvas, scale: &Scale, (left, y): (f64, f64), spread: &Spread, class: &str) {
    let middle = y + BAR / 2.0;
    canvas.bar((left, y + 3.0), (scale.place(spread.median) - left, BAR - 6.0), class);
    if spread.min < spread.max {
        canvas.whisker((scale.place(spread.min), middle), (scale.place(spread.max), middle));
    }
    canvas.text(scale.place(spread.max) + 8.0, middle + 5.0, Anchor::Start, "value", &short(spread.median));
}

/// Labels of large numbers need room.
fn every_other(ticks: &[f64]) -> Vec<f64> {
    ticks.iter().copied().step_by(if ticks.len() > 6 { 2 } else { 1 }).collect()
}

const BAR: f64 = 24.0;
const GAP: f64 = 8.0;
