//! All pictures of some results.

use std::fmt::Write as _;

use super::canvas::{Canvas, WIDTH, escaped};
use super::series::Series;
use super::{bars, curves, style};
use crate::result::ResultFile;

/// A finished picture and its words.
#[derive(Clone, Debug)]
pub(super) struct Picture {
    pub(super) title: String,
    /// How to read it.
    pub(super) note: &'static str,
    /// What it shows, for those who do not see it.
    told: String,
    body: String,
    height: f64,
}

impl Picture {
    pub(super) fn new(canvas: Canvas, title: &str, told: &str, note: &'static str) -> Self {
        let (height, body) = canvas.into_parts();
        Self { title: title.to_owned(), note, told: told.to_owned(), body, height }
    }

    /// The picture, with ids that no other number has; `place` are attributes that put it somewhere.
    pub(super) fn svg(&self, number: usize, place: &str) -> String {
        let (title, told) = (escaped(&self.title), escaped(&self.told));
        let (height, body) = (self.height, &self.body);
        format!(
            "<svg {place} viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-labelledby=\"t{number} d{number}\" \
             xmlns=\"http://www.w3.org/2000/svg\"><title id=\"t{number}\">{title}</title>\
             <desc id=\"d{number}\">{told}</desc>{body}</svg>"
        )
    }
}

/// The pictures of one result.
pub(super) fn of_result(result: &ResultFile, series: &Series) -> Vec<Picture> {
    let drawn = [
        curves::percentiles(result, series),
        bars::throughput(result, series),
        bars::cpu(result, series),
        curves::steps(result, series),
    ];
    drawn.into_iter().flatten().collect()
}

/// Latency against load, of each scenario that has a given load, over all its results.
pub(super) fn of_all(results: &[ResultFile], series: &Series) -> Vec<Picture> {
    let drawn = ["rate", "steps"].into_iter().filter_map(|scenario| {
        let loaded: Vec<_> = results.iter().filter(|it| it.scenario == scenario).collect();
        curves::load(scenario, &loaded, series)
    });
    drawn.collect()
}

/// All pictures below each other in one file of their own; `None` without any.
pub(super) fn stacked(results: &[ResultFile]) -> Option<String> {
    let series = Series::of(results);
    let mut pictures: Vec<(String, Picture)> = Vec::new();
    for result in results {
        let titled = |it: Picture| (format!("{}: {}", result.scenario, it.title), it);
        pictures.extend(of_result(result, &series).into_iter().map(titled));
    }
    pictures.extend(of_all(results, &series).into_iter().map(|it| (it.title.clone(), it)));
    let (mut body, mut y) = (String::new(), MARGIN);
    for (number, (title, picture)) in pictures.iter().enumerate() {
        let title = escaped(title);
        let _ = write!(body, "<text x=\"{MARGIN}\" y=\"{:.0}\" class=\"title\">{title}</text>", y + 16.0);
        y += TITLE;
        let (x, height) = (MARGIN, picture.height);
        let place = format!("x=\"{x}\" y=\"{y:.0}\" width=\"{WIDTH}\" height=\"{height:.0}\"");
        body.push_str(&picture.svg(number, &place));
        y += picture.height + MARGIN;
    }
    let (width, style) = (WIDTH + 2.0 * MARGIN, style::picture());
    (!pictures.is_empty()).then(|| {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {y:.0}\" width=\"{width}\" \
             height=\"{y:.0}\"><style>{style}</style><rect width=\"100%\" height=\"100%\" class=\"ground\"/>{body}</svg>\n"
        )
    })
}

const MARGIN: f64 = 20.0;
const TITLE: f64 = 32.0;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::report::sample::{of, result};

    fn drawn(results: &[ResultFile]) -> Vec<(String, String)> {
        let series = Series::of(results);
        let own = results.iter().flat_map(|result| of_result(result, &series));
        own.chain(of_all(results, &series)).map(|it| (it.title.clone(), it.svg(1, ""))).collect()
    }

    #[test]
    fn each_result_has_the_pictures_that_its_metrics_allow() {
        let titles =
            |results: &[ResultFile]| drawn(results).into_iter().map(|(title, _)| title).collect::<Vec<_>>();
        assert_eq!(titles(&[result()]), ["Round trips by percentile, in µs", "Throughput in messages/s"]);
        let metrics = [("server_cpu_ns_per_msg", 1.0), ("client_cpu_ns_per_msg", 2.0)];
        let cpu = of("pingpong", json!({}), &[("engine", 300.0)], &metrics);
        assert!(titles(&[cpu]).contains(&String::from("CPU time per message in ns")));
        assert!(stacked(&[result()]).unwrap().matches("<svg ").count() == 3);
    }

    #[test]
    fn several_files_make_one_curve_of_latency_against_load() {
        let at = |rate: f64, p99: f64| {
            let metrics = [("rtt_us_p50", 0.5 * p99), ("rtt_us_p99", p99), ("msgs_per_s", rate)];
            of("rate", json!({ "rate": rate }), &[("engine", 1.0)], &metrics)
        };
        let files = [at(3e5, 900.0), at(1e5, 100.0), at(2e5, 200.0)];
        let all = drawn(&files);
        let (_, svg) =
            all.iter().find(|(title, _)| title.starts_with("Latency against load (rate)")).unwrap();
        assert!(svg.contains("engine p99: 100, 200, 900 µs"), "in the order of load: {svg}");
        let single = drawn(&files[..1]);
        assert!(!single.iter().any(|(title, _)| title.starts_with("Latency")), "one point is no curve");
    }

    #[test]
    fn steps_are_shown_in_the_order_in_which_they_were_made() {
        let metrics: Vec<_> = [("10", 1.0), ("70", 2.0), ("95", 9.0), ("10b", 1.5)]
            .iter()
            .flat_map(|(step, factor)| {
                [("rtt_us_p50", 0.5), ("rtt_us_p99", 1.0)]
                    .map(|(name, part)| (format!("{name}@{step}"), part * factor))
            })
            .collect();
        let metrics: Vec<_> = metrics.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let steps = of("steps", json!({}), &[("engine", 100.0), ("fallback", 200.0)], &metrics);
        let all = drawn(&[steps]);
        let (_, svg) = all.iter().find(|(title, _)| title.starts_with("Response to steps")).unwrap();
        assert!(
            svg.contains("engine p99: 100, 200, 900, 150 µs; fallback p99: 200, 400, 1,800, 300 µs"),
            "{svg}"
        );
        assert!(svg.contains(">95 %<") && svg.contains(">back to 10 %<"), "{svg}");
    }

    #[test]
    fn names_from_a_file_are_never_markup() {
        let evil = "<script>alert(1)</script>";
        let result = of(
            evil,
            json!({ "left_out": [evil] }),
            &[(evil, 1.0), ("b", 2.0)],
            &[("msgs_per_s", 1.0), (evil, 1.0)],
        );
        let page = crate::report::page::page(std::slice::from_ref(&result));
        assert!(!page.contains("<script") && page.contains("&lt;script&gt;"), "{page}");
        assert!(!stacked(std::slice::from_ref(&result)).unwrap().contains("<script"));
        assert!(!crate::report::markdown::table(&[result]).contains("<script"));
    }
}
