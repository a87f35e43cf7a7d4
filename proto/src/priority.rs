//! Which of a connection's queued frames goes first.

/// Priority of an outbound frame: **lower goes sooner**, first in first out among equals.
///
/// A frame that has begun to leave is never interrupted, and nothing protects low priorities from starving.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Priority(pub i32);

impl Priority {
    /// What `send` uses.
    pub const DEFAULT: Self = Self(0);
    /// The handshake frame: before everything else.
    pub const HANDSHAKE: Self = Self(-100);
    /// The client heartbeat: behind everything else.
    pub const HEARTBEAT: Self = Self(100);
}
