//! A child process that answers.

use std::io::{self, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::adapter::Adapter;
use crate::error::{AdapterError, SelectionError};
use crate::rpc::{ANSWER_BYTES_MAX, TIMEOUT_MAX, TIMEOUT_MIN, parse};

/// Asks a program: starts it for each query, gives it the metrics as JSON on its standard input and reads the
/// answer from its standard output. No output means `{}`; a program that fails is an error with the beginning of
/// what it wrote to its standard error.
///
/// The program is started directly, not by a shell, and inherits the environment. When the timeout has passed, or
/// on any other error, it is killed and reaped; on unix so are the processes it started, unless they left its
/// process group. At most 16 queries run at once, each with three threads that serve the pipes. Memory of a
/// query: the metrics as text, the answer up to `answer_bytes_max`, and the value read from it.
#[derive(Debug)]
pub struct Spawn {
    options: SpawnOptions,
    running: Arc<AtomicUsize>,
}

/// Options of [`Spawn`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpawnOptions {
    /// The program, looked up as the system does.
    pub command: String,
    /// Its arguments. None by default.
    pub args: Vec<String>,
    /// How long one query may take from start to exit, 1 ms to 1 h. Default 5 s.
    pub timeout: Duration,
    /// Bytes of an answer at most, 1 to 64 MiB. Default 1 MiB.
    pub answer_bytes_max: usize,
}

impl SpawnOptions {
    /// The default options for a program.
    pub fn new(command: impl Into<String>) -> Self {
        Self {
            command: command.into(),
            args: Vec::new(),
            timeout: Duration::from_secs(5),
            answer_bytes_max: 1 << 20,
        }
    }
}

impl Spawn {
    /// Makes the adapter; nothing is started yet.
    ///
    /// # Errors
    ///
    /// An option cannot work; the error names it.
    pub fn new(options: SpawnOptions) -> Result<Self, SelectionError> {
        let refuse = |option, fix| Err(SelectionError::Option { option, fix });
        if options.command.is_empty() || options.command.contains('\0') {
            return refuse("command", "must be the name or the path of a program");
        }
        if options.args.iter().any(|argument| argument.contains('\0')) {
            return refuse("args", "must not contain a zero byte");
        }
        if !(TIMEOUT_MIN..=TIMEOUT_MAX).contains(&options.timeout) {
            return refuse("timeout", "must be between 1 ms and 1 h");
        }
        if !(1..=ANSWER_BYTES_MAX).contains(&options.answer_bytes_max) {
            return refuse("answer_bytes_max", "must be between 1 and 64 MiB");
        }
        Ok(Self { options, running: Arc::default() })
    }

    fn timed_out(&self) -> AdapterError {
        AdapterError::TimedOut { adapter: NAME, timeout: self.options.timeout }
    }
}

impl Adapter for Spawn {
    fn name(&self) -> &str {
        NAME
    }

    fn query(&self, metrics: &Value) -> Result<Value, AdapterError> {
        let deadline = Instant::now() + self.options.timeout;
        let permit = Permit::take(&self.running)?;
        let mut process = Process::start(&self.options)?;
        let pipes = Pipes::serve(&mut process.child, metrics, self.options.answer_bytes_max, permit)
            .map_err(AdapterError::Pipe)?;
        let answer = pipes.answer.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        let answer = answer.map_err(|_| self.timed_out())?.map_err(AdapterError::Pipe)?;
        if answer.len() > self.options.answer_bytes_max {
            return Err(AdapterError::TooLarge { adapter: NAME, bytes_max: self.options.answer_bytes_max });
        }
        let status = process.wait(deadline).map_err(AdapterError::Pipe)?.ok_or_else(|| self.timed_out())?;
        if !status.success() {
            // Its children may hold the other end; the error does not wait for them.
            let stderr = pipes.complaint.recv_timeout(COMPLAINT_WAIT).unwrap_or_default();
            return Err(AdapterError::Exit { status, stderr });
        }
        parse(NAME, &answer)
    }
}

/// One of the queries that may run at once; held until the last thread that serves it has ended.
#[derive(Debug)]
struct Permit(Arc<AtomicUsize>);

impl Permit {
    fn take(running: &Arc<AtomicUsize>) -> Result<Arc<Self>, AdapterError> {
        let more = |running| (running < QUERIES_MAX).then_some(running + 1);
        match running.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => Ok(Arc::new(Self(running.clone()))),
            Err(_) => Err(AdapterError::Busy { adapter: NAME }),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A child process that does not outlive this value.
#[derive(Debug)]
struct Process {
    child: Child,
    reaped: bool,
}

impl Process {
    fn start(options: &SpawnOptions) -> Result<Self, AdapterError> {
        let mut command = Command::new(&options.command);
        command.args(&options.args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        match command.spawn() {
            Ok(child) => Ok(Self { child, reaped: false }),
            Err(source) => Err(AdapterError::Start { command: options.command.clone(), source }),
        }
    }

    /// How it ended; `None` if it had not by the deadline. The standard library cannot wait with a deadline; the
    /// output has ended already, so the process has usually too.
    fn wait(&mut self, deadline: Instant) -> io::Result<Option<ExitStatus>> {
        let mut pause = Duration::from_micros(100);
        loop {
            if let Some(status) = self.child.try_wait()? {
                self.reaped = true;
                return Ok(Some(status));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            thread::sleep(pause.min(left));
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Kills it and, on unix, its process group; its number cannot be another's before it is reaped.
    fn kill(&mut self) -> io::Result<()> {
        #[cfg(unix)]
        return Ok(rustix::process::kill_process_group(
            rustix::process::Pid::from_child(&self.child),
            rustix::process::Signal::KILL,
        )?);
        #[cfg(not(unix))]
        self.child.kill()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A process that may not be killed (it changed its user) is not waited for either.
        if !self.reaped && self.kill().is_ok() {
            let _ = self.child.wait();
        }
    }
}

/// The threads that serve a child's pipes, so that no full pipe stops another. They end when the pipes do.
struct Pipes {
    answer: Receiver<io::Result<Vec<u8>>>,
    complaint: Receiver<String>,
}

impl Pipes {
    fn serve(child: &mut Child, metrics: &Value, bytes_max: usize, permit: Arc<Permit>) -> io::Result<Self> {
        let missing = || io::Error::other("a pipe is missing");
        let mut stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let mut stderr = child.stderr.take().ok_or_else(missing)?;
        let (answered, answer) = mpsc::sync_channel(1);
        let (complained, complaint) = mpsc::sync_channel(1);
        let question = metrics.to_string();
        let held = permit.clone();
        thread::Builder::new().name("ml-spawn-in".into()).spawn(move || {
            // A program need not read its input: that it did not is no error.
            let _ = stdin.write_all(question.as_bytes());
            drop(held);
        })?;
        let held = permit.clone();
        thread::Builder::new().name("ml-spawn-out".into()).spawn(move || {
            let mut bytes = Vec::new();
            // One byte more tells an answer that is too long from one that just fits.
            let read = stdout.take(bytes_max as u64 + 1).read_to_end(&mut bytes);
            let _ = answered.send(read.map(|_| bytes));
            drop(held);
        })?;
        thread::Builder::new().name("ml-spawn-err".into()).spawn(move || {
            let mut bytes = Vec::new();
            let _ = (&mut stderr).take(COMPLAINT_BYTES_MAX).read_to_end(&mut bytes);
            let _ = complained.send(String::from_utf8_lossy(&bytes).trim().to_owned());
            // The rest goes nowhere, but it has to go.
            let _ = io::copy(&mut stderr, &mut io::sink());
            drop(permit);
        })?;
        Ok(Self { answer, complaint })
    }
}

const NAME: &str = "spawn";
/// Queries at once; a query whose pipes are held open by an escaped process counts until they close.
const QUERIES_MAX: usize = 16;
const COMPLAINT_BYTES_MAX: u64 = 1024;
const COMPLAINT_WAIT: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_millis(10);
