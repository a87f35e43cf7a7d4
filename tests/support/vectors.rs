//! docs/vectors.md, as the tests read it: the one list of what we do otherwise than the recordings.

use std::collections::BTreeMap;

/// A row of a table of docs/vectors.md.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    /// The recording, a file's name without its ending.
    pub(crate) file: &'a str,
    /// The list and the place in it: `cases/3`.
    pub(crate) case: &'a str,
    /// What the recording calls it, or a few words.
    pub(crate) what: &'a str,
    /// `followed`, or `deviates: ` and the reason.
    pub(crate) verdict: &'a str,
    /// The tests, in code style.
    pub(crate) tests: &'a str,
}

/// All rows, in order.
pub(crate) fn rows(markdown: &str) -> Vec<Row<'_>> {
    let (mut rows, mut file) = (Vec::new(), "");
    for line in markdown.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            file = heading;
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, case, what, verdict, tests, _] = cells[..] else { continue };
        if case != "case" && !case.starts_with("---") {
            rows.push(Row { file, case, what, verdict, tests });
        }
    }
    rows
}

/// The deviations from a recording: cases and reasons.
pub(crate) fn deviations(file: &str) -> BTreeMap<&'static str, &'static str> {
    let rows = rows(include_str!("../../docs/vectors.md")).into_iter().filter(|row| row.file == file);
    rows.filter_map(|row| Some((row.case, row.verdict.strip_prefix("deviates: ")?))).collect()
}
