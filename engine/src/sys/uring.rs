//! The ring on io_uring.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use io_uring::types::Timespec;
use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue, types};
use qwormhole_proto::Time;
use socket2::SockAddr;

use super::buffer_ring::BufferRing;
use super::ops::{Key, Kind, OpTable, fd};
use super::pool::PoolBuffer;
use super::setup::Plan;
use super::socket::Socket;
use super::syscall::RingFd;
use super::waker::Waker;
use crate::probe::{Refusal, probe};
use crate::ring::{Completion, Op, OpId, Ring, RingStats, Token};

/// How large a ring is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingOptions {
    /// Receive buffers, 1 to 32,768. Default 512: with `buffer_len` 8 MiB, touched as they are used.
    pub buffers: u16,
    /// Bytes of a receive buffer. Default 16 KiB: one TLS record or a burst of small frames.
    pub buffer_len: usize,
    /// Connections the ring will serve; sizes the completion queue. Default 1,024.
    pub connections_max: u32,
    /// Submission queue entries. Default 256: more than that are submitted in several steps.
    pub sq_entries: u32,
}

impl Default for RingOptions {
    fn default() -> Self {
        Self { buffers: 512, buffer_len: 16 << 10, connections_max: 1024, sq_entries: 256 }
    }
}

impl RingOptions {
    /// Room for a completion per buffer and per connection's send and receive, twice: a burst must not
    /// overflow the queue, because that ends every multishot operation.
    fn cq_entries(&self) -> u32 {
        let wanted = 2 * (u32::from(self.buffers) + self.connections_max.min(CQ_MAX));
        wanted.clamp(CQ_DEFAULT_MIN, CQ_MAX).next_power_of_two()
    }

    /// Memory the kernel locks for such a ring, in bytes, as charged against the memlock limit.
    pub(crate) fn memlock_bytes(&self) -> u64 {
        let slots = usize::from(self.buffers).next_power_of_two() as u64;
        64 * u64::from(self.sq_entries) + 16 * u64::from(self.cq_entries()) + 16 * slots + (4 << 10)
    }
}

/// A ring of the kernel with its receive buffers. Belongs to the thread that made it.
///
/// Dropping it ends all operations; what the kernel does not give back within a second is leaked.
pub struct UringRing {
    // Dropped first: the memory below outlives the ring.
    pub(super) ring: IoUring,
    pub(super) fd: RingFd,
    pub(super) table: OpTable,
    pub(super) buffers: BufferRing,
    /// Entries that found the submission queue full.
    pub(super) backlog: VecDeque<squeue::Entry>,
    pub(super) waker: Arc<Waker>,
    wake: Arc<dyn Fn() + Send + Sync>,
    /// The poll of the waker is queued or in flight.
    pub(super) waker_armed: bool,
    /// Polls beside receives that are queued or in flight.
    pub(super) watches: usize,
    /// The end has begun: the waker is no longer needed.
    pub(super) closing: bool,
    /// The end is over: nothing reaches the kernel any more.
    pub(super) closed: bool,
    plan: Plan,
    epoch: Instant,
    stats: RingStats,
    /// The kernel ties the ring to the thread.
    _not_send: PhantomData<*const ()>,
}

impl UringRing {
    /// A ring for a shard of up to `connections_max` connections, on the calling thread.
    ///
    /// # Errors
    ///
    /// Why io_uring cannot be used here, in words.
    pub fn new(connections_max: u32) -> Result<Self, Refusal> {
        Self::with_options(&RingOptions { connections_max, ..RingOptions::default() })
    }

    /// A ring of chosen size, on the calling thread.
    ///
    /// # Errors
    ///
    /// As [`UringRing::new`].
    pub fn with_options(options: &RingOptions) -> Result<Self, Refusal> {
        let plan = probe()?.plan();
        Self::build(plan, options).map_err(|error| Refusal::from_setup(&error, options.memlock_bytes()))
    }

    /// Opens the ring. A lack of lockable memory is waited out: the memory of closed rings is given back late.
    /// If that does not help, the completion queue shrinks before the ring is refused.
    pub(super) fn build(plan: Plan, options: &RingOptions) -> io::Result<Self> {
        let patience = Instant::now() + NOMEM_PATIENCE;
        let mut cq_entries = options.cq_entries();
        loop {
            match Self::assemble(plan, options, cq_entries) {
                Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => {
                    if Instant::now() < patience {
                        thread::sleep(NOMEM_PAUSE);
                    } else if cq_entries > CQ_MIN {
                        cq_entries /= 2;
                    } else {
                        return Err(error);
                    }
                }
                done => return done,
            }
        }
    }

    fn assemble(plan: Plan, options: &RingOptions, cq_entries: u32) -> io::Result<Self> {
        let waker = Arc::new(Waker::new()?);
        let buffers = BufferRing::new(options.buffers, options.buffer_len, waker.clone())?;
        let ring = plan.setup.open(options.sq_entries, cq_entries)?;
        buffers.register(&ring)?;
        let wake = waker.clone();
        Ok(Self {
            fd: RingFd::register(ring.as_raw_fd()),
            ring,
            table: OpTable::default(),
            buffers,
            backlog: VecDeque::new(),
            waker,
            wake: Arc::new(move || wake.wake()),
            waker_armed: false,
            watches: 0,
            closing: false,
            closed: false,
            plan,
            epoch: Instant::now(),
            stats: RingStats::default(),
            _not_send: PhantomData,
        })
    }

    /// Queues an entry; when the queue is full, submits first. The entry is never lost: what the kernel does
    /// not take now waits in the backlog.
    pub(super) fn queue(&mut self, entry: squeue::Entry) {
        if self.closed {
            return;
        }
        if self.backlog.is_empty() && self.try_queue(&entry) {
            return;
        }
        self.backlog.push_back(entry);
        self.flush_backlog();
    }

    /// Puts an entry into the submission queue, if there is room.
    fn try_queue(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: what the entry refers to belongs to the operation table until the last completion, and the
        // table is dropped only after the ring has ended all operations, or leaked
        // (`a_ring_dropped_in_flight_leaves_nothing_behind`).
        unsafe { self.ring.submission().push(entry) }.is_ok()
    }

    /// Moves the backlog into the submission queue as far as the kernel takes entries.
    pub(super) fn flush_backlog(&mut self) {
        let mut stuck = false;
        while let Some(entry) = self.backlog.pop_front() {
            if self.try_queue(&entry) {
                stuck = false;
                continue;
            }
            self.backlog.push_front(entry);
            if stuck {
                return;
            }
            stuck = true;
            self.submit();
        }
    }

    /// Submits without waiting. What goes wrong shows again at the next enter.
    fn submit(&mut self) {
        self.buffers.reclaim();
        let queued = self.ring.submission().len() as u32;
        self.stats.enters += 1;
        let _ = self.fd.enter(queued, 0, EnterFlags::empty(), None);
    }

    /// Keeps the waker's poll in flight. The kernel may end it, as any multishot operation.
    fn arm_waker(&mut self) {
        if !self.waker_armed && !self.closing {
            self.waker_armed = true;
            let poll = opcode::PollAdd::new(types::Fd(self.waker.raw()), libc::POLLIN as u32).multi(true);
            self.queue(poll.build().user_data(Key::Wake.encode()));
        }
    }

    /// Enters until everything queued was taken, or the kernel cannot take more now.
    fn enter_until(&mut self, deadline: Option<Instant>, mut block: bool) -> io::Result<()> {
        loop {
            let submission = self.ring.submission();
            let queued = submission.len() as u32;
            let overflow = submission.cq_overflow();
            let pending = submission.taskrun() || !self.plan.setup.taskrun_flag;
            drop(submission);
            self.stats.overflows += u64::from(overflow);
            if queued == 0 && !block && !overflow && !pending {
                return Ok(());
            }
            let works = queued > 0 || block;
            self.stats.enters += u64::from(works);
            self.stats.spin_enters += u64::from(!works);
            let timeout = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            match self.enter_once(queued, block, timeout) {
                Ok(taken) if taken > 0 && taken < queued => {}
                Ok(_) => return Ok(()),
                Err(error) => match error.raw_os_error() {
                    Some(libc::ETIME) => return Ok(()),
                    Some(libc::EINTR) => block &= deadline.is_none_or(|deadline| Instant::now() < deadline),
                    Some(libc::EAGAIN | libc::EBUSY) => return self.make_room(),
                    _ => return Err(error),
                },
            }
        }
    }

    pub(super) fn enter_once(&self, queued: u32, block: bool, timeout: Option<Duration>) -> io::Result<u32> {
        let mut flags = EnterFlags::GETEVENTS;
        if block && self.plan.no_iowait {
            flags |= EnterFlags::NO_IOWAIT;
        }
        let timeout = timeout.filter(|_| block).map(Timespec::from);
        self.fd.enter(queued, u32::from(block), flags, timeout.as_ref())
    }

    /// The kernel takes no entries: it lacks memory, or wants completions to be reaped. Brings completions,
    /// pausing shortly if there are none, so that the caller may retry at once.
    fn make_room(&mut self) -> io::Result<()> {
        match self.enter_once(0, true, Some(NO_ROOM_PAUSE)) {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                Some(libc::ETIME | libc::EINTR | libc::EAGAIN | libc::EBUSY) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// Turns what the kernel reports into a completion; `None` for what concerns the ring alone.
    fn complete(&mut self, entry: &cqueue::Entry) -> Option<Completion<Self>> {
        let more = cqueue::more(entry.flags());
        match Key::decode(entry.user_data()) {
            Key::Op(id) => self.complete_op(id, entry, more),
            Key::Cancel(id) => {
                // Between two steps of an operation the kernel does not find it; it is in flight all the same.
                if entry.result() == -libc::ENOENT && self.table.get(id).is_some() {
                    self.queue_cancel(id);
                }
                None
            }
            Key::Watch(id) => {
                self.watch_done(id, entry.result());
                None
            }
            Key::Wake => {
                self.waker_armed &= more;
                self.waker.acknowledge();
                None
            }
            Key::Unwatch(_) | Key::CancelAll => None,
        }
    }

    fn complete_op(&mut self, id: OpId, entry: &cqueue::Entry, more: bool) -> Option<Completion<Self>> {
        let bid = cqueue::buffer_select(entry.flags());
        let Some(op) = self.table.get(id) else {
            // Only a kernel that completes an operation twice gets here.
            bid.into_iter().for_each(|bid| self.buffers.doubt(bid));
            return None;
        };
        let mut completion = Completion {
            token: op.token,
            result: entry.result(),
            more,
            socket: None,
            buffer: None,
            transmit: None,
        };
        match op.kind {
            Kind::Accept { .. } if completion.result >= 0 => {
                // SAFETY: the kernel has just installed this descriptor for us, and says so once
                // (`a_ring_dropped_in_flight_leaves_nothing_behind` counts descriptors).
                completion.socket = Some(unsafe { Socket::from_accepted(completion.result) });
            }
            Kind::Recv { .. } => self.attach_buffer(&mut completion, bid),
            _ => {}
        }
        #[cfg(test)]
        if !more {
            self.table.get(id).into_iter().for_each(|op| super::guard::leave(&op.kind));
        }
        if !more && let Some(op) = self.table.remove(id) {
            if op.watched {
                self.unwatch(id);
            }
            if let Kind::Send { transmit, message, .. } = op.kind {
                completion.transmit = Some(transmit);
                message.into_iter().for_each(|message| self.table.recycle(message));
            }
        }
        Some(completion)
    }

    fn attach_buffer(&mut self, completion: &mut Completion<Self>, bid: Option<u16>) {
        match (usize::try_from(completion.result), bid) {
            (Ok(len @ 1..), Some(bid)) => {
                completion.buffer = self.buffers.take(bid, len);
                if completion.buffer.is_none() {
                    // The kernel names a buffer that it does not have: whatever arrived is lost.
                    completion.result = -libc::EIO;
                }
            }
            (Ok(1..), None) => completion.result = -libc::EIO,
            (_, Some(bid)) => self.buffers.doubt(bid),
            (_, None) if completion.result == -libc::ENOBUFS => self.buffers.note_starved(),
            (_, None) => {}
        }
    }

    fn queue_cancel(&mut self, id: OpId) {
        let cancel = opcode::AsyncCancel::new(Key::Op(id).encode()).build();
        self.queue(cancel.user_data(Key::Cancel(id).encode()));
    }
}

impl Ring for UringRing {
    type Socket = Socket;
    type Buffer = PoolBuffer;
    type Addr = SockAddr;

    fn push(&mut self, token: Token, op: Op<Self>) -> OpId {
        let multishot = self.plan.recv_multishot;
        let watched = match &op {
            Op::Recv { socket } if multishot => Some(fd(socket)),
            _ => None,
        };
        let (id, entry) = self.table.insert(token, op, multishot);
        self.queue(entry);
        watched.into_iter().for_each(|fd| self.watch(id, fd));
        id
    }

    fn cancel(&mut self, op: OpId) {
        if self.table.cancel(op) {
            self.queue_cancel(op);
        }
    }

    fn enter(&mut self, wait: Option<Duration>) -> io::Result<()> {
        if self.closed {
            return Ok(());
        }
        self.arm_waker();
        self.flush_backlog();
        let low = self.buffers.is_low();
        let returned = self.buffers.reclaim();
        let mut block =
            wait != Some(Duration::ZERO) && self.backlog.is_empty() && self.ring.completion().is_empty();
        if block && low {
            // The caller may be waiting for a buffer: one that came back since it looked, or comes back before
            // the ring sleeps, ends the wait like one that comes back later.
            block = !returned && self.buffers.pool().want();
        }
        // A wait too long to express is a wait without limit.
        let deadline = wait.filter(|_| block).and_then(|wait| Instant::now().checked_add(wait));
        let entered = self.enter_until(deadline, block);
        if low {
            self.buffers.pool().unwant();
            self.buffers.reclaim();
        }
        entered
    }

    fn is_ready(&mut self) -> bool {
        !self.ring.completion().is_empty()
    }

    fn pop(&mut self) -> Option<Completion<Self>> {
        loop {
            let entry = self.ring.completion().next().filter(|_| !self.closed)?;
            if let Some(completion) = self.complete(&entry) {
                return Some(completion);
            }
        }
    }

    fn free_buffers(&self) -> usize {
        self.buffers.free()
    }

    fn buffers_within_reach(&self) -> usize {
        self.buffers.within_reach()
    }

    fn buffers(&self) -> usize {
        self.buffers.pool().buffers()
    }

    fn in_flight(&self) -> usize {
        self.table.len()
    }

    fn now(&self) -> Time {
        Time::from_nanos(u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn waker(&self) -> Arc<dyn Fn() + Send + Sync> {
        self.wake.clone()
    }

    fn stats(&self) -> RingStats {
        self.stats
    }

    fn close(&mut self) -> u64 {
        self.end()
    }
}

impl fmt::Debug for UringRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UringRing")
            .field("in_flight", &self.in_flight())
            .field("free_buffers", &self.free_buffers())
            .field("registered", &self.fd.is_registered())
            .finish_non_exhaustive()
    }
}

/// 84 KiB of locked memory together with 256 submission entries; small enough for 90 rings within the usual
/// 8 MiB.
const CQ_DEFAULT_MIN: u32 = 4096;
/// 160 KiB of locked memory: 50 shards within the usual 8 MiB. Deferred completions only arrive inside an enter,
/// which brings a bounded number of them, so that more connections need no longer queue; a queue that overflows
/// all the same loses nothing, it ends multishot operations, which are asked for again.
const CQ_MAX: u32 = 8 << 10;
/// Below this a ring would overflow in normal operation.
const CQ_MIN: u32 = 1024;
/// The kernel gives the memory of closed rings back within this time.
const NOMEM_PATIENCE: Duration = Duration::from_millis(500);
const NOMEM_PAUSE: Duration = Duration::from_millis(5);
/// How long to pause when the kernel takes no entries.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(1);
