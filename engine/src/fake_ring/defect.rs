//! Faults that can be seeded at the seam, to show that the schedules find them.

/// A fault of the kernel, or one of the shard or the ring that has the same effect at the seam between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Defect {
    /// A completion vanishes with its resources.
    CompletionLost,
    /// The bytes of a submission leave twice, as if it had been pushed twice.
    SentTwice,
    /// A leased buffer returns to the pool at once and is overwritten.
    BufferReturnedEarly,
    /// A short send is taken for a full one.
    ShortSendTakenAsFull,
    /// A receive that found no buffer is taken for the end of the stream.
    StarvedTakenAsEnd,
    /// A slot is given away before its receive has ended: late data reaches the slot's next connection.
    StaleToken,
    /// A multishot operation that has ended is taken for one that goes on.
    EndedTakenAsMore,
    /// Cancelling has no effect, ever.
    CancelIgnored,
    /// An accepted socket is dropped on the way.
    SocketLost,
    /// Two receive completions of one connection change places.
    RecvReordered,
    /// A transmit is given back, and its memory used again, while the kernel still reads it.
    TransmitReturnedEarly,
    /// Waking a sleeping shard has no effect.
    WakeLost,
}

impl Defect {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::CompletionLost,
        Self::SentTwice,
        Self::BufferReturnedEarly,
        Self::ShortSendTakenAsFull,
        Self::StarvedTakenAsEnd,
        Self::StaleToken,
        Self::EndedTakenAsMore,
        Self::CancelIgnored,
        Self::SocketLost,
        Self::RecvReordered,
        Self::TransmitReturnedEarly,
        Self::WakeLost,
    ];
}
