//! The deviations that docs/vectors.md lists: the one list of what we do otherwise than the recordings.

use std::collections::BTreeMap;

/// The deviations from a recording: cases and reasons.
pub(crate) fn deviations(file: &str) -> BTreeMap<&'static str, &'static str> {
    let table = include_str!("../../docs/vectors.md");
    let heading = format!("## {file}\n");
    let section = table.split_once(&heading).map_or("", |(_, after)| after);
    let section = section.split_once("\n## ").map_or(section, |(section, _)| section);
    let verdicts = section.lines().filter_map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, case, _, verdict, _, _] = cells[..] else { return None };
        Some((case, verdict.strip_prefix("deviates: ")?))
    });
    verdicts.collect()
}
