//! What all connections of one shard share.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::chunk::ChunkPool;
use crate::id::ConnId;
use crate::remote::Port;
use crate::slicer::{Slicer, Slicing};
use crate::stats::ShardStats;
use crate::time::Time;
use crate::transmit::Transmit;
use crate::unfinished::Unfinished;

/// The shared state of a shard: the turn's time, recycled memory, counters, the user's service.
///
/// Owned by the driver's loop and passed down to every [`Session`](crate::Session) call.
pub struct ShardLocal {
    /// The time of this turn; the driver reads its clock once per turn.
    pub now: Time,
    /// The wall clock at [`Time::ZERO`], in milliseconds since 1970. The driver reads it once at the start; a
    /// clock that is set later is not followed. Zero where nobody asks for the wall clock.
    pub unix_ms_at_zero: u64,
    /// Recycled buffers.
    pub pool: ChunkPool,
    /// Counters of the shard.
    pub stats: ShardStats,
    /// Shard-wide state of the user; reached through [`Context::service`](crate::Context::service).
    pub service: Box<dyn Any>,
    /// How other threads reach the shard's connections.
    pub port: Arc<dyn Port>,
    /// Where [`ShardLocal::random`] goes on; drivers set it from the system's randomness.
    pub random_state: u64,
    /// How much of one connection's output is submitted at once.
    pub(crate) slicer: Slicer,
    pub(crate) unfinished: Unfinished,
    transmits: Vec<Transmit>,
    transmits_made: usize,
    arena: BytesMut,
}

impl ShardLocal {
    /// State of a shard that has not begun to turn.
    pub fn new(service: Box<dyn Any>, port: Arc<dyn Port>) -> Self {
        Self {
            now: Time::ZERO,
            unix_ms_at_zero: 0,
            pool: ChunkPool::default(),
            stats: ShardStats::default(),
            slicer: Slicer::default(),
            service,
            port,
            random_state: 0,
            unfinished: Unfinished::default(),
            transmits: Vec::new(),
            transmits_made: 0,
            arena: BytesMut::new(),
        }
    }

    /// Sets the wall clock: the time since 1970 at the present [`ShardLocal::now`].
    pub fn set_wall_clock(&mut self, since_1970: Duration) {
        let unix_ms = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
        self.unix_ms_at_zero = unix_ms.saturating_sub(self.now.as_nanos() / NANOS_PER_MS);
    }

    /// The wall clock of this turn, in milliseconds since 1970.
    pub const fn unix_ms(&self) -> u64 {
        self.unix_ms_at_zero.saturating_add(self.now.as_nanos() / NANOS_PER_MS)
    }

    /// Sets how much of one connection's output is submitted at once.
    pub fn set_slicing(&mut self, slicing: Slicing) {
        self.slicer = Slicer::new(slicing);
    }

    /// What was submitted since the last call is handed to the kernel now: whether the driver should time that and call
    /// [`ShardLocal::note_handed_over`].
    #[inline]
    pub const fn begin_hand_over(&mut self) -> bool {
        self.slicer.begin_hand_over()
    }

    /// The transport takes nothing now: what was to be handed over is handed over later.
    pub const fn put_off_hand_over(&mut self) {
        self.slicer.put_off();
    }

    /// Whether a submission of `len` bytes is a connection's whole turn.
    pub const fn is_slice(&self, len: usize) -> bool {
        len >= self.slicer.bytes()
    }

    /// What was submitted was handed to the kernel between `begun` and `now`.
    pub fn note_handed_over(&mut self, begun: Time, now: Time) {
        self.slicer.note_handed_over(now, now.saturating_since(begun));
        let slicing = self.slicer.stats();
        (self.stats.slice_changes, self.stats.slice_doubts) = (slicing.changes, slicing.doubts);
    }

    /// Makes what the connections open now may need at the same time: for each one submission in flight and
    /// one being filled. Done as connections open, the steady state then allocates nothing even at a late
    /// peak. At most [`STOCK_MAX`] connections' worth: 1.2 MiB.
    pub(crate) fn stock(&mut self) {
        let connections = usize::try_from(self.stats.connections).unwrap_or(usize::MAX).min(STOCK_MAX);
        self.pool.stock(2 * connections);
        while self.transmits_made < connections {
            self.transmits_made += 1;
            self.transmits.push(Transmit::with_room());
        }
        let open = usize::try_from(self.stats.connections).unwrap_or(usize::MAX).min(TRANSMITS_MAX);
        self.transmits.reserve(open.saturating_sub(self.transmits.len()));
    }

    /// A number that does not come again: SplitMix64 (Steele, Lea, Flood 2014). Not a secret.
    pub fn random(&mut self) -> u64 {
        self.random_state = self.random_state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random_state ^ (self.random_state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// An empty transmit whose list has been used before, if one is at hand.
    pub fn take_transmit(&mut self) -> Transmit {
        self.transmits.pop().unwrap_or_default()
    }

    /// Takes a transmit back whose bytes were sent or are no longer wanted.
    pub fn give_transmit(&mut self, mut transmit: Transmit) {
        transmit.recycle(&mut self.pool);
        if self.transmits.len() < TRANSMITS_MAX {
            self.transmits.push(transmit);
        }
    }

    /// Copies a short message into memory shared with its neighbours: one allocation per 64 KiB.
    pub(crate) fn copy_small(&mut self, bytes: &[u8]) -> Bytes {
        if self.arena.capacity() - self.arena.len() < bytes.len() {
            self.arena = BytesMut::with_capacity(ARENA_LEN.max(bytes.len()));
        }
        self.arena.extend_from_slice(bytes);
        self.arena.split().freeze()
    }
}

/// For simulations and tests: no service, and nobody to wake.
impl Default for ShardLocal {
    fn default() -> Self {
        Self::new(Box::new(()), Arc::new(NoPort))
    }
}

impl fmt::Debug for ShardLocal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardLocal")
            .field("now", &self.now)
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

struct NoPort;

impl Port for NoPort {
    fn post(&self, _id: ConnId) {}
}

const NANOS_PER_MS: u64 = 1_000_000;
/// Lists kept for reuse: as many submissions as a turn usually makes.
const TRANSMITS_MAX: usize = 1024;
/// More connections than this rarely answer in the same instant.
const STOCK_MAX: usize = 256;
/// Small messages that outlive their handler share memory by this much.
const ARENA_LEN: usize = 64 << 10;
