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

#[test]
fn results_of_open_loops_and_many_connections_follow_the_schema() {
    for system in ["fallback", "engine", "engine-unix"].into_iter().filter(|system| available(system)) {
        check_open(&["rate", "--rate", "2000", "--connections", "4", "--depth", "16"], system, &RATE);
        check(&["fanout", "--connections", "8"], system, &FANOUT);
        check(&["fanout", "--connections", "3", "--size", "2000000"], system, &FANOUT);
        check(&["churn", "--connections", "4"], system, &CHURN);
    }
}

#[test]
fn idle_connections_are_tried_and_counted() {
    let result = measured(&["idle", "--connections", "200"], "fallback");
    follows_the_schema(&result);
    let metric = |name: &str| result["rounds"][0]["metrics"][name].as_f64();
    for name in ["server_user_bytes_per_connection", "server_rss_bytes"] {
        assert!(metric(name).unwrap() > 0.0, "{name} in {result}");
    }
    for name in ["wakeups_per_s", "server_cpu_share"] {
        assert!(metric(name).is_some(), "{name} in {result}");
    }
    // No message was counted in the window; afterwards each connection was asked once.
    assert_eq!((metric("lost_messages"), metric("msgs_per_s")), (Some(0.0), None));
    let output = run(&["idle", "--connections", "200"], "fallback");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains(" 200 messages, every byte: 0 lost"), "{output:?}");
}

#[test]
fn an_attack_is_set_against_a_control_run() {
    let result =
        measured(&["overload", "--connections", "4", "--attackers", "4", "--size", "1024"], "fallback");
    follows_the_schema(&result);
    let metric = |name: &str| result["rounds"][0]["metrics"][name].as_f64();
    for name in ["rtt_us_p99", "rtt_us_p99@control", "server_rss_bytes", "server_rss_bytes@control"] {
        assert!(metric(name).unwrap() > 0.0, "{name} in {result}");
    }
    // Costs of traffic that nobody counts are nobody's.
    assert_eq!(metric("server_cpu_ns_per_msg"), None);
}

#[test]
fn every_step_of_a_load_has_figures_of_its_own() {
    for flags in [&["steps"][..], &["steps", "--mixed", "--slicing", "off"]] {
        let Some(result) = kept(flags, "fallback") else { continue };
        follows_the_schema(&result);
        let metric = |name: &str| result["rounds"][0]["metrics"][name].as_f64();
        for step in ["10", "70", "95", "10b"] {
            for name in ["msgs_per_s", "rtt_us_p50", "rtt_us_p99", "raw_rtt_us_p99", "server_cpu_ns_per_msg"]
            {
                assert!(metric(&format!("{name}@{step}")).unwrap() > 0.0, "{name}@{step} in {result}");
            }
        }
        let (capacity, slow) = (metric("msgs_per_s").unwrap(), metric("msgs_per_s@10").unwrap());
        assert!(slow < capacity / 5.0, "{slow} of {capacity}");
        assert_eq!(metric("lost_messages"), Some(0.0));
    }
}

/// One run: valid, with every figure that its scenario is about, nothing lost, numbers that fit together.
fn check(flags: &[&str], system: &str, figures: &[&str]) {
    check_result(&measured(flags, system), flags, system, figures);
}

/// As [`check`], for a rate that a busy machine may not keep; the run says so then.
fn check_open(flags: &[&str], system: &str, figures: &[&str]) {
    if let Some(result) = kept(flags, system) {
        check_result(&result, flags, system, figures);
        let metric = |name: &str| result["rounds"][0]["metrics"][name].as_f64().unwrap();
        assert!(metric("rtt_us_p50") >= metric("raw_rtt_us_p50"), "{flags:?} on {system}: {result}");
    }
}

fn check_result(result: &Value, flags: &[&str], system: &str, figures: &[&str]) {
    follows_the_schema(result);
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

fn follows_the_schema(result: &Value) {
    let faults: Vec<_> = validator().iter_errors(result).map(|fault| fault.to_string()).collect();
    assert!(faults.is_empty(), "{faults:?} in {result}");
}

/// The result of an open loop; `None` when it said, every time, that the rate was not kept.
fn kept(flags: &[&str], system: &str) -> Option<Value> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("result.json");
    let flags: Vec<_> = flags.iter().copied().chain(["--json", file.to_str().unwrap()]).collect();
    for _ in 0..3 {
        let output = run(&flags, system);
        if output.status.success() {
            return Some(serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap());
        }
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            told.contains("saturated") || told.contains("no open loop was kept"),
            "{flags:?} on {system}: {told}"
        );
        println!("not checked: {told}");
    }
    None
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
const RATE: [&str; 4] = ["rtt_us_p99", "raw_rtt_us_p50", "raw_rtt_us_p999", "raw_rtt_us_max"];
const FANOUT: [&str; 3] = ["deliveries_per_s", "spread_us_p50", "spread_us_p99"];
const CHURN: [&str; 2] = ["connections_per_s", "rtt_us_p99"];
const ROUND_TRIP: [&str; 5] = ["rtt_us_p50", "rtt_us_p90", "rtt_us_p99", "rtt_us_p999", "rtt_us_max"];
