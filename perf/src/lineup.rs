//! The systems of a comparison.

use anyhow::{Result, bail, ensure};

use crate::job::Load;
use crate::scenario::Scenario;
use crate::systems::{self, System};

/// Who takes part, in the order of the command line; never empty, names differ.
pub(crate) struct Lineup(Vec<Entry>);

/// One system under the name it has in the result.
pub(crate) struct Entry {
    /// The system's name; `engine#2` where a system takes part a second time.
    pub(crate) name: String,
    pub(crate) system: &'static dyn System,
}

impl Lineup {
    /// Reads `A,B,...`.
    ///
    /// # Errors
    ///
    /// Unknown names, none, or too many.
    pub(crate) fn parse(list: &str) -> Result<Self> {
        let mut entries: Vec<Entry> = Vec::new();
        for name in list.split(',').map(str::trim) {
            ensure!(
                !name.is_empty(),
                "--systems `{list}`: write names separated by commas, such as engine,fallback"
            );
            let system = systems::find(name)?;
            let again = entries.iter().filter(|entry| entry.system.name() == name).count();
            let name = if again == 0 { name.to_owned() } else { format!("{name}#{}", again + 1) };
            entries.push(Entry { name, system });
        }
        ensure!(entries.len() <= ENTRIES_MAX, "--systems takes up to {ENTRIES_MAX} systems");
        Ok(Self(entries))
    }

    /// Without those that cannot take part here, and one line for each that says why.
    ///
    /// # Errors
    ///
    /// When nobody is left.
    pub(crate) fn admitted(self, scenario: &dyn Scenario, load: &Load) -> Result<(Self, Vec<String>)> {
        let (mut admitted, mut left_out) = (Vec::new(), Vec::new());
        for entry in self.0 {
            let (name, what) = (&entry.name, scenario.name());
            if let Err(reason) = scenario.admits(entry.system, load) {
                left_out.push(format!("`{name}` takes no part in {what}: {reason}"));
            } else if let Err(reason) = entry.system.diagnose() {
                left_out.push(format!("`{name}` cannot run here: {reason}"));
            } else {
                admitted.push(entry);
            }
        }
        if admitted.is_empty() {
            bail!("nobody is left to compare: {}", left_out.join("; "));
        }
        Ok((Self(admitted), left_out))
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.0
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.0.iter().map(|entry| entry.name.as_str()).collect()
    }

    /// The order of one round: there and back, so that nobody always comes after the same other one.
    pub(crate) fn order(&self, round: usize) -> Vec<&Entry> {
        let mut order: Vec<_> = self.0.iter().collect();
        if round % 2 == 1 {
            order.reverse();
        }
        order
    }
}

/// More make no readable comparison.
const ENTRIES_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_that_takes_part_twice_has_two_names() {
        let lineup = Lineup::parse("engine, fallback,engine,engine").unwrap();
        assert_eq!(lineup.names(), ["engine", "fallback", "engine#2", "engine#3"]);
    }

    #[test]
    fn odd_rounds_go_back() {
        let lineup = Lineup::parse("engine,fallback,engine-unix").unwrap();
        let order = |round| lineup.order(round).iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>();
        assert_eq!(order(0), ["engine", "fallback", "engine-unix"]);
        assert_eq!(order(1), ["engine-unix", "fallback", "engine"]);
        assert_eq!(order(2), order(0));
    }

    #[test]
    fn mistakes_are_refused() {
        for bad in ["", "engine,", "engine,,fallback", "engine#2", "engin"] {
            assert!(Lineup::parse(bad).is_err(), "{bad}");
        }
        assert!(Lineup::parse(&["engine"; 33].join(",")).is_err());
    }
}
