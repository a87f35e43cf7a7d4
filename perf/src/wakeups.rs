//! How often the threads of a process were woken.

use std::collections::BTreeMap;
use std::fs;

/// Voluntary context switches of every thread of a process, from `/proc/PID/task/TID/status`: each is a thread
/// that had nothing to do and was woken later.
#[derive(Clone, Debug)]
pub(crate) struct Wakeups(BTreeMap<u32, u64>);

impl Wakeups {
    /// The counts until now; `None` when the process is gone or the kernel does not tell.
    pub(crate) fn read(process: u32) -> Option<Self> {
        let mut threads = BTreeMap::new();
        for entry in fs::read_dir(format!("/proc/{process}/task")).ok()?.flatten() {
            let thread = entry.file_name().to_str()?.parse().ok()?;
            // A thread may end between the two looks.
            let Ok(status) = fs::read_to_string(entry.path().join("status")) else { continue };
            let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
            threads.insert(thread, count.trim().parse().ok()?);
        }
        Some(Self(threads))
    }

    /// How many there were since `earlier`, in the threads that still exist.
    pub(crate) fn since(&self, earlier: &Self) -> u64 {
        let before = |thread| earlier.0.get(thread).copied().unwrap_or(0);
        self.0.iter().map(|(thread, count)| count.saturating_sub(before(thread))).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_thread_that_sleeps_is_counted() {
        let process = std::process::id();
        let (told, wait) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let before = Wakeups::read(process).unwrap();
        let thread = std::thread::spawn(move || {
            (0..20).for_each(|_| std::thread::sleep(Duration::from_millis(1)));
            told.send(()).unwrap();
            let _ = ended.recv();
        });
        wait.recv().unwrap();
        let counted = Wakeups::read(process).unwrap().since(&before);
        assert!(counted >= 20, "{counted}");
        drop(end);
        thread.join().unwrap();
        assert!(Wakeups::read(u32::MAX).is_none());
    }
}
