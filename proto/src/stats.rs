//! Counters. Plain numbers, never payloads.

/// What one connection has moved so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionStats {
    /// Bytes received, headers included.
    pub bytes_in: u64,
    /// Bytes the kernel took, headers included.
    pub bytes_out: u64,
    /// Messages handed to the handler.
    pub messages_in: u64,
    /// Messages accepted for sending.
    pub messages_out: u64,
    /// How often the handler was told to go on after being backed up.
    pub drains: u64,
}

/// What one shard has done so far. Counters a backend has no use for stay zero.
///
/// Other threads see the counters of the last turn; what happened on a connection is counted before its peer can
/// see the connection end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShardStats {
    /// Connections open now.
    pub connections: u64,
    /// Connections opened since the start.
    pub opened: u64,
    /// Connections closed since the start.
    pub closed: u64,
    /// Connections refused by admission: too many, or not allowed.
    pub refused: u64,
    /// Connections that ended after admission and before their handler was opened.
    pub rejected: u64,
    /// Messages handed to handlers.
    pub messages_in: u64,
    /// Messages accepted for sending.
    pub messages_out: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes the kernel took.
    pub bytes_out: u64,
    /// Times an outbox reached its high watermark or refused a message; each is owed one drain.
    pub backpressure_events: u64,
    /// Times such an outbox fell back to its low watermark.
    pub drains: u64,
    /// Broadcasts that a peer missed because it reads too slowly, one per peer.
    pub broadcasts_missed: u64,
    /// Handlers that panicked; each closed its own connection only.
    pub panics: u64,
    /// Turns of the shard's loop.
    pub turns: u64,
    /// `io_uring_enter` calls that submitted or waited for work.
    pub enters: u64,
    /// `io_uring_enter` calls made only to look for completions while spinning.
    pub spin_enters: u64,
    /// Completions reaped.
    pub completions: u64,
    /// Submissions that the kernel took only in part.
    pub short_sends: u64,
    /// Receives that paused because no buffer was free.
    pub starved: u64,
    /// Turns that found the completion queue overflowed.
    pub overflows: u64,
    /// Times another thread had to wake the shard.
    pub wakes: u64,
    /// Times that measurements changed how much of one connection is submitted at once.
    pub slice_changes: u64,
    /// Measurements for that which could not be true.
    pub slice_doubts: u64,
}

impl ShardStats {
    /// Adds the counters of another shard.
    pub fn add(&mut self, other: &Self) {
        let sum = |mine: &mut u64, theirs: u64| *mine += theirs;
        sum(&mut self.connections, other.connections);
        sum(&mut self.opened, other.opened);
        sum(&mut self.closed, other.closed);
        sum(&mut self.refused, other.refused);
        sum(&mut self.rejected, other.rejected);
        sum(&mut self.messages_in, other.messages_in);
        sum(&mut self.messages_out, other.messages_out);
        sum(&mut self.bytes_in, other.bytes_in);
        sum(&mut self.bytes_out, other.bytes_out);
        sum(&mut self.backpressure_events, other.backpressure_events);
        sum(&mut self.drains, other.drains);
        sum(&mut self.broadcasts_missed, other.broadcasts_missed);
        sum(&mut self.panics, other.panics);
        sum(&mut self.turns, other.turns);
        sum(&mut self.enters, other.enters);
        sum(&mut self.spin_enters, other.spin_enters);
        sum(&mut self.completions, other.completions);
        sum(&mut self.short_sends, other.short_sends);
        sum(&mut self.starved, other.starved);
        sum(&mut self.overflows, other.overflows);
        sum(&mut self.wakes, other.wakes);
        sum(&mut self.slice_changes, other.slice_changes);
        sum(&mut self.slice_doubts, other.slice_doubts);
    }
}
