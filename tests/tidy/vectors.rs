//! The walk through docs/vectors.md.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::Complaint;
use crate::tree::Tree;

/// Every case of every recording has one row, every row a case, every deviation a reason, and every test exists;
/// a test that may deviate reads the table.
pub(crate) fn check(tree: &Tree) -> Vec<Complaint> {
    let Some(table) = tree.file(TABLE) else { return vec![format!("{TABLE} is missing")] };
    let rows = rows(&table.text);
    let mut complaints = Vec::new();
    for name in RECORDINGS {
        match recording(tree, name) {
            Ok(cases) => complaints.extend(coverage(name, &cases, &rows)),
            Err(complaint) => complaints.push(complaint),
        }
        let section = section(&table.text, name);
        let own: Vec<&Row<'_>> = rows.iter().filter(|row| row.file == *name).collect();
        complaints.extend(tests(tree, name, section, &own));
    }
    let unknown = rows.iter().filter(|row| !RECORDINGS.contains(&row.file));
    complaints.extend(unknown.map(|row| format!("{TABLE}: no recording is called {}", row.file)));
    complaints
}

/// A row of a table of docs/vectors.md.
#[derive(Debug)]
struct Row<'a> {
    /// The recording, a file's name without its ending.
    file: &'a str,
    /// The list and the place in it: `cases/3`.
    case: &'a str,
    /// What the recording calls it, or a few words.
    what: &'a str,
    /// `followed`, or `deviates: ` and the reason.
    verdict: &'a str,
    /// The tests, in code style.
    tests: &'a str,
}

/// All rows, in order.
fn rows(markdown: &str) -> Vec<Row<'_>> {
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

/// The cases of a recording, with their names if they have some. Copies of it are equal.
fn recording(tree: &Tree, name: &str) -> Result<BTreeMap<String, Option<String>>, Complaint> {
    let paths = ["tests/fixtures", "ml/tests/fixtures"].map(|folder| format!("{folder}/{name}.json"));
    let copies: Vec<&str> =
        paths.iter().filter_map(|path| tree.file(path)).map(|file| file.text.as_str()).collect();
    let Some((first, others)) = copies.split_first() else {
        return Err(format!("{TABLE}: the recording {name} is missing"));
    };
    if others.iter().any(|other| other != first) {
        return Err(format!("the copies of {name}.json differ"));
    }
    let whole: Value = serde_json::from_str(first).map_err(|error| format!("{name}.json: {error}"))?;
    Ok(cases(&whole))
}

/// Lists are lists of cases, objects are cases, texts explain.
fn cases(recording: &Value) -> BTreeMap<String, Option<String>> {
    let mut cases = BTreeMap::new();
    for (key, value) in recording.as_object().into_iter().flatten() {
        match value {
            Value::Array(list) => {
                for (place, case) in list.iter().enumerate() {
                    cases.insert(format!("{key}/{place}"), case["name"].as_str().map(str::to_owned));
                }
            }
            Value::Object(_) => {
                cases.insert(key.clone(), None);
            }
            _ => {}
        }
    }
    cases
}

fn coverage(name: &str, cases: &BTreeMap<String, Option<String>>, rows: &[Row<'_>]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let own = || rows.iter().filter(|row| row.file == name);
    for (case, called) in cases {
        let found: Vec<&Row<'_>> = own().filter(|row| row.case == case).collect();
        let [row] = found[..] else {
            complaints.push(format!("{TABLE}: {name}: {case} has {} rows instead of one", found.len()));
            continue;
        };
        if called.as_ref().is_some_and(|called| called != row.what) {
            complaints.push(format!("{TABLE}: {name}: {case} is called otherwise than `{}`", row.what));
        }
        let reason = row.verdict.strip_prefix("deviates:").map(str::trim);
        if row.verdict != "followed" && reason.is_none_or(str::is_empty) {
            complaints.push(format!("{TABLE}: {name}: {case} is neither followed nor deviates for a reason"));
        }
    }
    let strays = own().filter(|row| !cases.contains_key(row.case));
    complaints.extend(strays.map(|row| format!("{TABLE}: {name} has no {}", row.case)));
    complaints
}

/// The text of a section.
fn section<'a>(markdown: &'a str, name: &str) -> &'a str {
    let start = format!("## {name}\n");
    let after = markdown.split_once(&start).map_or("", |(_, after)| after);
    after.split("\n## ").next().unwrap_or_default()
}

fn tests(tree: &Tree, name: &str, section: &str, rows: &[&Row<'_>]) -> Vec<Complaint> {
    let files = section.lines().find(|line| line.starts_with("Tests in ")).unwrap_or_default();
    let files: Vec<&str> = quoted(files).filter_map(|path| tree.file(path)).map(|file| &*file.text).collect();
    let mut complaints = Vec::new();
    for row in rows {
        let unknown = |test: &&str| !files.iter().any(|text| text.contains(&format!("fn {test}(")));
        for test in quoted(row.tests).filter(unknown) {
            complaints.push(format!("{TABLE}: {name}: {} names no test: `{test}`", row.case));
        }
        if quoted(row.tests).next().is_none() {
            complaints.push(format!("{TABLE}: {name}: {} has no test", row.case));
        }
    }
    let reads = |text: &&str| text.contains(&format!("deviations(\"{name}\")"));
    if rows.iter().any(|row| row.verdict != "followed") && !files.iter().any(reads) {
        complaints.push(format!("{TABLE}: {name} has deviations, and no test reads them"));
    }
    complaints
}

/// What stands in code style.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

const TABLE: &str = "docs/vectors.md";
const RECORDINGS: &[&str] = &[
    "frames",
    "handshake-frames",
    "negentropic",
    "entropy-policy",
    "codecs",
    "priority-queue",
    "token-bucket",
    "negentropic-diagnostics",
    "negentropic-index-series",
    "ml-qworm-torch",
    "server-behaviour-ts",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::sample;

    #[test]
    fn cases_without_a_row_and_rows_without_a_case_are_found() {
        let listed = cases(&serde_json::json!({"how": "so", "cases": [{"name": "a"}, {}], "one": {}}));
        assert_eq!(listed.keys().collect::<Vec<_>>(), ["cases/0", "cases/1", "one"]);
        let complaints = |text: &str| coverage("x", &listed, &rows(&format!("## x\n{text}"))).len();
        let good = "| cases/0 | a | followed | `t` |\n| cases/1 | b | deviates: why | `t` |\n";
        assert_eq!(complaints(&format!("| case | what | verdict | test |\n|---|---|---|---|\n{good}")), 1);
        assert_eq!(complaints(&format!("{good}| one | c | followed | `t` |")), 0);
        assert_eq!(complaints(&format!("{good}| one | c | deviates: | `t` |")), 1);
        assert_eq!(
            complaints(&format!("{good}| one | c | followed | `t` |\n| two | c | followed | `t` |")),
            1
        );
        assert_eq!(complaints(&format!("{good}{good}| one | c | followed | `t` |")), 2);
        assert_eq!(complaints(&format!("{good}| one | c | followed | `t` |").replace("| a |", "| z |")), 1);
    }

    #[test]
    fn rows_whose_tests_are_gone_or_blind_are_found() {
        let text = "## x\nTests in `a.rs`.\n| cases/0 | a | VERDICT | `follows` |\n";
        let complaints = |verdict: &str, code: &str| {
            let (text, tree) = (text.replace("VERDICT", verdict), Tree { files: vec![sample("a.rs", code)] });
            let rows = rows(&text);
            tests(&tree, "x", section(&text, "x"), &rows.iter().collect::<Vec<_>>()).len()
        };
        assert_eq!(complaints("followed", "fn follows() {}"), 0);
        assert_eq!(complaints("followed", "fn other() {}"), 1);
        assert_eq!(complaints("deviates: why", "fn follows() {}"), 1);
        assert_eq!(complaints("deviates: why", "fn follows() { deviations(\"x\") }"), 0);
    }
}
