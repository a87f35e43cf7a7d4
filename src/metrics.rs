//! Publishes telemetry through the `metrics` facade.

use metrics::{counter, gauge};

use crate::telemetry::Telemetry;

/// What of one server was published so far. Differences are published, so that several servers of a process add
/// up under the same names.
#[derive(Debug, Default)]
pub(crate) struct Published(Telemetry);

impl Published {
    /// Publishes what has changed.
    pub(crate) fn update(&mut self, now: &Telemetry) {
        let before = std::mem::replace(&mut self.0, *now);
        gauge!("qwormhole_connections").increment(now.connections as f64 - before.connections as f64);
        counter!("qwormhole_bytes_total", "dir" => "in").increment(now.bytes_in - before.bytes_in);
        counter!("qwormhole_bytes_total", "dir" => "out").increment(now.bytes_out - before.bytes_out);
        counter!("qwormhole_frames_total", "dir" => "in").increment(now.messages_in - before.messages_in);
        counter!("qwormhole_frames_total", "dir" => "out").increment(now.messages_out - before.messages_out);
        counter!("qwormhole_opened_total").increment(now.opened - before.opened);
        counter!("qwormhole_closed_total").increment(now.closed - before.closed);
        counter!("qwormhole_refused_total").increment(now.refused - before.refused);
        counter!("qwormhole_rejected_total").increment(now.rejected - before.rejected);
        counter!("qwormhole_backpressure_total")
            .increment(now.backpressure_events - before.backpressure_events);
        counter!("qwormhole_drains_total").increment(now.drain_events - before.drain_events);
        counter!("qwormhole_broadcasts_missed_total")
            .increment(now.broadcasts_missed - before.broadcasts_missed);
        counter!("qwormhole_panics_total").increment(now.panics - before.panics);
        counter!("qwormhole_enobufs_total").increment(now.starved - before.starved);
    }
}
