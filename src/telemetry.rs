//! What a server or a client has done so far, in one piece.

use qwormhole_proto::ShardStats;

/// Counters over all shards since the start; `connections` is of now. A snapshot is at most one turn old.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Telemetry {
    /// Bytes received, frame headers included.
    pub bytes_in: u64,
    /// Bytes the kernel took, frame headers included.
    pub bytes_out: u64,
    /// Messages handed to handlers.
    pub messages_in: u64,
    /// Messages accepted for sending; a broadcast counts once per peer.
    pub messages_out: u64,
    /// Connections open now.
    pub connections: u64,
    /// Connections opened.
    pub opened: u64,
    /// Connections closed.
    pub closed: u64,
    /// Connections refused: too many, or not allowed by the hook.
    pub refused: u64,
    /// Connections that ended after admission and before their handler was opened.
    pub rejected: u64,
    /// Times a connection became backed up; each is followed by a drain or by the connection's end.
    pub backpressure_events: u64,
    /// Times a backed up connection fell back to its low watermark.
    pub drain_events: u64,
    /// Broadcasts that a peer missed because it reads too slowly, one per peer.
    pub broadcasts_missed: u64,
    /// Panics of handlers and hooks; each was contained.
    pub panics: u64,
    /// Receives that paused because no receive buffer was free.
    pub starved: u64,
}

impl Telemetry {
    /// The sum over shards.
    pub fn of(shards: &[ShardStats]) -> Self {
        let mut sum = ShardStats::default();
        shards.iter().for_each(|shard| sum.add(shard));
        Self {
            bytes_in: sum.bytes_in,
            bytes_out: sum.bytes_out,
            messages_in: sum.messages_in,
            messages_out: sum.messages_out,
            connections: sum.connections,
            opened: sum.opened,
            closed: sum.closed,
            refused: sum.refused,
            rejected: sum.rejected,
            backpressure_events: sum.backpressure_events,
            drain_events: sum.drains,
            broadcasts_missed: sum.broadcasts_missed,
            panics: sum.panics,
            starved: sum.starved,
        }
    }
}
