//! Curves: percentiles, latency against load, response to steps of load.

use super::canvas::{Anchor, Canvas, LEFT, RIGHT, TOP, round};
use super::picture::Picture;
use super::scale::Scale;
use super::series::Series;
use crate::figure::number;
use crate::result::{HistogramRecord, ResultFile};
use crate::spread::Spread;

/// How long round trips take, by the share of them that is no longer.
pub(super) fn percentiles(result: &ResultFile, series: &Series) -> Option<Picture> {
    let drawn = |histogram: &&HistogramRecord| histogram.percentiles.iter().any(|(_, us)| *us > 0.0);
    let histograms: Vec<_> = result.histograms.iter().filter(drawn).collect();
    let all = || histograms.iter().flat_map(|it| &it.percentiles).map(|(_, us)| *us).filter(|us| *us > 0.0);
    let y = Scale::logarithmic(all().reduce(f64::min)?, all().reduce(f64::max)?, BOTTOM, TOP);
    let last = histograms.iter().map(|it| last_share(it.count)).fold(99.0, f64::max);
    let x = Scale::nines(last, LEFT, RIGHT - 10.0);
    let mut canvas = Canvas::new(BOTTOM);
    canvas.upright_axis(&y, "round trip, µs");
    for (percent, label) in SHARES.into_iter().filter(|(percent, _)| *percent <= last + 1e-9) {
        let at = x.place_share(percent);
        canvas.rule((at, TOP), (at, BOTTOM));
        canvas.text(at, BOTTOM + 18.0, Anchor::Middle, "tick", label);
    }
    canvas.text(RIGHT, BOTTOM + 36.0, Anchor::End, "axis", "share of round trips that take no longer");
    let (mut entries, mut told) = (Vec::new(), Vec::new());
    for histogram in &histograms {
        let system = &histogram.system;
        let end = last_share(histogram.count);
        let points = histogram.percentiles.iter().filter(|(_, us)| *us > 0.0);
        let points: Vec<_> =
            points.map(|(percent, us)| (x.place_share(percent.min(end)), y.place(*us))).collect();
        canvas.curve(&points, &series.class(system), series.dash(system));
        entries.push((system.clone(), series.class(system), series.dash(system)));
        let p99 = histogram.percentiles.iter().find(|(percent, _)| *percent >= 99.0);
        told.extend(p99.map(|(_, us)| format!("{system}: 99 % within {} µs", number(*us))));
    }
    let rows = canvas.legend(BOTTOM + 64.0, &entries);
    canvas.grow(50.0 + rows);
    let note = "All rounds together. Further right is rarer; both scales are logarithmic.";
    let title = "Round trips by percentile, in µs";
    Some(Picture::new(canvas, title, &told.join("; "), note))
}

/// Round trips at several loads: of one file each, or of the steps in one file.
pub(super) fn load(scenario: &str, results: &[&ResultFile], series: &Series) -> Option<Picture> {
    let mut lines: Vec<Line<'_>> = Vec::new();
    for (metric, name) in [("rtt_us_p50", "p50"), ("rtt_us_p99", "p99")] {
        for result in results {
            for summary in &result.summary {
                let points = points(result, &summary.system, metric);
                match lines.iter_mut().find(|it| it.0 == summary.system && it.1 == name) {
                    Some(line) => line.2.extend(points),
                    None => lines.push((&summary.system, name, points)),
                }
            }
        }
    }
    lines.iter_mut().for_each(|line| line.2.sort_by(|a, b| a.0.total_cmp(&b.0)));
    lines.retain(|line| line.2.len() >= 2);
    let high = lines.iter().flat_map(|line| &line.2).map(|(load, _)| *load).fold(0.0, f64::max);
    let x = Scale::from_zero(high, LEFT, RIGHT - 10.0);
    let y = scale_of(lines.iter().flat_map(|line| &line.2).map(|(_, spread)| spread))?;
    let mut canvas = Canvas::new(BOTTOM);
    canvas.upright_axis(&y, "round trip, µs");
    for tick in x.ticks() {
        canvas.rule((x.place(tick), TOP), (x.place(tick), BOTTOM));
        canvas.text(x.place(tick), BOTTOM + 18.0, Anchor::Middle, "tick", &round(tick));
    }
    canvas.text(RIGHT, BOTTOM + 36.0, Anchor::End, "axis", "load, messages/s");
    let places: Vec<Line<'_>> = lines
        .iter()
        .map(|(system, name, points)| {
            (*system, *name, points.iter().map(|(load, spread)| (x.place(*load), *spread)).collect())
        })
        .collect();
    let told = draw(&mut canvas, &y, series, &places);
    let note = note(&lines);
    Some(Picture::new(canvas, &format!("Latency against load ({scenario}), in µs"), &told, note))
}

/// Round trips while the load steps up and down again.
pub(super) fn steps(result: &ResultFile, series: &Series) -> Option<Picture> {
    let present = |step: &&&str| {
        let metric = format!("rtt_us_p99@{step}");
        result.summary.iter().any(|it| it.metrics.contains_key(&metric))
    };
    let steps: Vec<_> = STEPS.iter().filter(present).collect();
    let column = |position: usize| {
        let width = (RIGHT - LEFT) / steps.len() as f64;
        LEFT + width * (position as f64 + 0.5)
    };
    let mut lines = Vec::new();
    for (base, name) in [("rtt_us_p50", "p50"), ("rtt_us_p99", "p99")] {
        for summary in &result.summary {
            let spread = |(position, step): (usize, &&&str)| {
                Some((column(position), *summary.metrics.get(&format!("{base}@{step}"))?))
            };
            let points: Vec<_> = steps.iter().enumerate().filter_map(spread).collect();
            lines.push((summary.system.as_str(), name, points));
        }
    }
    let y = scale_of(lines.iter().flat_map(|line| &line.2).map(|(_, spread)| spread))?;
    let mut canvas = Canvas::new(BOTTOM);
    canvas.upright_axis(&y, "round trip, µs");
    for (position, step) in steps.iter().enumerate() {
        let label = match step.strip_suffix('b') {
            Some(percent) => format!("back to {percent} %"),
            None => format!("{step} %"),
        };
        canvas.rule((column(position), TOP), (column(position), BOTTOM));
        canvas.text(column(position), BOTTOM + 18.0, Anchor::Middle, "tick", &label);
    }
    canvas.text(RIGHT, BOTTOM + 36.0, Anchor::End, "axis", "load, share of the measured capacity");
    let told = draw(&mut canvas, &y, series, &lines);
    let note = note(&lines);
    Some(Picture::new(canvas, "Response to steps of load, in µs", &told, note))
}

/// A system, a percentile, and its values by place or load.
type Line<'a> = (&'a str, &'a str, Vec<(f64, Spread)>);

/// Draws p50 and p99 of each system and a legend; what was drawn, in words.
fn draw(canvas: &mut Canvas, y: &Scale, series: &Series, lines: &[Line<'_>]) -> String {
    let (mut entries, mut told) = (Vec::new(), Vec::new());
    let crowded = lines.len() > LINES_MAX;
    for (system, name, points) in lines {
        let (class, dash) = (series.class(system), series.dash(system));
        let places: Vec<_> = points.iter().map(|(x, spread)| (*x, y.place(spread.median))).collect();
        if *name == "p50" {
            if !crowded {
                canvas.curve(&places, &format!("{class} thin"), dash);
            }
            continue;
        }
        for (x, spread) in points.iter().filter(|(_, spread)| spread.min < spread.max && !crowded) {
            canvas.whisker((*x, y.place(spread.min)), (*x, y.place(spread.max)));
        }
        canvas.curve(&places, &class, dash);
        places.iter().for_each(|place| canvas.dot(*place, &format!("bar {class}")));
        let medians: Vec<_> = points.iter().map(|(_, spread)| number(spread.median)).collect();
        told.push(format!("{system} p99: {} µs", medians.join(", ")));
        entries.push(((*system).to_owned(), class, dash));
    }
    let rows = canvas.legend(BOTTOM + 64.0, &entries);
    canvas.grow(50.0 + rows);
    told.join("; ")
}

const fn note(lines: &[Line<'_>]) -> &'static str {
    if lines.len() > LINES_MAX {
        "p99, median of the rounds; their spread is in the tables below."
    } else {
        "Dots: p99, median of the rounds, with its least and greatest round. Thin lines: p50."
    }
}

/// Loads and round trips of one system in one file.
fn points(result: &ResultFile, system: &str, metric: &str) -> Vec<(f64, Spread)> {
    let at = |suffix: &str, load: Option<f64>| {
        let spread = *result.spread(system, &format!("{metric}{suffix}"))?;
        let measured = result.spread(system, &format!("msgs_per_s{suffix}")).map(|it| it.median);
        load.or(measured).map(|load| (load, spread)).filter(|(load, _)| *load > 0.0)
    };
    let asked = result.params["rate"].as_f64().filter(|rate| *rate > 0.0);
    let whole = at("", asked);
    // The last step repeats the first.
    let steps =
        STEPS.iter().filter(|step| !step.ends_with('b')).filter_map(|step| at(&format!("@{step}"), None));
    whole.into_iter().chain(steps).collect()
}

fn scale_of<'a>(spreads: impl Iterator<Item = &'a Spread> + Clone) -> Option<Scale> {
    let above_zero = |value: &f64| *value > 0.0;
    let low = spreads.clone().map(|spread| spread.min).filter(above_zero).reduce(f64::min)?;
    let high = spreads.map(|spread| spread.max).filter(above_zero).reduce(f64::max)?;
    Some(Scale::logarithmic(low, high, BOTTOM, TOP))
}

/// The greatest share that so many values can tell from all of them.
fn last_share(count: u64) -> f64 {
    100.0 - 100.0 / (count.max(2) as f64)
}

/// With more p50 and p99 together nobody could tell lines apart.
const LINES_MAX: usize = 8;
const BOTTOM: f64 = 274.0;
/// Steps of load in the order in which they are made.
const STEPS: [&str; 4] = ["10", "70", "95", "10b"];
const SHARES: [(f64, &str); 8] = [
    (0.0, ""),
    (50.0, "50 %"),
    (90.0, "90 %"),
    (99.0, "99 %"),
    (99.9, "99.9 %"),
    (99.99, "99.99"),
    (99.999, "99.999"),
    (99.9999, "99.9999"),
];
