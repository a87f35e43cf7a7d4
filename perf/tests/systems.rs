//! Every system plays the parts that it says it plays, and every byte is checked.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Output};

#[test]
fn every_system_moves_every_message_or_says_why_not() {
    let listed = perf(&["list"]);
    let text = String::from_utf8(listed.stdout).unwrap();
    let systems = text.split("\nSystems\n").nth(1).unwrap();
    let lines: Vec<_> = systems.lines().collect();
    assert!(lines.len() >= 2 * 14, "{lines:?}");
    for system in lines.chunks(2) {
        let name = system[0].split_whitespace().next().unwrap();
        let available = system[1].trim() == "available";
        let mut played = 0;
        for scenario in ["pingpong", "stream", "send-one"] {
            played += u32::from(plays(&["run", scenario, "--system", name]));
        }
        plays(&["run", "send-one", "--from-thread", "--system", name]);
        plays(&["run", "echo", "--connections", "5", "--depth", "7", "--size", "300", "--system", name]);
        plays(&["run", "stream", "--size", "300000", "--system", name]);
        assert_eq!(played > 0, available, "{name} plays in {played} scenarios");
    }
}

#[test]
fn tls_is_spoken_where_it_can_be_and_refused_in_words_elsewhere() {
    for name in ["engine", "engine-unix", "fallback", "tokio-rustls"] {
        for scenario in ["pingpong", "stream"] {
            plays(&["run", scenario, "--tls", "--system", name]);
        }
    }
    refused(&["run", "stream", "--tls", "--system", "epoll"], "it speaks no TLS");
    refused(&["run", "echo", "--tls", "--system", "fallback"], "the neutral load generator speaks no TLS");
    refused(&["run", "echo", "--system", "tokio-rustls"], "always speaks TLS");
    refused(&["client", "--tls", "--system", "fallback", "--connect", "127.0.0.1:1"], "use run");
    refused(&["client", "--system", "tokio-rustls", "--connect", "127.0.0.1:1"], "use run");
    refused(&["server", "--system", "tokio-rustls", "--listen", "127.0.0.1:0"], "`run` makes");
}

#[test]
fn bounds_play_only_what_they_bound() {
    refused(&["run", "pingpong", "--system", "raw-stream"], "one way only");
    refused(&["run", "stream", "--system", "raw-pingpong"], "sends bytes back");
    refused(&["run", "echo", "--system", "raw-pingpong"], "pingpong only");
}

#[test]
fn an_unknown_size_for_a_sweep_is_refused() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qwormhole-perf"));
    command.args(["run", "stream", "--system", "epoll", "--quiet"]);
    let output = command.env("QWORMHOLE_PERF_TUNING", "reed=1").output().unwrap();
    let line = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && line.contains("reed"), "{line}");
}

/// Whether a short run works; one that does not has to say that the system takes no part or cannot run here.
fn plays(flags: &[&str]) -> bool {
    let short = ["--duration", "40ms", "--warmup", "10ms", "--quiet"];
    let output = perf(&[flags, &short].concat());
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    if error.contains("takes no part") || error.contains("cannot run here") {
        assert_eq!(output.status.code(), Some(1), "{flags:?}: {error}");
        return false;
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("0 lost, 0 corrupt"), "{flags:?}: {error}\n{text}");
    true
}

/// One line that says `told`, and a failure.
fn refused(flags: &[&str], told: &str) {
    let output = perf(flags);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("note: ")).collect();
    assert_eq!(output.status.code(), Some(1), "{flags:?}: {text}");
    assert!(lines.len() == 1 && lines[0].contains(told), "{flags:?}: {text}");
}

fn perf(flags: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_qwormhole-perf")).args(flags).output().unwrap()
}
