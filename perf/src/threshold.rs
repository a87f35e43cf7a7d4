//! Conditions under which a run counts as failed.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail};

use crate::metric;

/// One `--fail-if 'METRIC OP VALUE'`, or `'A/B METRIC OP VALUE'` about the ratio of two systems.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Threshold {
    pair: Option<(String, String)>,
    metric: String,
    comparison: Comparison,
    value: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Below,
    AtMost,
    Above,
    AtLeast,
    Equal,
    Unequal,
}

impl Threshold {
    /// The metric that decides.
    pub(crate) fn metric(&self) -> &str {
        &self.metric
    }

    /// The two systems whose ratio decides.
    pub(crate) fn pair(&self) -> Option<(&str, &str)> {
        self.pair.as_ref().map(|(system, against)| (system.as_str(), against.as_str()))
    }

    /// Where the decision changes.
    pub(crate) const fn value(&self) -> f64 {
        self.value
    }

    /// Whether a measured value makes the run fail.
    pub(crate) fn holds(&self, measured: f64) -> bool {
        match self.comparison {
            Comparison::Below => measured < self.value,
            Comparison::AtMost => measured <= self.value,
            Comparison::Above => measured > self.value,
            Comparison::AtLeast => measured >= self.value,
            Comparison::Equal => measured == self.value,
            Comparison::Unequal => measured != self.value,
        }
    }
}

impl FromStr for Threshold {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let form =
            || format!("`{text}`: write METRIC OP VALUE, such as 'rtt_us_p99 > 200', or A/B METRIC OP VALUE");
        let at = text.find(['<', '>', '=', '!']).with_context(form)?;
        let (metric, rest) = text.split_at(at);
        let (comparison, value) = OPERATORS
            .iter()
            .find_map(|(sign, comparison)| Some((*comparison, rest.strip_prefix(sign)?)))
            .with_context(form)?;
        let value: f64 =
            value.trim().parse().ok().filter(|value: &f64| value.is_finite()).with_context(form)?;
        let (pair, metric) = match metric.split_whitespace().collect::<Vec<_>>()[..] {
            [metric] => (None, metric.to_owned()),
            [pair, metric] => (Some(systems(pair).with_context(form)?), metric.to_owned()),
            _ => bail!(form()),
        };
        if !metric::is_known(&metric) {
            bail!("`{metric}` is no metric; there are: {}", metric::names().collect::<Vec<_>>().join(", "));
        }
        Ok(Self { pair, metric, comparison, value })
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((system, against)) = &self.pair {
            write!(f, "{system}/{against} ")?;
        }
        let sign = OPERATORS.iter().find(|(_, comparison)| *comparison == self.comparison);
        write!(f, "{} {} {}", self.metric, sign.map_or("", |(sign, _)| sign), self.value)
    }
}

/// Two names with a slash between.
fn systems(pair: &str) -> Option<(String, String)> {
    let (system, against) = pair.split_once('/')?;
    let both = !system.is_empty() && !against.is_empty() && !against.contains('/');
    both.then(|| (system.to_owned(), against.to_owned()))
}

/// Longer signs first, so that `<=` is not read as `<`.
const OPERATORS: [(&str, Comparison); 6] = [
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("==", Comparison::Equal),
    ("!=", Comparison::Unequal),
    ("<", Comparison::Below),
    (">", Comparison::Above),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(text: &str, measured: f64) -> bool {
        text.parse::<Threshold>().unwrap().holds(measured)
    }

    #[test]
    fn every_operator_compares_as_written() {
        assert!(holds("rtt_us_p99 > 200", 200.1) && !holds("rtt_us_p99 > 200", 200.0));
        assert!(holds("rtt_us_p99>=200", 200.0) && !holds("rtt_us_p99>=200", 199.0));
        assert!(holds("msgs_per_s < 1e6", 5.0) && !holds("msgs_per_s < 1e6", 1e6));
        assert!(holds("msgs_per_s <= 3", 3.0) && !holds("msgs_per_s <= 3", 3.5));
        assert!(holds("lost_messages != 0", 1.0) && !holds("lost_messages != 0", 0.0));
        assert!(holds("lost_messages == 0", 0.0) && !holds("lost_messages == 0", 2.0));
    }

    #[test]
    fn mistakes_name_what_would_be_accepted() {
        for bad in [
            "",
            "rtt_us_p99",
            "rtt_us_p99 >",
            "rtt_us_p99 > fast",
            "rtt_us_p99 = 3",
            "> 3",
            "msgs_per_s < NaN",
            "a/b/c msgs_per_s < 1",
            "a/ msgs_per_s < 1",
            "a b msgs_per_s < 1",
            "a msgs_per_s < 1",
            "a/b < 1",
        ] {
            assert!(bad.parse::<Threshold>().is_err(), "{bad}");
        }
        let unknown = "speed > 1".parse::<Threshold>().unwrap_err().to_string();
        assert!(unknown.contains("msgs_per_s"), "{unknown}");
    }

    #[test]
    fn it_is_shown_as_it_is_written() {
        assert_eq!("msgs_per_s<=3".parse::<Threshold>().unwrap().to_string(), "msgs_per_s <= 3");
        let ratio: Threshold = "engine/engine#2  msgs_per_s>=0.9".parse().unwrap();
        assert_eq!(ratio.to_string(), "engine/engine#2 msgs_per_s >= 0.9");
        assert_eq!(ratio.pair(), Some(("engine", "engine#2")));
    }
}
