//! The live line on standard error.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::figure::number;
use crate::job::Snapshot;

/// Shows how far a round is. Silent when standard error is no terminal, or when asked to be.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    title: String,
}

impl Progress {
    pub(crate) fn new(quiet: bool, title: String) -> Self {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{prefix:<32} {msg:<36} [{bar:20}] {elapsed}") {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { bar, title }
    }

    /// Begins a part of a round.
    pub(crate) fn begin(&self, what: &str, length: Duration) {
        self.bar.reset();
        self.bar.set_length(u64::try_from(length.as_millis()).unwrap_or(u64::MAX));
        self.bar.set_prefix(self.title.clone());
        self.bar.set_message(what.to_owned());
    }

    /// Shows how much of the part is over, and what is known of its figures.
    pub(crate) fn tick(&self, elapsed: Duration, live: &Live) {
        if let Some(text) = live.text() {
            self.bar.set_message(text);
        }
        self.bar.set_position(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
    }

    /// The part is over; the line disappears.
    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }

    /// How often to look; practically never when nobody sees it, since looking costs the processes a little.
    pub(crate) fn interval(&self) -> Duration {
        if self.bar.is_hidden() { UNSEEN } else { INTERVAL }
    }
}

/// Figures of the moment.
#[derive(Debug, Default)]
pub(crate) struct Live {
    last: Option<(u64, u64)>,
    per_s: Option<f64>,
    rtt_p99_ns: Option<u64>,
}

impl Live {
    /// Takes in what a process counted.
    pub(crate) fn note(&mut self, snapshot: &Snapshot) {
        let counted = snapshot.received;
        if let Some((at_ns, before)) = self.last {
            let seconds = snapshot.at_ns.saturating_sub(at_ns).max(1) as f64 / 1e9;
            self.per_s = Some(counted.saturating_sub(before) as f64 / seconds);
        }
        self.last = Some((snapshot.at_ns, counted));
        self.rtt_p99_ns = snapshot.rtt_p99_ns;
    }

    /// Messages of the last moment and the percentile of the window so far.
    fn text(&self) -> Option<String> {
        let rate = format!("{} msgs/s", number(self.per_s?));
        let p99 = self.rtt_p99_ns.map(|ns| format!(", p99 {} us", number(ns as f64 / 1e3)));
        Some(rate + &p99.unwrap_or_default())
    }
}

const INTERVAL: Duration = Duration::from_millis(250);
const UNSEEN: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64, received: u64, rtt_p99_ns: Option<u64>) -> Snapshot {
        Snapshot { at_ns: ms * 1_000_000, received, rtt_p99_ns, ..Snapshot::default() }
    }

    #[test]
    fn it_tells_the_last_moments_rate_and_the_windows_percentile() {
        let mut live = Live::default();
        live.note(&at(0, 0, None));
        assert_eq!(live.text(), None);
        live.note(&at(500, 1000, None));
        assert_eq!(live.text().unwrap(), "2,000 msgs/s");
        live.note(&at(1000, 1010, Some(34_800)));
        assert_eq!(live.text().unwrap(), "20.0 msgs/s, p99 34.8 us");
    }
}
