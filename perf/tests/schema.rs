//! Real results of real runs, against `schema.json`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

#[test]
fn results_of_every_scenario_on_the_fallback_follow_the_schema() {
    check_all("fallback");
}

#[test]
fn results_of_every_scenario_on_the_engine_follow_the_schema_where_it_runs() {
    if available("engine") {
        check_all("engine");
    }
}

#[test]
fn results_over_unix_sockets_follow_the_schema_where_the_engine_runs() {
    if available("engine-unix") {
        check(&["pingpong"], "engine-unix", &ROUND_TRIP);
        check(&["echo", "--connections", "4", "--depth", "4"], "engine-unix", &ROUND_TRIP);
    }
}

#[test]
fn the_schema_refuses_what_is_no_result() {
    let good = measured(&["pingpong"], "fallback");
    assert!(validator().is_valid(&good));
    let spoilt: [(&str, Value); 6] = [
        ("/schema_version", json!(2)),
        ("/rounds", json!([])),
        ("/rounds/0/metrics/msgs_per_s", json!("fast")),
        ("/rounds/0/metrics", json!({ "speed": 1 })),
        ("/summary/0/metrics/msgs_per_s", json!(7)),
        ("/environment/cores", json!(0)),
    ];
    for (place, value) in spoilt {
        let mut bad = good.clone();
        *bad.pointer_mut(place).unwrap() = value;
        assert!(!validator().is_valid(&bad), "{place}");
    }
    let mut missing = good;
    missing.as_object_mut().unwrap().remove("params");
    assert!(!validator().is_valid(&missing));
}

#[test]
fn the_percentile_file_counts_what_was_measured() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("round-trips.hgrm");
    let output = run(&["pingpong", "--hgrm", file.to_str().unwrap()], "fallback");
    assert!(output.status.success(), "{output:?}");
    let text = fs::read_to_string(file).unwrap();
    let last = text.lines().rfind(|line| !line.starts_with('#')).unwrap();
    let columns: Vec<_> = last.split_whitespace().collect();
    assert_eq!(columns[1], "1.000000000000");
    assert!(text.contains(&format!("Total count    = {:>12}]", columns[2])), "{text}");
}

fn check_all(system: &str) {
    check(&["pingpong"], system, &ROUND_TRIP);
    check(&["echo", "--connections", "4", "--depth", "4"], system, &ROUND_TRIP);
    check(&["stream"], system, &[]);
    check(&["stream", "--size", "100000"], system, &[]);
    check(&["send-one"], system, &[]);
    check(&["send-one", "--from-thread"], system, &[]);
}

/// One run: valid, with every figure that its scenario is about, nothing lost, numbers that fit together.
fn check(flags: &[&str], system: &str, figures: &[&str]) {
    let result = measured(flags, system);
    let faults: Vec<_> = validator().iter_errors(&result).map(|fault| fault.to_string()).collect();
    assert!(faults.is_empty(), "{flags:?} on {system}: {faults:?}");
    let round = &result["rounds"][0];
    assert_eq!((&round["system"], &result["scenario"]), (&json!(system), &json!(flags[0])));
    let metric = |name: &str| round["metrics"][name].as_f64();
    for name in ALWAYS.iter().chain(figures) {
        assert!(metric(name).unwrap_or(-1.0) > 0.0, "{flags:?} on {system}: {name} in {round}");
    }
    assert_eq!((metric("lost_messages"), metric("corrupt_messages")), (Some(0.0), Some(0.0)));
    let wire = (result["params"]["size"].as_f64().unwrap() + 4.0) * metric("msgs_per_s").unwrap();
    assert!((wire / metric("bytes_per_s").unwrap() - 1.0).abs() < 1e-6, "{round}");
    assert_eq!(result["summary"][0]["metrics"]["msgs_per_s"]["median"], round["metrics"]["msgs_per_s"]);
    let kind = if system == "fallback" { "tokio" } else { "io_uring" };
    assert_eq!(result["params"]["backends"][system]["kind"], kind);
}

fn measured(flags: &[&str], system: &str) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("result.json");
    let flags: Vec<_> = flags.iter().copied().chain(["--json", file.to_str().unwrap()]).collect();
    let output = run(&flags, system);
    assert!(output.status.success(), "{flags:?} on {system}: {output:?}");
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

fn run(flags: &[&str], system: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qwormhole-perf"));
    command.arg("run").args(flags).args(["--system", system, "--duration", "200ms", "--warmup", "50ms"]);
    command.output().unwrap()
}

/// Whether the machine grants what a system needs; `list` says it in its next line.
fn available(system: &str) -> bool {
    let output = Command::new(env!("CARGO_BIN_EXE_qwormhole-perf")).arg("list").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines = text.lines().skip_while(|line| line.split_whitespace().next() != Some(system));
    let verdict = lines.nth(1).unwrap().trim();
    if verdict != "available" {
        println!("not checked on {system}: {verdict}");
    }
    verdict == "available"
}

fn validator() -> jsonschema::Validator {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema.json");
    let schema: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

const ALWAYS: [&str; 5] =
    ["msgs_per_s", "bytes_per_s", "server_cpu_ns_per_msg", "client_cpu_ns_per_msg", "server_rss_bytes"];
const ROUND_TRIP: [&str; 5] = ["rtt_us_p50", "rtt_us_p90", "rtt_us_p99", "rtt_us_p999", "rtt_us_max"];
