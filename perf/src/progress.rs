//! The live line on standard error.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

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
        if let Ok(style) = ProgressStyle::with_template("{prefix:<22} {msg:<22} [{bar:30}] {elapsed}") {
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

    /// Shows how much of the part is over, and the message rate if known.
    pub(crate) fn tick(&self, elapsed: Duration, per_s: Option<f64>) {
        if let Some(per_s) = per_s {
            self.bar.set_message(format!("{per_s:.0} msgs/s"));
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

const INTERVAL: Duration = Duration::from_millis(250);
const UNSEEN: Duration = Duration::from_secs(3600);
