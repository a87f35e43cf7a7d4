//! Which colour, dash and mark a system has, the same in all pictures.

use crate::result::ResultFile;

/// The systems of all results, in the order of their first appearance.
#[derive(Clone, Debug)]
pub(super) struct Series(Vec<String>);

impl Series {
    pub(super) fn of(results: &[ResultFile]) -> Self {
        let mut names: Vec<String> = Vec::new();
        for summary in results.iter().flat_map(|result| &result.summary) {
            if !names.contains(&summary.system) {
                names.push(summary.system.clone());
            }
        }
        Self(names)
    }

    /// A system's position.
    pub(super) fn position(&self, system: &str) -> usize {
        self.0.iter().position(|name| name == system).unwrap_or(0)
    }

    /// The class that gives a system its colour.
    pub(super) fn class(&self, system: &str) -> String {
        format!("s{}", self.position(system) % COLOURS)
    }

    /// Lines differ in their dashes too, for those who see no difference in colour.
    pub(super) fn dash(&self, system: &str) -> &'static str {
        DASHES[self.position(system) % DASHES.len()]
    }
}

/// How many colours the style has.
pub(super) const COLOURS: usize = 9;
const DASHES: [&str; 7] = ["none", "7 3", "2 3", "9 3 2 3", "12 4", "4 2", "9 3 2 3 2 3"];
