//! Whether an open loop kept its rate.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::job::Snapshot;

/// The asked rate of a window and what became of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Saturation {
    /// Messages per second.
    pub(crate) asked: f64,
    /// The client at the two ends of the window.
    pub(crate) client: (Snapshot, Snapshot),
}

impl Saturation {
    /// # Errors
    ///
    /// When the backlog grew, and whose fault that is: such figures depend on how long was measured.
    pub(crate) fn check(&self) -> Result<()> {
        let (begin, end) = &self.client;
        let seconds = end.at_ns.saturating_sub(begin.at_ns).max(1) as f64 / 1e9;
        let behind_max = (seconds * BEHIND_SHARE_MAX).max(BEHIND_MAX.as_secs_f64());
        let answered = end.received.saturating_sub(begin.received) as f64;
        let due = end.due.saturating_sub(begin.due) as f64;
        let (per_s, asked) = (answered / seconds, self.asked);
        let busy = end.cpu_ns.saturating_sub(begin.cpu_ns) as f64 / 1e9 / seconds;
        if due / asked < seconds - behind_max || (due - answered) / asked > behind_max && busy > BUSY {
            bail!(
                "the load generator is saturated: {per_s:.0} of {asked:.0} msgs/s, its thread busy {:.0} % of the time",
                busy.min(1.0) * 100.0
            );
        }
        if (due - answered) / asked > behind_max {
            bail!(
                "saturated: the server answered {per_s:.0} of {asked:.0} msgs/s, so the backlog grows; \
                 ask for less, or allow more with --connections and --depth"
            );
        }
        Ok(())
    }
}

/// How far the answers may fall back within a window: one hiccup at its end.
const BEHIND_MAX: Duration = Duration::from_millis(50);
/// The same as a share of longer windows.
const BEHIND_SHARE_MAX: f64 = 0.01;
/// From here on a thread that waits for events has no time left to wait.
const BUSY: f64 = 0.9;

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(due: u64, received: u64, cpu_ms: u64) -> Result<()> {
        let begin = Snapshot { at_ns: 5, due: 1000, received: 1000, ..Snapshot::default() };
        let end = Snapshot {
            at_ns: 2_000_000_005,
            due: 1000 + due,
            received: 1000 + received,
            cpu_ns: cpu_ms * 1_000_000,
            ..Snapshot::default()
        };
        Saturation { asked: 10_000.0, client: (begin, end) }.check()
    }

    #[test]
    fn a_rate_that_is_kept_but_for_a_hiccup_is_a_result() {
        assert!(outcome(20_000, 20_000, 1990).is_ok());
        assert!(outcome(20_000, 19_600, 100).is_ok());
    }

    #[test]
    fn a_growing_backlog_is_the_servers_unless_the_generator_is_busy() {
        let told = |due, received, cpu_ms| outcome(due, received, cpu_ms).unwrap_err().to_string();
        assert!(told(20_000, 19_000, 100).starts_with("saturated: the server answered 9500 of 10000"));
        assert!(told(20_000, 19_000, 1900).contains("generator is saturated"));
        assert!(told(18_000, 18_000, 100).contains("generator is saturated"));
    }
}
