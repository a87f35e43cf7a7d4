//! Running Python.

use std::io::{BufRead, BufReader, Lines};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};

use tempfile::TempDir;

use crate::support::certs::{Authority, Identity};
use crate::support::scratch;

/// The command that runs a script of this folder; `None`, and a word about it, where there is no Python 3.
pub(crate) fn script(name: &str) -> Option<Command> {
    let there = Command::new("python3").args(["-c", "import ssl"]).stderr(Stdio::null()).status();
    if !there.is_ok_and(|status| status.success()) {
        println!("not checked: no python3 with TLS");
        return None;
    }
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/interop");
    let mut command = Command::new("python3");
    // Nothing is written beside the scripts.
    command.arg("-B").arg(folder.join(name));
    Some(command)
}

/// The last line of what a script said, and its exit code.
pub(crate) fn verdict(output: &Output) -> (String, Option<i32>) {
    let said = String::from_utf8_lossy(&output.stdout);
    let last = said.lines().last().map_or_else(|| complaint(output), str::to_owned);
    (last, output.status.code())
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A script that is running; it does not outlive the test.
pub(crate) struct Running {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("python3 starts");
        let said = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, said }
    }

    /// Its next line; empty when it says nothing any more.
    pub(crate) fn line(&mut self) -> String {
        self.said.next().map_or_else(String::new, |line| line.expect("UTF-8"))
    }

    pub(crate) fn wait(mut self) -> ExitStatus {
        self.child.wait().expect("it ends")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A private authority and a certificate of 127.0.0.1, as values and as files.
pub(crate) struct Certificates {
    pub(crate) authority: Authority,
    pub(crate) identity: Identity,
    folder: TempDir,
}

impl Certificates {
    pub(crate) fn new() -> Self {
        let authority = Authority::new("authority");
        let identity = authority.issue(&["127.0.0.1"]);
        let folder = scratch();
        let files = [("ca.pem", authority.pem()), ("cert.pem", &*identity.cert), ("key.pem", &*identity.key)];
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).expect("a file");
        }
        Self { authority, identity, folder }
    }

    /// `ca.pem`, `cert.pem` or `key.pem`.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}
