//! The same results for an ordinary user, without locked memory, and where io_uring is forbidden.
//!
//! The tests of this binary run again in child processes that have less. Linux only, and only as root: the
//! children's privileges are what is tested.

use std::os::unix::process::CommandExt;
use std::process::Command;

use qwormhole::{Backend, BackendKind};

use crate::support::Bed;
use crate::support::record::{Answer, recorders};

/// An ordinary user's id.
const NOBODY: u32 = 65534;

/// What a child process lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lack {
    Privileges,
    LockedMemory,
    IoUring,
}

/// Runs tests of this binary in a child; returns its whole output.
fn child(lack: Lack, test: &[&str]) -> String {
    let locked = if lack == Lack::LockedMemory { "0" } else { "8192" };
    let mut command = Command::new("sh");
    command.arg("-c").arg("ulimit -l \"$0\"; exec \"$@\"").arg(locked);
    command.arg(std::env::current_exe().expect("this binary")).args(test);
    command.args(["--nocapture", "--test-threads", "2"]).env("QWORMHOLE_FLOOD_FRAMES", "10000");
    if lack != Lack::Privileges {
        command.env("QWORMHOLE_TEST_BACKEND", "auto");
    }
    if lack == Lack::IoUring {
        command.env("QWORMHOLE_TEST_DENY_IO_URING", "1");
    }
    let output = command.uid(NOBODY).gid(NOBODY).env_remove("TMPDIR").output().expect("the child runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{lack:?}: {text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    let is_root = id.stdout == b"0\n";
    if !is_root {
        println!("skipped: needs root to give up privileges");
    }
    is_root
}

fn passed(output: &str) -> &str {
    let line = output.lines().find(|line| line.starts_with("test result: ok.")).expect("a result line");
    line.split(';').next().expect("a count")
}

#[test]
fn results_are_the_same_whatever_is_lacking() {
    if std::env::var_os("QWORMHOLE_TEST_NESTED").is_some() || !is_root() {
        return;
    }
    let skip = ["--skip", "sandbox"];
    let full = child(Lack::Privileges, &skip);
    for lack in [Lack::LockedMemory, Lack::IoUring] {
        assert_eq!(passed(&child(lack, &skip)), passed(&full), "{lack:?}");
    }
}

/// Prints what a child found; alone in its process.
#[test]
fn report_of_a_child() {
    let server = start(Bed::new(Backend::Auto));
    let report = server.backend();
    println!("kind={:?} refusal={:?}", report.kind, report.refusal);
}

fn start(bed: Bed) -> qwormhole::Server {
    let (service, _record) = recorders(Answer::Echo);
    bed.server().bind("127.0.0.1:0").expect("bind").start(service).expect("start")
}

#[test]
fn an_ordinary_user_runs_on_the_engine_and_a_refusal_is_named() {
    if !is_root() {
        return;
    }
    let test = ["--exact", "sandbox::report_of_a_child"];
    let granted = child(Lack::Privileges, &test);
    assert!(granted.contains("kind=IoUring refusal=None"), "{granted}");
    let locked = child(Lack::LockedMemory, &test);
    assert!(locked.contains("kind=Tokio refusal=Some("), "{locked}");
    assert!(locked.to_lowercase().contains("memlock"), "the reason is named: {locked}");
    let denied = child(Lack::IoUring, &test);
    assert!(denied.contains("kind=Tokio refusal=Some("), "{denied}");
    assert!(denied.contains("seccomp"), "the reason is named: {denied}");
}

/// Start and stop cycles on the engine; ring memory is given back a little late, and that must not push anybody
/// to the fallback.
#[test]
fn cycles_of_a_child() {
    let cycles =
        std::env::var("QWORMHOLE_TEST_CYCLES").ok().map_or(20, |text| text.parse().expect("a number"));
    for cycle in 0..cycles {
        let server = start(Bed::new(Backend::Auto));
        assert_eq!(
            server.backend().kind,
            BackendKind::IoUring,
            "cycle {cycle}: {:?}",
            server.backend().refusal
        );
    }
}

#[test]
fn an_ordinary_user_starts_and_stops_a_thousand_times() {
    if !is_root() {
        return;
    }
    let mut command = Command::new("sh");
    command.arg("-c").arg("ulimit -l 8192; exec \"$@\"").arg("sh");
    command.arg(std::env::current_exe().expect("this binary"));
    command
        .args(["--exact", "sandbox::cycles_of_a_child", "--nocapture"])
        .env("QWORMHOLE_TEST_CYCLES", "1000");
    let output = command.uid(NOBODY).gid(NOBODY).output().expect("the child runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
