//! Pages, pictures and tables of saved results.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

#[test]
fn a_page_of_real_results_needs_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let files: Vec<_> = ["echo", "stream"].iter().map(|scenario| measured(folder.path(), scenario)).collect();
    let (html, svg) = (folder.path().join("out.html"), folder.path().join("out.svg"));
    let flags = ["--html", text(&html), "--svg", text(&svg)];
    let output = report(&files.iter().map(|file| text(file)).chain(flags).collect::<Vec<_>>());
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    let page = fs::read_to_string(html).unwrap();
    for part in [
        "name=\"viewport\"",
        "prefers-color-scheme:dark",
        "Round trips by percentile",
        "Throughput in messages/s",
        "CPU time per message",
        "compare echo --systems fallback,fallback",
        "fallback#2",
        "Linux ",
    ] {
        assert!(page.contains(part), "{part}");
    }
    let namespace = "xmlns=\"http://www.w3.org/2000/svg\"";
    let rest = page.replace(namespace, "");
    for outside in ["http:", "https:", "<script", "<link rel=\"stylesheet\"", "@import", "url(", "<img"] {
        assert!(!rest.contains(outside), "{outside}");
    }
    // Ids are unique, and every picture has its words.
    let pictures = page.matches("<svg ").count();
    assert_eq!(pictures, 5, "percentiles, throughput and CPU of echo, throughput and CPU of stream");
    for number in 1..=pictures {
        assert_eq!(page.matches(&format!("id=\"t{number}\"")).count(), 1);
        assert_eq!(page.matches(&format!("aria-labelledby=\"t{number} d{number}\"")).count(), 1);
    }
    let pictures = fs::read_to_string(svg).unwrap();
    assert!(pictures.starts_with("<svg xmlns=") && pictures.trim_end().ends_with("</svg>"));
    assert_eq!(pictures.matches("<svg ").count(), 6);
}

#[test]
fn the_table_is_printed_or_put_into_a_document() {
    let folder = tempfile::tempdir().unwrap();
    let file = measured(folder.path(), "echo");
    let printed = report(&[text(&file)]);
    let table = String::from_utf8(printed.stdout).unwrap();
    assert!(table.contains("| load | figure | fallback |"), "{table}");
    let document = folder.path().join("README.md");
    fs::write(&document, "above\n<!-- figures: begin -->\nold\n<!-- figures: end -->\nbelow\n").unwrap();
    let output = report(&[text(&file), "--markdown", text(&document)]);
    assert!(output.status.success(), "{output:?}");
    let document = fs::read_to_string(document).unwrap();
    assert!(document.contains(table.trim()) && !document.contains("old"), "{document}");
    assert!(document.starts_with("above\n") && document.ends_with("\nbelow\n"), "{document}");
}

#[test]
fn what_cannot_be_read_or_written_is_said_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let good = measured(folder.path(), "stream");
    let bad = |name: &str, contents: &str| {
        let path = folder.path().join(name);
        fs::write(&path, contents).unwrap();
        path
    };
    let value: Value = serde_json::from_str(&fs::read_to_string(&good).unwrap()).unwrap();
    let spoilt = |place: &str, put: Value| {
        let mut value = value.clone();
        *value.pointer_mut(place).unwrap() = put;
        value.to_string()
    };
    refused(&[text(&folder.path().join("none.json"))], "none.json");
    refused(&[text(folder.path())], "cannot read");
    refused(&[text(&bad("a.json", "{"))], "no JSON");
    refused(&[text(&bad("b.json", "{}"))], "schema_version");
    refused(&[text(&bad("c.json", &spoilt("/schema_version", json!(2))))], "version 2");
    refused(&[text(&bad("d.json", &spoilt("/summary/0/metrics", json!([1]))))], "no result");
    refused(&[text(&bad("e.json", &spoilt("/summary", json!([]))))], "no results");
    refused(&[text(&good), "--html", "/none/out.html"], "/none/out.html");
    refused(&[text(&good), "--markdown", text(&bad("f.md", "no marks"))], "figures:");
    assert_eq!(report(&[]).status.code(), Some(2));
}

/// Asserts that a report is refused in one line that contains `told`.
fn refused(flags: &[&str], told: &str) {
    let output = report(flags);
    assert_eq!(output.status.code(), Some(1), "{flags:?}: {output:?}");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(text.lines().count(), 1, "{flags:?}: {text}");
    assert!(text.starts_with("qwormhole-perf: ") && text.contains(told), "{flags:?}: {text}");
}

/// The result of a short comparison of the fallback with itself.
fn measured(folder: &Path, scenario: &str) -> PathBuf {
    let file = folder.join(format!("{scenario}.json"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_qwormhole-perf"));
    command.args(["compare", scenario, "--systems", "fallback,fallback", "--rounds", "2"]);
    command.args(["--duration", "100ms", "--warmup", "20ms", "--json", text(&file)]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    file
}

fn report(flags: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_qwormhole-perf")).arg("report").args(flags).output().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
