//! What the environment of a process selects, seen from a process that has it.

use std::process::Command;

use qwormhole_ml::Selection;

/// The other process of the test below; does nothing unless that test started it.
#[test]
fn tell_the_selection() {
    if std::env::var_os(STARTED).is_none() {
        return;
    }
    match Selection::resolve(None) {
        Ok(selection) => println!("selection: {selection:?}"),
        Err(error) => println!("refused: {error}"),
    }
}

#[test]
fn the_environment_selects_and_the_default_fills_in() {
    for (variables, expected) in [
        (&[][..], "selection: QwormTorch(QwormTorchOptions { sample_limit: 4096,"),
        (&[("QWORMHOLE_ML_ADAPTER", "noop")], "selection: Noop"),
        (
            &[("QWORMHOLE_ML_ADAPTER", "spawn"), ("QWORMHOLE_ML_SPAWN_CMD", "model")],
            "selection: Spawn(SpawnOptions { command: \"model\"",
        ),
        (&[("QWORMHOLE_ML_ADAPTER", "gpt")], "refused: environment variable QWORMHOLE_ML_ADAPTER=\"gpt\""),
    ] {
        let output = Command::new(std::env::current_exe().expect("this test"))
            .args(["environment::tell_the_selection", "--exact", "--nocapture"])
            .env_remove("QWORMHOLE_ML_ADAPTER")
            .env(STARTED, "1")
            .envs(variables.iter().copied())
            .output()
            .expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains(expected), "{variables:?}: {text}");
    }
}

const STARTED: &str = "QWORMHOLE_ML_TEST_CHILD";
