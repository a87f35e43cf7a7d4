//! The two processes of a run live and die with it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::io::Read;
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use rustix::process::Signal;
use rustix::pty::OpenptFlags;

use crate::support::{children_of, cpu_ticks, eventually, is_alive, signal};

#[test]
fn killing_the_parent_leaves_no_orphan() {
    for scenario in SCENARIOS {
        let run = LongRun::start(scenario);
        let children = run.children.clone();
        drop(run);
        eventually("both processes end with their parent", || children.iter().all(|&it| !is_alive(it)));
    }
}

#[test]
fn a_killed_process_ends_the_run_with_one_line() {
    for scenario in SCENARIOS {
        for position in [0, 1] {
            let run = LongRun::start(scenario);
            let children = run.children.clone();
            signal(children[position], Signal::KILL);
            let output = run.finish();
            assert_eq!(output.status.code(), Some(1), "{scenario:?}: {output:?}");
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("note: ")).collect();
            let side = ["server", "client"][position];
            let told = format!("qwormhole-perf: the {side} process ended early: killed by signal 9");
            assert_eq!(lines, [told], "{scenario:?}");
            assert!(children.iter().all(|&child| !is_alive(child)), "{scenario:?}: an orphan is left");
        }
    }
}

#[test]
fn an_interrupt_ends_both_processes_and_prints_what_was_measured() {
    for interrupt in [Signal::INT, Signal::TERM] {
        let run = LongRun::start(SCENARIOS[0]);
        let children = run.children.clone();
        signal(run.parent.id(), interrupt);
        let output = run.finish();
        assert_eq!(output.status.code(), Some(130), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("echo on fallback") && text.contains("partial"), "{output:?}");
        assert!(text.contains("throughput") && text.contains("0 lost, 0 corrupt"), "{output:?}");
        assert!(children.iter().all(|&child| !is_alive(child)), "an orphan is left");
    }
}

#[test]
fn an_interrupted_comparison_prints_and_saves_what_was_measured() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out.json");
    let flags = ["compare", "echo", "--systems", "fallback,fallback", "--rounds", "100"];
    let run = LongRun::start_with(&[&flags[..], &["--json", file.to_str().unwrap()]].concat());
    let children = run.children.clone();
    signal(run.parent.id(), Signal::INT);
    let output = run.finish();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("echo, 1 round  (partial: interrupted)") && text.contains("msgs_per_s"),
        "{output:?}"
    );
    let result: serde_json::Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(result["params"]["partial"], true);
    assert_eq!(result["rounds"].as_array().unwrap().len(), 1);
    assert_eq!(result["rounds"][0]["partial"], true);
    assert!(children.iter().all(|&child| !is_alive(child)), "an orphan is left");
}

#[test]
fn a_terminal_shows_throughput_and_percentile_while_it_is_measured() {
    let terminal = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    rustix::pty::grantpt(&terminal).unwrap();
    rustix::pty::unlockpt(&terminal).unwrap();
    let name = rustix::pty::ptsname(&terminal, Vec::new()).unwrap();
    let name = name.to_str().unwrap();
    let end = fs::OpenOptions::new().read(true).write(true).open(name).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_qwormhole-perf"))
        .args(["compare", "pingpong", "--systems", "fallback", "--rounds", "2", "--duration", "800ms"])
        .args(["--warmup", "0"])
        .env("TERM", "xterm")
        .stdout(Stdio::null())
        .stderr(end)
        .spawn()
        .unwrap();
    let reader = thread::spawn(move || {
        let mut shown = Vec::new();
        // Ends with an error when nobody has the other end any more.
        let _ = fs::File::from(terminal).read_to_end(&mut shown);
        String::from_utf8_lossy(&shown).into_owned()
    });
    assert!(child.wait().unwrap().success());
    let shown = reader.join().unwrap();
    for part in ["round 1 of 2, fallback", "round 2 of 2, fallback", " msgs/s, p99 ", " us"] {
        assert!(shown.contains(part), "{part}: {shown:?}");
    }
}

/// A run that would take minutes; killed when dropped.
struct LongRun {
    parent: Child,
    /// The server process, then the client process.
    children: Vec<u32>,
}

impl LongRun {
    /// Starts, and waits until the client has worked for a while: it is measuring then.
    fn start(scenario: &[&str]) -> Self {
        Self::start_with(&[&["run"], scenario, &["--system", "fallback"]].concat())
    }

    fn start_with(flags: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_qwormhole-perf"));
        command.args(flags).args(["--duration", "300s", "--warmup", "1ms"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut run = Self { parent: command.spawn().unwrap(), children: Vec::new() };
        let parent = run.parent.id();
        eventually("two processes are started", || children_of(parent).len() == 2);
        run.children = children_of(parent).into_iter().collect();
        let client = run.children[1];
        // Idle connections keep nobody busy.
        eventually("the client works", || cpu_ticks(client) >= 15 || open_files(client) >= 300);
        run
    }

    fn finish(mut self) -> Output {
        let mut output =
            Output { status: self.parent.wait().unwrap(), stdout: Vec::new(), stderr: Vec::new() };
        std::io::copy(self.parent.stdout.as_mut().unwrap(), &mut output.stdout).unwrap();
        std::io::copy(self.parent.stderr.as_mut().unwrap(), &mut output.stderr).unwrap();
        output
    }
}

/// How many files a process has open.
fn open_files(process: u32) -> usize {
    fs::read_dir(format!("/proc/{process}/fd")).map_or(0, Iterator::count)
}

impl Drop for LongRun {
    fn drop(&mut self) {
        let _ = self.parent.kill();
        let _ = self.parent.wait();
    }
}

/// The first one is a plain closed loop.
const SCENARIOS: [&[&str]; 7] = [
    &["echo", "--depth", "16"],
    &["rate", "--rate", "3000", "--depth", "64"],
    &["steps"],
    &["fanout", "--connections", "4"],
    &["idle", "--connections", "300"],
    &["churn", "--connections", "4"],
    &["overload", "--connections", "4"],
];
