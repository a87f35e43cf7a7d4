//! System calls of another process, counted by the kernel.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use perf_event::events::Tracepoint;
use perf_event::{Builder, Counter};
use rustix::io::Errno;

/// Counts every system call of a process, of any kind and from any thread, through the tracepoint
/// `raw_syscalls:sys_enter`. While one exists, system calls of the whole machine take a slower path; so it
/// lives outside of the measured window.
#[derive(Debug)]
pub(crate) struct SyscallCounter(Vec<Counter>);

impl SyscallCounter {
    /// Begins to count, with all threads the process has now and those they start later.
    ///
    /// # Errors
    ///
    /// When this user may not use tracepoints, or the kernel has none.
    pub(crate) fn start(process: u32) -> Result<Self> {
        let id = tracepoint()?;
        let mut counters = Vec::new();
        for entry in fs::read_dir(format!("/proc/{process}/task")).context("cannot list the threads")? {
            let thread = entry?.file_name().to_string_lossy().parse().context("no thread id")?;
            let counter = Builder::new(Tracepoint::with_id(id))
                .observe_pid(thread)
                .any_cpu()
                .include_kernel()
                .inherit(true)
                .build();
            match counter {
                Ok(counter) => counters.push(counter),
                // The thread has ended since it was listed.
                Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => (),
                Err(error) => return Err(error).context("the kernel refuses the counter"),
            }
        }
        ensure!(!counters.is_empty(), "the process is gone");
        counters.iter_mut().try_for_each(Counter::enable).context("the counter cannot be started")?;
        Ok(Self(counters))
    }

    /// Ends counting; the calls made since the start.
    pub(crate) fn finish(mut self) -> Result<u64> {
        self.0.iter_mut().try_for_each(Counter::disable)?;
        self.0.iter_mut().map(|counter| Ok(counter.read()?)).sum()
    }
}

/// Why system calls cannot be counted from outside by this user, if so.
pub(crate) fn refusal() -> Option<String> {
    SyscallCounter::start(std::process::id()).err().map(|error| format!("{error:#}"))
}

fn tracepoint() -> Result<u64> {
    let read = PLACES.iter().find_map(|place| fs::read_to_string(format!("{place}{NAME}")).ok());
    let id = read.context("the tracepoint raw_syscalls:sys_enter cannot be read (needs root and tracefs)")?;
    id.trim().parse().context("the tracepoint has no id")
}

const PLACES: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
const NAME: &str = "/events/raw_syscalls/sys_enter/id";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_a_process_are_counted_where_tracepoints_are_allowed() {
        if let Some(refusal) = refusal() {
            println!("not checked: {refusal}");
            return;
        }
        let counter = SyscallCounter::start(std::process::id()).unwrap();
        for _ in 0..1000 {
            let _ = rustix::process::getppid();
        }
        let counted = counter.finish().unwrap();
        assert!(counted >= 1000, "{counted}");
    }
}
