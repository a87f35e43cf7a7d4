//! Systems side by side: the result, its verdicts, and what goes wrong.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

#[test]
fn systems_take_turns_and_the_result_follows_the_schema() {
    let folder = tempfile::tempdir().unwrap();
    let (file, hgrm) = (folder.path().join("out.json"), folder.path().join("out.hgrm"));
    let flags = ["--rounds", "5", "--json", text(&file), "--hgrm", text(&hgrm)];
    let output = compare(&["echo", "--systems", "fallback,fallback"], &flags);
    assert!(output.status.success(), "{output:?}");
    let result: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let faults: Vec<_> = validator().iter_errors(&result).map(|fault| fault.to_string()).collect();
    assert!(faults.is_empty(), "{faults:?}");
    let rounds = result["rounds"].as_array().unwrap();
    let order: Vec<_> =
        rounds.iter().map(|it| (it["round"].as_u64().unwrap(), it["system"].as_str().unwrap())).collect();
    let (a, b) = ("fallback", "fallback#2");
    assert_eq!(order, [(0, a), (0, b), (1, b), (1, a), (2, a), (2, b), (3, b), (3, a), (4, a), (4, b)]);
    let of = |place: &str| result[place].as_array().unwrap().iter().map(|it| it["system"].as_str().unwrap());
    assert_eq!(of("summary").collect::<Vec<_>>(), [a, b]);
    assert_eq!(of("histograms").collect::<Vec<_>>(), [a, b]);
    assert_eq!(of("ratios").collect::<BTreeSet<_>>(), BTreeSet::from([a]));
    let ratio = result["ratios"].as_array().unwrap().iter().find(|it| it["metric"] == "msgs_per_s").unwrap();
    assert_eq!((&ratio["against"], &ratio["interval"]["confidence"]), (&json!(b), &json!(0.9375)));
    let shown = String::from_utf8(output.stdout).unwrap();
    for told in
        ["echo, 5 rounds", "fallback#2", "msgs_per_s", "rtt_us_p99", "against each other system", "verdict"]
    {
        assert!(shown.contains(told), "{told}: {shown}");
    }
    for system in ["fallback", "fallback-2"] {
        assert!(folder.path().join(format!("out.{system}.hgrm")).exists(), "{system}");
    }
}

#[test]
fn a_ratio_decides_the_exit_code() {
    let fails = |condition: &str, rounds: &str| {
        let flags = ["--rounds", rounds, "--fail-if", condition];
        compare(&["echo", "--systems", "fallback,fallback"], &flags)
    };
    let clear = fails("fallback/fallback#2 msgs_per_s > 0.01", "5");
    assert_eq!(clear.status.code(), Some(99), "{clear:?}");
    assert!(stderr(&clear).contains("failed: fallback/fallback#2 msgs_per_s > 0.01"), "{clear:?}");
    let passed = fails("fallback/fallback#2 msgs_per_s > 100", "5");
    assert_eq!(passed.status.code(), Some(0), "{passed:?}");
    let unclear = fails("fallback/fallback#2 msgs_per_s > 0.01", "4");
    assert_eq!(unclear.status.code(), Some(98), "{unclear:?}");
    assert!(stderr(&unclear).contains("no verdict"), "{unclear:?}");
    let median = fails("msgs_per_s > 1", "1");
    assert_eq!(median.status.code(), Some(99), "{median:?}");
}

#[test]
fn mistakes_are_found_before_anything_is_measured() {
    let long = ["--duration", "300s"];
    let with = |flags: &[&'static str]| [&["--systems", "fallback"], flags, &long].concat();
    refused(&with(&["--fail-if", "fallback/monoio msgs_per_s < 1"]), "there are: fallback");
    refused(&with(&["--json", "/none/out.json"]), "/none/out.json");
    refused(&with(&["--hgrm", "/none/out.hgrm"]), "/none/out.fallback.hgrm");
    refused(&["--systems", "fallback,monoid", "--duration", "300s"], "unknown system `monoid`");
    refused(&["--systems", "fallback,,", "--duration", "300s"], "commas");
    for flags in [["--rounds", "0"], ["--fail-if", "a/b speed < 1"], ["--fail-if", "a/b < 1"]] {
        assert_eq!(compare(&["echo", "--systems", "fallback"], &flags).status.code(), Some(2), "{flags:?}");
    }
}

/// Asserts that an echo comparison is refused in one line that contains `told`.
fn refused(flags: &[&str], told: &str) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_qwormhole-perf")).args(["compare", "echo"]).args(flags).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1), "{flags:?}: {output:?}");
    let text = stderr(&output);
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("note: ")).collect();
    assert_eq!(lines.len(), 1, "{flags:?}: {text}");
    assert!(lines[0].starts_with("qwormhole-perf: ") && lines[0].contains(told), "{flags:?}: {text}");
}

fn compare(what: &[&str], flags: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qwormhole-perf"));
    command.arg("compare").args(what).args(["--duration", "100ms", "--warmup", "20ms", "--depth", "4"]);
    command.args(flags).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn validator() -> jsonschema::Validator {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema.json");
    let schema: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}
