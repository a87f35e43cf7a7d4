//! What the process holds: descriptors and threads.

use std::fs;
use std::time::{Duration, Instant};

use super::PATIENCE;

/// Descriptors and threads of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resources {
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
}

impl Resources {
    pub(crate) fn now() -> Self {
        let count = |folder: &str| fs::read_dir(folder).expect("proc is mounted").count();
        Self { descriptors: count("/proc/self/fd"), threads: count("/proc/self/task") }
    }

    /// Waits until the process holds no more than it did; the kernel releases some things a little late.
    pub(crate) fn assert_back(self) {
        let start = Instant::now();
        loop {
            let now = Self::now();
            if now.descriptors <= self.descriptors && now.threads <= self.threads {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{now:?} instead of {self:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
