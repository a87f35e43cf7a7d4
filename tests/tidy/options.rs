//! The walk through docs/options.md.

use std::collections::{BTreeMap, BTreeSet};

use crate::Complaint;
use crate::lexer::{code_only, words};
use crate::tree::Tree;

/// Every option of the checked-in list has one row, every row says something, and every Rust name exists.
pub(crate) fn check(tree: &Tree) -> Vec<Complaint> {
    let (Some(table), Some(list)) = (tree.file(TABLE), tree.file(LIST)) else {
        return vec![format!("{TABLE} or {LIST} is missing")];
    };
    let rows = rows(&table.text);
    let mut complaints = coverage(&rows, &list.text);
    let sources = tree.files.iter().filter(|file| file.is_rust() && !file.path.starts_with("tests/"));
    let code: Vec<String> = sources.map(|file| code_only(&file.text)).collect();
    let known = known(&code);
    complaints.extend(names(&rows, &known));
    complaints
}

/// The words of each file. A builder has those of the methods that builders share, too.
fn known(code: &[String]) -> Vec<BTreeSet<&str>> {
    let mut known: Vec<BTreeSet<&str>> =
        code.iter().map(|code| words(code).map(|(_, word)| word).collect()).collect();
    let shared = code.iter().position(|code| code.contains("macro_rules! shared_options"));
    let shared = shared.map_or_else(BTreeSet::new, |at| known[at].clone());
    known.iter_mut().filter(|words| words.contains("shared_options")).for_each(|words| words.extend(&shared));
    known
}

/// A row of a table: options by section and name, Rust names, and what is said about them.
#[derive(Debug)]
struct Row {
    options: Vec<String>,
    rust: Vec<String>,
    has_none: bool,
    remark: String,
}

fn rows(markdown: &str) -> Vec<Row> {
    let (mut rows, mut section) = (Vec::new(), "");
    for line in markdown.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = heading;
        }
        let Some(cells) = line.strip_prefix("| `").map(|_| line.split('|').collect::<Vec<_>>()) else {
            continue;
        };
        let cell = |at: usize| cells.get(at).map_or("", |cell| cell.trim());
        rows.push(Row {
            options: quoted(cell(1)).map(|name| format!("{section}: {name}")).collect(),
            rust: quoted(cell(2)).map(str::to_owned).collect(),
            has_none: cell(2) == "–",
            remark: cell(3).to_owned(),
        });
    }
    rows
}

/// What stands in code style.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

fn coverage(rows: &[Row], list: &str) -> Vec<Complaint> {
    let mut counts: BTreeMap<&str, usize> = list.lines().map(|name| (name, 0)).collect();
    let mut complaints = Vec::new();
    for row in rows {
        for option in &row.options {
            match counts.get_mut(option.as_str()) {
                Some(count) => *count += 1,
                None => complaints.push(format!("{TABLE}: {option} is not in {LIST}")),
            }
        }
        let first = row.options.first().map_or("a row", String::as_str);
        if row.has_none && row.remark.is_empty() {
            complaints.push(format!("{TABLE}: {first} has neither a Rust name nor a reason"));
        }
        if row.has_none != row.rust.is_empty() {
            complaints.push(format!("{TABLE}: {first} needs Rust names or a dash"));
        }
    }
    let wrong = counts.into_iter().filter(|(_, count)| *count != 1);
    complaints.extend(wrong.map(|(name, count)| format!("{TABLE}: {name} has {count} rows instead of one")));
    complaints
}

/// Every Rust name exists: some file has all of its parts as identifiers.
fn names(rows: &[Row], known: &[BTreeSet<&str>]) -> Vec<Complaint> {
    let exists = |name: &str| known.iter().any(|file| name.split("::").all(|part| file.contains(part)));
    let promised: BTreeSet<&str> = rows.iter().flat_map(|row| &row.rust).map(String::as_str).collect();
    let missing = promised.iter().filter(|name| !exists(name));
    missing.map(|name| format!("{TABLE}: the source has no `{name}`")).collect()
}

const TABLE: &str = "docs/options.md";
const LIST: &str = "tests/fixtures/option-names.txt";

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str = "client: a\nclient: b\nclient: c\n";

    fn table(rows: &str) -> Vec<Row> {
        super::rows(&format!("## client\n\n| option | Rust | x |\n|---|---|---|\n{rows}"))
    }

    #[test]
    fn a_complete_table_has_no_complaints() {
        let rows = table("| `a`, `b` | `One::two` | 3 s |\n| `c` | – | a reason |\n");
        assert!(coverage(&rows, LISTED).is_empty());
        assert!(names(&rows, &[["One", "two"].into()]).is_empty());
    }

    #[test]
    fn a_missing_a_doubled_and_an_unknown_option_are_found() {
        assert_eq!(coverage(&table("| `a`, `b` | `X` | |\n"), LISTED).len(), 1);
        assert_eq!(coverage(&table("| `a`, `b`, `c` | `X` | |\n| `a` | `X` | |\n"), LISTED).len(), 1);
        assert_eq!(coverage(&table("| `a`, `b`, `c`, `d` | `X` | |\n"), LISTED).len(), 1);
    }

    #[test]
    fn a_row_that_says_nothing_is_found() {
        assert_eq!(coverage(&table("| `a`, `b`, `c` | – | |\n"), LISTED).len(), 1);
        assert_eq!(coverage(&table("| `a`, `b`, `c` | | a reason |\n"), LISTED).len(), 1);
    }

    #[test]
    fn a_name_that_does_not_exist_is_found_unless_it_is_awaited() {
        let rows = table("| `a` | `One::two`, `Three` | |\n");
        let known = [["One", "Three"].into(), ["two"].into()];
        assert_eq!(names(&rows, &known), ["docs/options.md: the source has no `One::two`"]);
    }
}
