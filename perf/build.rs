//! Records what the binary was built from and with, for the result files.

use std::process::Command;

fn main() {
    let unknown = || String::from("unknown");
    let revision = output("git", &["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(unknown);
    println!("cargo::rustc-env=QWORMHOLE_GIT_REVISION={revision}");
    let rustc = std::env::var("RUSTC").ok().and_then(|rustc| output(&rustc, &["--version"]));
    println!("cargo::rustc-env=QWORMHOLE_RUSTC_VERSION={}", rustc.unwrap_or_else(unknown));
    if let Some(log) = output("git", &["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
    println!("cargo::rerun-if-changed=build.rs");
}

/// What a command prints, trimmed; `None` when it is missing or fails (git outside of a checkout).
fn output(command: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(command).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
