//! What several rounds of several systems measured.

use std::collections::BTreeSet;

use crate::measure::Round;
use crate::record::Recorder;
use crate::spread::Spread;

/// The rounds of one command, in the order in which they were measured.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    rounds: Vec<(usize, Round)>,
    interrupted: bool,
}

impl Rounds {
    /// Adds what a system measured in a round.
    pub(crate) fn push(&mut self, number: usize, round: Round) {
        self.rounds.push((number, round));
    }

    /// Adds what was measured, if anything was.
    pub(crate) fn extend(&mut self, number: usize, round: Option<Round>) {
        self.rounds.extend(round.map(|round| (number, round)));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &Round)> {
        self.rounds.iter().map(|(number, round)| (*number, round))
    }

    /// Fewer rounds were measured than asked for.
    pub(crate) fn interrupt(&mut self) {
        self.interrupted = true;
    }

    /// Whether an interrupt cut a round short, or left some out.
    pub(crate) fn is_partial(&self) -> bool {
        self.interrupted || self.rounds.iter().any(|(_, round)| round.partial)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rounds.is_empty()
    }

    /// Every metric that a system has, in alphabetical order.
    pub(crate) fn metrics(&self, system: &str) -> Vec<&str> {
        let names = self.counted(system).flat_map(|(_, round)| round.metrics.keys());
        names.map(String::as_str).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// One metric of one system in each of its rounds.
    pub(crate) fn values(&self, system: &str, metric: &str) -> Vec<f64> {
        self.counted(system).filter_map(|(_, round)| round.metrics.get(metric).copied()).collect()
    }

    pub(crate) fn spread(&self, system: &str, metric: &str) -> Option<Spread> {
        Spread::of(&self.values(system, metric))
    }

    /// One metric of two systems, divided within each round that has both. Nothing is divided by zero.
    pub(crate) fn ratios(&self, system: &str, against: &str, metric: &str) -> Vec<f64> {
        let mut ratios = Vec::new();
        for (number, mine) in self.counted(system) {
            let theirs = self.counted(against).find(|(other, _)| *other == number);
            let theirs = theirs.and_then(|(_, round)| round.metrics.get(metric));
            if let (Some(mine), Some(theirs)) = (mine.metrics.get(metric), theirs.filter(|it| **it != 0.0)) {
                ratios.push(mine / theirs);
            }
        }
        ratios
    }

    /// All round trips of a system.
    pub(crate) fn round_trips(&self, system: &str) -> Recorder {
        let mut all = Recorder::new();
        self.counted(system).for_each(|(_, round)| all.add(&round.round_trips));
        all
    }

    /// The sum of a metric over everything, what was cut short included.
    pub(crate) fn total(&self, metric: &str) -> f64 {
        self.iter().filter_map(|(_, round)| round.metrics.get(metric)).sum()
    }

    /// A system's rounds that count: one that was cut short counts only where there is no other.
    fn counted<'a>(&'a self, system: &str) -> impl Iterator<Item = (usize, &'a Round)> {
        let has_whole = self.iter().any(|(_, round)| round.system == system && !round.partial);
        self.iter().filter(move |(_, round)| round.system == system && !(has_whole && round.partial))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use super::*;

    /// Number, system, whether it was cut short, metrics.
    type Entry<'a> = (usize, &'a str, bool, &'a [(&'a str, f64)]);

    /// Rounds made up for a test.
    pub(crate) fn rounds(entries: &[Entry<'_>]) -> Rounds {
        let mut rounds = Rounds::default();
        for (number, system, partial, metrics) in entries {
            let mut round_trips = Recorder::new();
            round_trips.record(Duration::from_micros(20));
            let round = Round {
                system: (*system).to_owned(),
                backend: None,
                metrics: metrics.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
                round_trips,
                checked: 1,
                syscalls_from: None,
                partial: *partial,
            };
            rounds.push(*number, round);
        }
        rounds
    }

    #[test]
    fn each_system_is_summed_up_over_its_rounds() {
        let rounds = rounds(&[
            (0, "a", false, &[("x", 1.0), ("once", 7.0)]),
            (0, "b", false, &[("x", 10.0)]),
            (1, "b", false, &[("x", 30.0)]),
            (1, "a", false, &[("x", 3.0)]),
        ]);
        assert_eq!(rounds.spread("a", "x"), Some(Spread { min: 1.0, median: 2.0, max: 3.0 }));
        assert_eq!(rounds.values("a", "once"), [7.0]);
        assert_eq!(rounds.values("b", "x"), [10.0, 30.0]);
        assert_eq!(rounds.metrics("a"), ["once", "x"]);
        assert_eq!(rounds.total("x"), 44.0);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let rounds = rounds(&[
            (0, "a", false, &[("x", 1.0), ("zero", 1.0)]),
            (0, "b", false, &[("x", 2.0), ("zero", 0.0)]),
            (1, "b", false, &[("x", 2.0), ("theirs", 1.0)]),
            (1, "a", false, &[("x", 8.0)]),
            (2, "a", false, &[("x", 9.0)]),
        ]);
        assert_eq!(rounds.ratios("a", "b", "x"), [0.5, 4.0]);
        assert!(rounds.ratios("a", "b", "zero").is_empty());
        assert!(rounds.ratios("a", "b", "theirs").is_empty());
    }

    #[test]
    fn a_round_that_was_cut_short_counts_only_where_there_is_no_other() {
        let rounds = rounds(&[
            (0, "a", false, &[("x", 1.0)]),
            (0, "b", true, &[("x", 5.0)]),
            (1, "a", true, &[("x", 9.0)]),
        ]);
        assert_eq!((rounds.values("a", "x"), rounds.values("b", "x")), (vec![1.0], vec![5.0]));
        assert!(rounds.iter().count() == 3 && rounds.round_trips("a").len() == 1);
        assert!(rounds.is_partial());
    }
}
