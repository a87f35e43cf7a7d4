//! The narrow seam between a shard and the kernel: a handful of operations, owned by the ring while the kernel
//! may touch what they refer to.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use qwormhole_proto::{PeerInfo, RecvBuffer, Time, Transmit};

/// Tells the shard what a completion belongs to. Chosen by the shard, opaque to the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

/// Names an operation in flight, for [`Ring::cancel`]. Never reused while the operation is in flight; a stale
/// one names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpId(pub u64);

/// One operation. What it refers to belongs to the ring until its last completion.
pub enum Op<R: Ring + ?Sized> {
    /// Accept connections until cancelled or ended by the kernel (multishot).
    Accept {
        /// The listening socket.
        listener: Arc<R::Socket>,
    },
    /// Receive into buffers of the pool: until cancelled or ended (multishot), or once on kernels that cannot.
    Recv {
        /// The socket to read from.
        socket: Arc<R::Socket>,
    },
    /// Send everything in `transmit`, as far as the kernel goes.
    Send {
        /// The socket to write to.
        socket: Arc<R::Socket>,
        /// The bytes; they come back with the completion.
        transmit: Transmit,
    },
    /// Connect.
    Connect {
        /// A fresh socket.
        socket: Arc<R::Socket>,
        /// Where to.
        addr: R::Addr,
    },
}

impl<R: Ring + ?Sized> fmt::Debug for Op<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accept { .. } => "Accept",
            Self::Recv { .. } => "Recv",
            Self::Send { .. } => "Send",
            Self::Connect { .. } => "Connect",
        })
    }
}

/// What the kernel says about an operation, with the resources that come back. Dropping a completion releases
/// its resources: an accepted socket is closed, a buffer returns to the pool.
pub struct Completion<R: Ring + ?Sized> {
    /// The token given to [`Ring::push`].
    pub token: Token,
    /// The kernel's result: a count, or a negative errno.
    pub result: i32,
    /// Whether the operation goes on; when false, this was its last completion.
    pub more: bool,
    /// An accepted socket.
    pub socket: Option<R::Socket>,
    /// A filled receive buffer; `result` bytes long.
    pub buffer: Option<R::Buffer>,
    /// What was to be sent, with the last completion of a send.
    pub transmit: Option<Transmit>,
}

impl<R: Ring + ?Sized> fmt::Debug for Completion<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completion")
            .field("token", &self.token)
            .field("result", &self.result)
            .field("more", &self.more)
            .field("has_buffer", &self.buffer.is_some())
            .finish_non_exhaustive()
    }
}

/// A socket as far as the shard handles it outside of operations. Dropping the last handle closes it.
pub trait RingSocket: Send + Sync + 'static {
    /// Who is at the other end; never fails, what cannot be found out is unknown.
    fn peer_info(&self) -> PeerInfo;
    /// Ends the write side: the peer sees an end of stream after everything sent before.
    fn shutdown_write(&self);
}

/// Counters of a ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingStats {
    /// Enters that submitted or waited.
    pub enters: u64,
    /// Enters made only to look for completions.
    pub spin_enters: u64,
    /// Times the completion queue was found overflowed.
    pub overflows: u64,
}

/// Submission and completion of one shard. Not shared between threads.
///
/// Memory safety rests on two rules that every implementation keeps: an operation's resources are owned by the
/// ring until the completion with `more == false` was popped, and dropping the ring ends all operations
/// first, or leaks what it cannot end.
pub trait Ring: 'static {
    /// A connected or listening socket.
    type Socket: RingSocket;
    /// A filled receive buffer. It returns to the pool when dropped, or when the last lease of it is dropped,
    /// on any thread; when the pool had no other, that wakes a ring that sleeps.
    type Buffer: RecvBuffer;
    /// A socket address.
    type Addr: Clone + fmt::Debug + Send + 'static;

    /// Queues an operation. It is submitted with the next [`Ring::enter`]; when the queue is full, at once.
    fn push(&mut self, token: Token, op: Op<Self>) -> OpId;

    /// Asks that an operation ends soon. Its last completion still comes, possibly with success.
    fn cancel(&mut self, op: OpId);

    /// Submits what is queued and, when `wait` is not zero, blocks until a completion is there or `wait` has
    /// passed (`None`: without limit). Being woken through the [`Waker`](Ring::waker) counts as a completion.
    ///
    /// # Errors
    ///
    /// Only what makes the ring unusable; interruptions and full queues are handled inside.
    fn enter(&mut self, wait: Option<Duration>) -> io::Result<()>;

    /// Whether completions are ready to be popped; never enters the kernel.
    fn is_ready(&mut self) -> bool;

    /// The next completion that is ready; never blocks. Wake-ups are not reported.
    fn pop(&mut self) -> Option<Completion<Self>>;

    /// Receive buffers that nobody holds. Zero means that receives end with `-ENOBUFS`.
    fn free_buffers(&self) -> usize;

    /// Those of them that receives submitted with the next [`Ring::enter`] can find.
    fn buffers_within_reach(&self) -> usize {
        self.free_buffers()
    }

    /// Receive buffers of the pool in all.
    fn buffers(&self) -> usize;

    /// Pushed operations whose last completion was not popped yet; what the ring needs for itself (its wake-up)
    /// does not count.
    fn in_flight(&self) -> usize;

    /// The monotonic clock, in nanoseconds since any epoch.
    fn now(&self) -> Time;

    /// Wakes a thread that sleeps in [`Ring::enter`]; callable from any thread.
    fn waker(&self) -> Arc<dyn Fn() + Send + Sync>;

    /// Ends every operation and gives the kernel's resources back; nothing can be pushed afterwards. Returns
    /// how many bytes had to be left to the kernel because it did not confirm an end in time.
    fn close(&mut self) -> u64;

    /// Counters since the start.
    fn stats(&self) -> RingStats;
}
