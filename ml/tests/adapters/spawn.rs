//! The spawn adapter with programs that do as they like.

use std::fs;
use std::io::Write;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use qwormhole_ml::{Adapter, AdapterError, Spawn, SpawnOptions};
use serde_json::{Value, json};

fn shell(script: &str) -> SpawnOptions {
    let mut options = SpawnOptions::new("sh");
    options.args = vec!["-c".into(), script.into()];
    options.timeout = Duration::from_secs(20);
    options
}

fn ask(options: SpawnOptions) -> Result<Value, AdapterError> {
    Spawn::new(options).expect("options that work").query(&json!({ "rtt": [1, 2.5], "é": null }))
}

/// Metrics of some megabytes: more than any pipe holds.
fn many() -> Value {
    (0..500_000).collect()
}

#[test]
fn metrics_go_in_and_the_answer_comes_out() {
    let answer = ask(shell(r#"printf '{"got":'; cat; printf '}'"#)).expect("an answer");
    assert_eq!(answer, json!({ "got": { "rtt": [1, 2.5], "é": null } }));
}

#[test]
fn no_output_is_an_empty_object() {
    for script in ["cat >/dev/null", "exit 0", "echo"] {
        assert_eq!(ask(shell(script)).expect("an answer"), json!({}), "{script}");
    }
}

#[test]
fn pipes_that_are_full_in_both_directions_stop_nobody() {
    let metrics = many();
    let mut options = shell("cat");
    options.answer_bytes_max = 16 << 20;
    assert_eq!(Spawn::new(options).expect("works").query(&metrics).expect("an answer"), metrics);
    // Reads nothing and complains a lot.
    let script = "dd if=/dev/zero bs=65536 count=32 >&2; echo 1";
    assert_eq!(Spawn::new(shell(script)).expect("works").query(&metrics).expect("an answer"), 1);
}

#[test]
fn a_failure_is_told_with_what_the_program_said() {
    let error = ask(shell("echo '{}'; echo ' no model ' >&2; exit 3")).expect_err("a failure");
    match &error {
        AdapterError::Exit { status, stderr } => {
            assert_eq!((status.code(), stderr.as_str()), (Some(3), "no model"))
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(error.to_string(), "spawn adapter: exit status: 3: no model");
    let error = ask(shell("kill -TERM $$")).expect_err("a failure");
    assert!(matches!(error, AdapterError::Exit { .. }), "{error:?}");
    let error = ask(shell("dd if=/dev/zero bs=65536 count=32 >&2; exit 1")).expect_err("a failure");
    assert!(matches!(&error, AdapterError::Exit { stderr, .. } if stderr.len() == 1024), "{error:?}");
}

#[test]
fn what_is_no_json_is_an_error() {
    for script in ["echo high", "echo '{}{}'", "printf '\\377'", "yes '[' | head -c 100000"] {
        let answer = ask(shell(script));
        assert!(
            matches!(answer, Err(AdapterError::NotJson { adapter: "spawn", .. })),
            "{script}: {answer:?}"
        );
    }
}

#[test]
fn an_answer_up_to_the_limit_is_taken_and_a_longer_one_is_cut_off() {
    for (bytes_max, fits) in [(1000, true), (999, false)] {
        let mut options = shell("printf '[%998s]' ''");
        options.answer_bytes_max = bytes_max;
        let answer = ask(options);
        assert_eq!(answer.is_ok(), fits, "{answer:?}");
    }
    let answer = ask(shell("exec cat /dev/zero"));
    assert!(
        matches!(answer, Err(AdapterError::TooLarge { adapter: "spawn", bytes_max: 1_048_576 })),
        "{answer:?}"
    );
}

/// The process ids that a script wrote into a file, one a line.
fn pids(file: &std::path::Path) -> Vec<u32> {
    let text = fs::read_to_string(file).expect("the script's file");
    text.split_whitespace().map(|pid| pid.parse().expect("a process id")).collect()
}

/// Whether the process exists, as a running one or as one that nobody has reaped.
fn exists(pid: u32) -> bool {
    let output = Command::new("kill").args(["-0", &pid.to_string()]).output().expect("kill");
    output.status.success()
}

/// Whether the process has ended and only its parent does not know yet; told on Linux only.
fn is_unreaped(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
}

/// A child's child is reaped by whoever the system has for that, sooner or later.
fn await_end(pid: u32) {
    let start = Instant::now();
    while exists(pid) && !is_unreaped(pid) {
        assert!(start.elapsed() < Duration::from_secs(20), "process {pid} still runs");
        thread::yield_now();
    }
}

#[test]
fn a_program_that_hangs_is_killed_with_its_children_and_reaped() {
    // Hangs; has closed its output; hangs in a child; has ended, but its child holds the output.
    for (number, script) in [
        "echo $$ >FILE; exec sleep 1000",
        "echo $$ >FILE; exec sleep 1000 >&- 2>&-",
        "sleep 1000 & echo $$ $! >FILE; wait",
        "sleep 1000 & echo $$ $! >FILE",
    ]
    .into_iter()
    .enumerate()
    {
        let folder = std::env::temp_dir().join(format!("qwormhole-ml-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join("pids");
        let mut options = shell(&script.replace("FILE", &file.display().to_string()));
        options.timeout = Duration::from_millis(500);
        let start = Instant::now();
        let error = ask(options).expect_err("no answer");
        assert!(matches!(error, AdapterError::TimedOut { adapter: "spawn", .. }), "{script}: {error:?}");
        assert_eq!(error.to_string(), "spawn adapter: no answer within 500ms");
        assert!(start.elapsed() < Duration::from_secs(10), "{script}: {:?}", start.elapsed());
        let pids = pids(&file);
        assert!(!exists(pids[0]), "{script}: our child is not reaped");
        pids.into_iter().skip(1).for_each(await_end);
        fs::remove_dir_all(&folder).expect("removed");
    }
}

#[test]
fn queries_at_once_are_bounded_and_the_places_are_given_back() {
    let folder = std::env::temp_dir().join(format!("qwormhole-ml-{}-busy", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let go = folder.join("go");
    let made = Command::new("mkfifo").arg(&go).status().expect("mkfifo");
    assert!(made.success());
    // Every program tells that it runs and then waits for the pipe to open.
    let script = format!("touch {0}/$$; read line <{0}/go; echo 1", folder.display());
    let spawn = Spawn::new(shell(&script)).expect("works");
    // The pipe stays open until every program has read its line, the last one included.
    let mut gate = None;
    thread::scope(|scope| {
        let running: Vec<_> = (0..16).map(|_| scope.spawn(|| spawn.query(&json!(0)))).collect();
        while fs::read_dir(&folder).expect("the folder").count() < 17 {
            thread::yield_now();
        }
        assert!(matches!(spawn.query(&json!(0)), Err(AdapterError::Busy { adapter: "spawn" })));
        let pipe = gate.insert(fs::OpenOptions::new().write(true).open(&go).expect("the pipe"));
        pipe.write_all(&b"go\n".repeat(17)).expect("written");
        for query in running {
            assert_eq!(query.join().expect("no panic").expect("an answer"), 1);
        }
    });
    // The threads of a query end right after it.
    let start = Instant::now();
    let answer = loop {
        match spawn.query(&json!(0)) {
            Err(AdapterError::Busy { .. }) => {
                assert!(start.elapsed() < Duration::from_secs(20), "still busy")
            }
            other => break other,
        }
    };
    assert_eq!(answer.expect("an answer"), 1);
    fs::remove_dir_all(&folder).expect("removed");
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let error = ask(SpawnOptions::new("qwormhole-no-such-program")).expect_err("not there");
    assert!(error.to_string().contains("qwormhole-no-such-program"), "{error}");
    assert!(matches!(error, AdapterError::Start { .. }));
}

#[test]
fn options_that_cannot_work_are_refused_by_name() {
    let with = |change: &dyn Fn(&mut SpawnOptions)| {
        let mut options = shell("true");
        change(&mut options);
        Spawn::new(options).expect_err("refused").to_string()
    };
    assert!(with(&|options| options.command = String::new()).contains("`command`"));
    assert!(with(&|options| options.command = "a\0".into()).contains("`command`"));
    assert!(with(&|options| options.args = vec!["a\0".into()]).contains("`args`"));
    assert!(with(&|options| options.timeout = Duration::ZERO).contains("`timeout`"));
    assert!(with(&|options| options.answer_bytes_max = 0).contains("`answer_bytes_max`"));
}
