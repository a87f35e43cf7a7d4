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
