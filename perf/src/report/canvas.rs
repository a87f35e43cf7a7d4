//! One picture in the making.

use std::fmt::Write as _;

use super::scale::Scale;
use crate::figure::short;

/// An SVG of a fixed width that grows downwards. Everything that comes from outside is escaped.
#[derive(Debug)]
pub(super) struct Canvas {
    height: f64,
    /// Lies under everything else.
    grid: String,
    body: String,
}

/// Where text is anchored.
#[derive(Clone, Copy, Debug)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Canvas {
    pub(super) const fn new(height: f64) -> Self {
        Self { height, grid: String::new(), body: String::new() }
    }

    pub(super) fn text(&mut self, x: f64, y: f64, anchor: Anchor, class: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escaped(text);
        let _ = write!(
            self.body,
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" class="{class}">{text}</text>"#
        );
    }

    /// A line of the grid.
    pub(super) fn rule(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        let _ =
            write!(self.grid, r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" class="grid"/>"#);
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        let ((x1, y1), (x2, y2)) = (from, to);
        let _ = write!(
            self.body,
            r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" class="{class}"/>"#
        );
    }

    pub(super) fn bar(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), class: &str) {
        let width = width.max(1.0);
        let _ = write!(
            self.body,
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" rx="2" class="{class}"/>"#
        );
    }

    pub(super) fn curve(&mut self, points: &[(f64, f64)], class: &str, dash: &str) {
        let mut places = String::new();
        for (x, y) in points {
            let _ = write!(places, "{x:.1},{y:.1} ");
        }
        let places = places.trim_end();
        let _ = write!(
            self.body,
            r#"<polyline points="{places}" class="curve {class}" stroke-dasharray="{dash}"/>"#
        );
    }

    pub(super) fn dot(&mut self, (x, y): (f64, f64), class: &str) {
        let _ = write!(self.body, r#"<circle cx="{x:.1}" cy="{y:.1}" r="4" class="{class}"/>"#);
    }

    /// A range between two values: a thin line with ends.
    pub(super) fn whisker(&mut self, from: (f64, f64), to: (f64, f64)) {
        self.line(from, to, "whisker");
        let upright = (from.0 - to.0).abs() < (from.1 - to.1).abs();
        for (x, y) in [from, to] {
            let (dx, dy) = if upright { (4.0, 0.0) } else { (0.0, 4.0) };
            self.line((x - dx, y - dy), (x + dx, y + dy), "whisker");
        }
    }

    /// Horizontal lines with labels at the round values of an upright scale.
    pub(super) fn upright_axis(&mut self, scale: &Scale, name: &str) {
        for tick in scale.ticks() {
            let y = scale.place(tick);
            self.rule((LEFT, y), (RIGHT, y));
            self.text(LEFT - 6.0, y + 4.5, Anchor::End, "tick", &round(tick));
        }
        self.text(2.0, TOP - 12.0, Anchor::Start, "axis", name);
    }

    /// One entry per system in rows; the height that they take.
    pub(super) fn legend(&mut self, y: f64, entries: &[(String, String, &str)]) -> f64 {
        let (mut x, mut row) = (LEFT, y);
        for (name, class, dash) in entries {
            let width = 34.0 + 8.4 * name.chars().count() as f64 + 14.0;
            if x + width > WIDTH && x > LEFT {
                (x, row) = (LEFT, row + LEGEND_ROW);
            }
            self.curve(&[(x, row - 5.0), (x + 28.0, row - 5.0)], class, dash);
            self.text(x + 34.0, row, Anchor::Start, "label", name);
            x += width;
        }
        row - y + LEGEND_ROW
    }

    pub(super) fn grow(&mut self, height: f64) {
        self.height += height;
    }

    /// The height and what is drawn.
    pub(super) fn into_parts(self) -> (f64, String) {
        (self.height, self.grid + &self.body)
    }
}

/// A round value without zeros behind its point.
pub(super) fn round(value: f64) -> String {
    let text = short(value);
    let (number, unit) = text.split_once(' ').map_or((text.as_str(), ""), |(number, unit)| (number, unit));
    let number =
        if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number };
    if unit.is_empty() { number.to_owned() } else { format!("{number} {unit}") }
}

/// Text that is safe in HTML and XML.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // XML has no other control characters.
            c if c.is_control() && !"\n\t".contains(c) => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

/// Small enough that 15 px text stays readable when a phone shrinks the picture to its width.
pub(super) const WIDTH: f64 = 520.0;
/// The area of the axes.
pub(super) const LEFT: f64 = 62.0;
pub(super) const RIGHT: f64 = 508.0;
pub(super) const TOP: f64 = 34.0;
pub(super) const LEGEND_ROW: f64 = 24.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_becomes_markup() {
        let mut canvas = Canvas::new(10.0);
        canvas.text(0.0, 0.0, Anchor::Start, "label", "<script>&\"'\u{7}");
        let (_, text) = canvas.into_parts();
        assert!(
            text.contains("&lt;script&gt;&amp;&quot;&#39;\u{fffd}") && !text.contains("<script"),
            "{text}"
        );
    }

    #[test]
    fn round_values_have_no_zeros_behind_their_point() {
        assert_eq!(
            [0.0, 0.5, 10.0, 3000.0, 250_000.0, 1.5e6].map(round),
            ["0", "0.5", "10", "3,000", "250 k", "1.5 M"]
        );
    }

    #[test]
    fn a_long_legend_takes_more_rows() {
        let entry = |name: &str| (name.to_owned(), String::from("s0"), "none");
        let mut canvas = Canvas::new(10.0);
        assert_eq!(canvas.legend(0.0, &[entry("engine"), entry("fallback")]), LEGEND_ROW);
        let many: Vec<_> = (0..9).map(|_| entry("tokio-framed-naive")).collect();
        assert!(canvas.legend(0.0, &many) > 4.0 * LEGEND_ROW);
    }
}
