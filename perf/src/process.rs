//! The parent's end of a child process.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;

use anyhow::{Context as _, Result};

use crate::cli::CHILD_COMMAND;
use crate::interrupt::Event;
use crate::job::{self, Job, Report, Side};

/// A server or client process. It dies with this value, and with this process even when that is killed.
#[derive(Debug)]
pub(crate) struct Process {
    side: Side,
    child: Child,
    commands: Option<ChildStdin>,
}

impl Process {
    /// Starts this very binary again as a child with a job. What it reports arrives as [`Event`]s.
    ///
    /// It must be called on the thread that outlives the child: the system ends a child together with the
    /// thread that started it.
    pub(crate) fn spawn(job: &Job, events: &mpsc::Sender<Event>) -> Result<Self> {
        let binary = std::env::current_exe().context("cannot find the own binary")?;
        // A process group of its own: Ctrl-C reaches the parent only, which then asks for results so far.
        let mut command = Command::new(binary);
        if let Some(slicing) = job.load.slicing {
            slicing.apply(&mut command);
        }
        let mut child = command
            .arg(CHILD_COMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start the {} process", job.side.name()))?;
        let output = child.stdout.take().context("the child has no output")?;
        let commands = child.stdin.take();
        let mut process = Self { side: job.side, child, commands };
        let (side, events) = (job.side, events.clone());
        thread::Builder::new()
            .name(format!("{}-reports", side.name()))
            .spawn(move || forward(side, output, &events))
            .context("cannot start a thread")?;
        process.write(job)?;
        Ok(process)
    }

    /// Sends one command. A child that is gone shows as [`Event::Ended`], which says more than an error here.
    pub(crate) fn send(&mut self, command: &job::Command) {
        let _ = self.write(command);
    }

    pub(crate) const fn side(&self) -> Side {
        self.side
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a child whose output has ended, and says how it ended.
    pub(crate) fn obituary(&mut self) -> String {
        self.commands = None;
        let side = self.side.name();
        match self.child.wait() {
            Ok(status) => format!("the {side} process ended early: {}", describe(status)),
            Err(error) => format!("the {side} process is lost: {error}"),
        }
    }

    fn write(&mut self, value: &impl serde::Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        let commands = self.commands.as_mut().context("the child listens no more")?;
        commands.write_all(&line)?;
        Ok(commands.flush()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Hands a child's reports on until its output ends.
fn forward(side: Side, output: ChildStdout, events: &mpsc::Sender<Event>) {
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        let report = serde_json::from_str(&line)
            .unwrap_or_else(|_| Report::Failed(format!("cannot be understood: {line}")));
        if events.send(Event::Report(side, report)).is_err() {
            return;
        }
    }
    let _ = events.send(Event::Ended(side));
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => status.to_string(),
    }
}
