//! A scripted kernel behind the [`Ring`] trait, for tests: sockets are byte streams in memory, time is a
//! number, and a stream of [`Choices`](choices::Choices) decides what becomes of every operation, when, and
//! in which order the shard hears of it. It does what a real kernel may do, on a bad day, and checks that the
//! shard keeps the rules of the seam.

pub(crate) mod choices;
pub(crate) mod coverage;
pub(crate) mod defect;
pub(crate) mod kernel;
pub(crate) mod net;
pub(crate) mod pool;

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use qwormhole_proto::Time;

use crate::fake_ring::coverage::Outcome;
use crate::fake_ring::defect::Defect;
use crate::fake_ring::kernel::{Flight, Ghost, Posted};
use crate::fake_ring::net::{FakeSocket, Net, SocketKind};
use crate::fake_ring::pool::{FakeBuffer, Pool};
use crate::ring::{Completion, Op, OpId, Ring, RingStats, Token};

/// What happens outside the shard while it is in the kernel: peers, and other threads.
pub(crate) trait Outside: 'static {
    /// Lets something happen; true when something did.
    fn act(&mut self) -> bool;
    /// Whether another thread has left something for the shard that it has not taken.
    fn has_mail(&self) -> bool;
}

/// Nothing happens, nobody posts.
impl Outside for () {
    fn act(&mut self) -> bool {
        false
    }

    fn has_mail(&self) -> bool {
        false
    }
}

/// The scripted ring.
pub(crate) struct FakeRing {
    net: Arc<Net>,
    pool: Pool,
    outside: Box<dyn Outside>,
    defect: Option<Defect>,
    /// Operations in the hands of the kernel.
    flights: Vec<Flight>,
    /// What the kernel has posted and the shard cannot see yet.
    posted: Vec<Posted>,
    /// What the shard can pop.
    ready: VecDeque<Posted>,
    /// Late data of a slot that was given away too early; only with that defect.
    ghosts: Vec<Ghost>,
    /// Pushed operations whose last completion was not popped.
    unfinished: usize,
    next_op: u64,
    /// The last enter slept without limit and nothing will ever wake it.
    rests: bool,
    closed: bool,
    stats: RingStats,
}

impl FakeRing {
    /// A ring over `net` with `pool` for its receives; `outside` acts while the shard is in the kernel.
    pub(crate) fn new(net: Arc<Net>, pool: Pool, outside: impl Outside, defect: Option<Defect>) -> Self {
        Self {
            net,
            pool,
            outside: Box::new(outside),
            defect,
            flights: Vec::new(),
            posted: Vec::new(),
            ready: VecDeque::new(),
            ghosts: Vec::new(),
            unfinished: 0,
            next_op: 1,
            rests: false,
            closed: false,
            stats: RingStats::default(),
        }
    }

    /// Whether the shard sleeps for ever unless somebody wakes it.
    pub(crate) fn rests(&self) -> bool {
        self.rests
    }

    /// Tokens of operations whose last completion was not popped.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = Token> {
        let posted = self.posted.iter().chain(&self.ready).map(|posted| posted.completion.token);
        self.flights.iter().map(|flight| flight.token).chain(posted)
    }

    /// Whether the kernel works on `op` and nobody has told it to end.
    pub(crate) fn goes_on(&self, op: OpId) -> bool {
        self.flights.iter().any(|flight| flight.id == op && !flight.cancelled)
    }

    /// One round of a call into the kernel; true when anything moved.
    fn round(&mut self) -> bool {
        let acted = self.outside.act();
        let worked = self.work();
        let delivered = self.deliver();
        acted || worked || delivered
    }

    /// Sleeps until a completion or `wait`, as long as the choices let it.
    fn sleep(&mut self, wait: Option<Duration>) {
        for _ in 0..ROUNDS_MAX {
            let moved = self.round();
            if !self.ready.is_empty() {
                return self.net.lock().cover(Outcome::EnterCompletions);
            }
            if self.pool.take_woken() {
                return self.net.lock().cover(Outcome::EnterWoken);
            }
            if self.outside.has_mail() {
                return self.net.fail("the shard sleeps although another thread has posted");
            }
            let mut net = self.net.lock();
            if net.choices.one_in(12) {
                return net.cover(Outcome::EnterEarly);
            }
            if !moved && (net.choices.is_calm() || net.choices.one_in(4)) {
                drop(net);
                return self.let_time_pass(wait);
            }
        }
    }

    /// Nothing came: the time is up, or some of it has passed.
    fn let_time_pass(&mut self, wait: Option<Duration>) {
        let unconfirmed = self.flights.iter().any(|flight| flight.cancelled);
        let mut net = self.net.lock();
        let calm = net.choices.is_calm();
        let Some(wait) = wait else {
            self.rests = calm;
            let ms = net.choices.below(50) as u64;
            return net.pass(Duration::from_millis(ms));
        };
        // A kernel confirms a cancellation soon.
        let wait_max = if unconfirmed && !calm { wait.min(Duration::from_millis(10)) } else { wait };
        let part = if net.choices.one_in(2) { net.choices.below(100) as u32 } else { 100 };
        net.pass(wait_max * part / 100);
        if part == 100 && wait_max == wait {
            net.cover(Outcome::EnterTimeout);
        }
    }

    fn stream_of(&self, op: &Op<Self>) -> Option<usize> {
        let (Op::Recv { socket } | Op::Send { socket, .. } | Op::Connect { socket, .. }) = op else {
            return None;
        };
        match socket.kind {
            SocketKind::Stream(stream) => Some(stream),
            SocketKind::Listener(_) => None,
        }
    }

    /// The rules for what the shard may push.
    fn check_push(&mut self, op: &Op<Self>) {
        let stream = self.stream_of(op);
        let listening = self.flights.iter().filter(|flight| matches!(flight.op, Op::Accept { .. }));
        let accepts_again = listening.map(|flight| &flight.op).any(|other| match (op, other) {
            (Op::Accept { listener }, Op::Accept { listener: other }) => listener.kind == other.kind,
            _ => false,
        });
        let mut net = self.net.lock();
        let Some(stream) = stream.map(|stream| &mut net.streams[stream]) else {
            if accepts_again || !matches!(op, Op::Accept { .. }) || self.closed {
                net.fail("a second accept of one listener, an operation of the wrong kind, or after close");
            }
            return;
        };
        let broken = match op {
            _ if self.closed => Some("pushed after the ring was closed"),
            _ if stream.session_over => Some("pushed for a connection that is over"),
            Op::Recv { .. } if mem::replace(&mut stream.receiving, true) => Some("a second receive"),
            Op::Send { .. } if mem::replace(&mut stream.sending, true) => Some("a second send"),
            Op::Send { .. } if stream.write_ended.is_some() => Some("a send after the end of the write side"),
            Op::Send { transmit, .. } if transmit.is_empty() => Some("a send of nothing"),
            Op::Recv { .. } | Op::Send { .. } if !stream.connected => Some("not connected"),
            Op::Connect { .. } if mem::replace(&mut stream.connecting, true) => Some("a second connect"),
            Op::Accept { .. } | Op::Recv { .. } | Op::Send { .. } | Op::Connect { .. } => None,
        };
        if let Some(broken) = broken {
            net.fail(format!("{op:?}: {broken}"));
        }
    }

    /// Books a completion that the shard takes.
    fn note_popped(&mut self, posted: &Posted) {
        let completion = &posted.completion;
        let mut net = self.net.lock();
        net.trace(|| format!("{:?} of {:?}: {completion:?}", posted.kind, posted.stream));
        if posted.last {
            self.unfinished -= 1;
        }
        let Some(stream) = posted.stream else { return };
        let over = net.streams[stream].session_over;
        if posted.last {
            match posted.kind {
                kernel::Kind::Recv => net.streams[stream].receiving = false,
                kernel::Kind::Send => net.streams[stream].sending = false,
                kernel::Kind::Accept | kernel::Kind::Connect => {}
            }
        }
        if !over {
            return;
        }
        let sent_all =
            completion.transmit.as_ref().is_some_and(|sent| sent.len() as i32 == completion.result);
        let outcome = match (posted.kind, completion.result) {
            (kernel::Kind::Recv, 1..) => Outcome::RecvAfterClose,
            (kernel::Kind::Recv, 0) => Outcome::RecvEndAfterClose,
            (kernel::Kind::Recv, kernel::CANCELED) => Outcome::RecvCancelledAfterClose,
            (kernel::Kind::Send, 1..) if sent_all => Outcome::SendAfterClose,
            (kernel::Kind::Send, 1..) => Outcome::SendShortAfterClose,
            (kernel::Kind::Send, kernel::CANCELED) => Outcome::SendCancelledAfterClose,
            _ => return,
        };
        net.cover(outcome);
    }
}

/// A remote address: streams are told apart by number, so it only names itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FakeAddr;

impl Ring for FakeRing {
    type Socket = FakeSocket;
    type Buffer = FakeBuffer;
    type Addr = FakeAddr;

    fn push(&mut self, token: Token, op: Op<Self>) -> OpId {
        self.check_push(&op);
        let id = OpId(self.next_op);
        self.next_op += 1;
        self.unfinished += 1;
        let stream = self.stream_of(&op);
        self.net.trace(|| format!("push {op:?} of {stream:?} as {}", id.0));
        let ignores_cancel = self.defect == Some(Defect::CancelIgnored) && self.net.choose(4) == 3;
        self.flights.push(Flight::new(id, token, op, stream, ignores_cancel));
        // A full queue is submitted at once, and what can be done at once is.
        if self.net.lock().choices.one_in(8) {
            self.submit();
            self.work();
        }
        id
    }

    fn cancel(&mut self, op: OpId) {
        self.net.trace(|| format!("cancel {}", op.0));
        match self.flights.iter_mut().find(|flight| flight.id == op) {
            Some(flight) if flight.ignores_cancel => {}
            Some(flight) => flight.cancelled = true,
            None => self.net.lock().cover(Outcome::CancelStale),
        }
    }

    fn enter(&mut self, wait: Option<Duration>) -> io::Result<()> {
        self.stats.enters += 1;
        self.rests = false;
        if self.net.lock().script.enter_fails {
            return Err(io::Error::from(io::ErrorKind::Other));
        }
        self.submit();
        if wait == Some(Duration::ZERO) {
            self.round();
            // Some time always passes: whoever looks again and again must come to an end.
            let us = 1 + self.net.choose(2000) as u64;
            self.net.lock().pass(Duration::from_micros(us));
        } else {
            self.sleep(wait);
        }
        Ok(())
    }

    fn is_ready(&mut self) -> bool {
        !self.ready.is_empty()
    }

    fn pop(&mut self) -> Option<Completion<Self>> {
        let mut posted = self.ready.pop_front()?;
        self.note_popped(&posted);
        match self.defect {
            Some(Defect::CompletionLost) if self.net.choose(32) == 31 => return self.pop(),
            Some(Defect::EndedTakenAsMore) if self.net.choose(16) == 15 => posted.completion.more = true,
            _ => {}
        }
        Some(posted.completion)
    }

    fn free_buffers(&self) -> usize {
        self.pool.free()
    }

    fn buffers(&self) -> usize {
        self.pool.buffers()
    }

    fn in_flight(&self) -> usize {
        self.unfinished
    }

    fn now(&self) -> Time {
        self.net.lock().now
    }

    fn waker(&self) -> Arc<dyn Fn() + Send + Sync> {
        let pool = self.pool.clone();
        Arc::new(move || pool.wake())
    }

    /// Counts what the kernel would have kept: one buffer's length per operation that had not ended.
    fn close(&mut self) -> u64 {
        self.closed = true;
        let left = self.unfinished * self.pool.buffer_len();
        self.flights.clear();
        self.posted.clear();
        self.ready.clear();
        self.ghosts.clear();
        self.unfinished = 0;
        left as u64
    }

    fn stats(&self) -> RingStats {
        self.stats
    }
}

/// How often the outside and the kernel take turns while the shard sleeps.
const ROUNDS_MAX: usize = 100;
