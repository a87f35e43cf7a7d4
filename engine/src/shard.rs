//! One shard: one thread, one ring, and everything its connections need. Nothing is shared but the mailbox.

use std::any::Any;
use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use crossbeam_channel::Receiver;
use qwormhole_proto::{
    Action, Broadcast, CloseReason, Command, ConnId, ConnectError, Lookup, Service, ShardLocal, ShardStats,
    ShutdownReport, Slicing, Time, TimerWheel, WaitMode, Waiting,
};

use crate::accept::Listeners;
use crate::control::{Control, ShardEnd, ShardHandle};
use crate::mailbox::Mailbox;
use crate::ring::{Completion, Op, Ring, RingSocket};
use crate::slots::{Ending, Open, Slots, State};
use crate::token::{Kind, unpack};

/// A shard's state and its loop. See [`Shard::turn`] for the order of things.
pub(crate) struct Shard<R: Ring, S: Service> {
    /// Declared before `local` and `slots`: the ring ends its operations before their buffers go.
    pub(crate) ring: R,
    pub(crate) local: ShardLocal,
    pub(crate) slots: Slots<R, S::Handler>,
    pub(crate) timers: TimerWheel,
    pub(crate) listeners: Listeners<R>,
    /// Connections to look at before the turn ends.
    pub(crate) dirty: Vec<ConnId>,
    /// Connections whose receive ended for lack of buffers, in order.
    pub(crate) starved: VecDeque<ConnId>,
    pub(crate) index: usize,
    pub(crate) peers: Vec<ShardHandle<R, S>>,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) controls: Receiver<Control<R, S>>,
    published: Arc<Mutex<ShardStats>>,
    pub(crate) shutdown: Option<Shutdown>,
    /// Completions were left for the next turn.
    pub(crate) backlog: bool,
    pub(crate) waiting: Waiting,
}

/// A shutdown under way.
pub(crate) struct Shutdown {
    deadline: Time,
    cut: bool,
    pub(crate) report: ShutdownReport,
}

/// What a shard is made of besides its ring and service.
pub(crate) struct ShardParts<R: Ring, S: Service> {
    pub(crate) index: usize,
    pub(crate) connections_max: u32,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) controls: Receiver<Control<R, S>>,
    pub(crate) peers: Vec<ShardHandle<R, S>>,
    pub(crate) published: Arc<Mutex<ShardStats>>,
    pub(crate) wait: WaitMode,
    pub(crate) slicing: Slicing,
}

impl Shutdown {
    /// When to cut, and after the cut when to stop waiting for the kernel.
    pub(crate) fn poll_timeout(&self) -> Time {
        if self.cut { self.deadline + CONFIRM_TIMEOUT } else { self.deadline }
    }
}

impl<R: Ring, S: Service> Shard<R, S> {
    pub(crate) fn new(ring: R, service: S, parts: ShardParts<R, S>) -> Self {
        let mut local = ShardLocal::new(Box::new(service) as Box<dyn Any>, parts.mailbox.clone());
        local.now = ring.now();
        local.set_wall_clock(UNIX_EPOCH.elapsed().unwrap_or_default());
        local.random_state = RandomState::new().hash_one(0u8);
        local.set_slicing(parts.slicing);
        parts.mailbox.set_waker(ring.waker());
        Self {
            timers: TimerWheel::new(local.now),
            slots: Slots::new(parts.index as u8, parts.connections_max),
            listeners: Listeners::new(parts.connections_max),
            dirty: Vec::new(),
            starved: VecDeque::new(),
            index: parts.index,
            peers: parts.peers,
            mailbox: parts.mailbox,
            controls: parts.controls,
            published: parts.published,
            shutdown: None,
            backlog: false,
            waiting: Waiting::new(parts.wait),
            ring,
            local,
        }
    }

    /// The ring, for whoever measures it.
    #[cfg(any(test, feature = "fake-ring"))]
    pub(crate) const fn ring(&self) -> &R {
        &self.ring
    }

    /// Turns until the shutdown is complete.
    ///
    /// # Errors
    ///
    /// The ring became unusable; every connection is lost.
    pub(crate) fn run(mut self) -> io::Result<ShardEnd> {
        while !self.is_over() {
            if let Err(error) = self.turn() {
                self.lose_ring(&error);
                return Err(error);
            }
        }
        Ok(self.finish())
    }

    /// What is left to do when the shutdown is complete; the shard can do nothing afterwards.
    pub(crate) fn finish(&mut self) -> ShardEnd {
        self.reject_controls();
        self.mailbox.close();
        self.publish();
        let mut report = self.shutdown.take().map(|shutdown| shutdown.report).unwrap_or_default();
        report.buffers_out = (self.ring.buffers() - self.ring.free_buffers()) as u64;
        report.ops_in_flight = self.ring.in_flight() as u64;
        report.leaked_bytes = self.ring.close();
        report
    }

    /// One turn: submit what the last turn queued and wait if there is nothing else to do (**one** enter for work),
    /// reap completions, run timers, read the mailbox, then look at every connection that was touched. Each
    /// step is bounded, what is left goes first in the next turn.
    pub(crate) fn turn(&mut self) -> io::Result<()> {
        self.wait()?;
        self.local.now = self.ring.now();
        self.local.stats.turns += 1;
        self.reap();
        self.run_timers();
        self.read_mailbox();
        self.read_commands();
        self.read_controls();
        self.feed_starved();
        self.flush_dirty();
        self.publish();
        Ok(())
    }

    fn reap(&mut self) {
        self.backlog = true;
        for _ in 0..COMPLETIONS_PER_TURN {
            let Some(completion) = self.ring.pop() else {
                self.backlog = false;
                return;
            };
            self.local.stats.completions += 1;
            self.complete(completion);
        }
    }

    fn complete(&mut self, completion: Completion<R>) {
        let (kind, key) = unpack(completion.token);
        match kind {
            Kind::Recv => self.recv_done(key, completion),
            Kind::Send => self.send_done(key, completion),
            Kind::Connect(attempt) => self.connect_done(key, attempt, &completion),
            Kind::Accept => self.accept_done(key.slot(), completion),
        }
    }

    fn run_timers(&mut self) {
        while let Some(key) = self.timers.pop_expired(self.local.now) {
            match key.checked_sub(self.listeners.first_timer_key()) {
                Some(listener) => self.listener_timeout(listener),
                None => self.slot_timeout(key),
            }
        }
        if self.shutdown.as_ref().is_some_and(|shutdown| !shutdown.cut && shutdown.deadline <= self.local.now)
        {
            self.cut_all();
        }
    }

    fn slot_timeout(&mut self, slot: u32) {
        let Some(id) = self.slots.id_of(slot) else { return };
        match self.slots.get(id) {
            Some(State::Open(open)) => {
                open.timer = None;
                open.session.handle_timeout(&mut self.local);
                self.touch(id);
            }
            Some(State::Dialing(_)) => self.advance_dial(id),
            _ => {}
        }
    }

    fn read_mailbox(&mut self) {
        for _ in 0..POSTS_PER_TURN {
            let Some(id) = self.mailbox.pop() else { break };
            self.handle_post(id);
        }
        if self.mailbox.take_missed() {
            for id in self.slots.ids() {
                self.handle_post(id);
            }
        }
    }

    fn handle_post(&mut self, id: ConnId) {
        if let Some(open) = self.slots.open(id) {
            open.session.handle_remote(&mut self.local);
            self.touch(id);
        }
    }

    /// Does what the server asks of its connections; everything, because a queue of broadcasts is bounded by
    /// bytes and each is a few instructions per connection.
    fn read_commands(&mut self) {
        while let Some(command) = self.mailbox.pop_command() {
            match command {
                Command::Broadcast(broadcast) => self.broadcast(&broadcast),
                Command::Lookup(lookup) => self.look_up(lookup),
            }
        }
    }

    fn broadcast(&mut self, broadcast: &Broadcast) {
        for slot in 0..self.slots.len() {
            let Some(id) = self.slots.id_of(slot) else { return };
            if let Some(open) = self.slots.open(id) {
                open.session.handle_broadcast(&mut self.local, broadcast);
                self.touch(id);
            }
        }
    }

    fn look_up(&mut self, lookup: Lookup) {
        if let Some(open) = self.slots.open(lookup.id())
            && let Some(sender) = open.session.sender(&mut self.local)
        {
            lookup.answer(sender);
        }
    }

    fn read_controls(&mut self) {
        for _ in 0..CONTROLS_PER_TURN {
            let Ok(control) = self.controls.try_recv() else { break };
            match control {
                Control::Listen { socket, endpoint, config, spread } => {
                    self.listen(socket, endpoint, config, spread);
                }
                Control::Adopt { socket, admission, config } => self.install(socket, admission, config),
                Control::Connect(job) => job(Ok(self)),
                Control::Shutdown(within) => self.begin_shutdown(within),
            }
        }
    }

    /// Grows the lists of connections when one comes, so that none grows while messages flow.
    pub(crate) fn make_room(&mut self) {
        let room = 2 * self.slots.used();
        self.dirty.reserve(room.saturating_sub(self.dirty.len()));
        self.starved.reserve(room.saturating_sub(self.starved.len()));
    }

    /// Remembers that a connection changed; it is looked at once before the turn ends.
    pub(crate) fn touch(&mut self, id: ConnId) {
        if let Some(open) = self.slots.open(id)
            && !open.dirty
        {
            open.dirty = true;
            self.dirty.push(id);
        }
    }

    fn flush_dirty(&mut self) {
        // Looking at one connection never touches another; the list is stable.
        let mut dirty = std::mem::take(&mut self.dirty);
        for id in dirty.drain(..) {
            self.advance(id);
        }
        dirty.append(&mut self.dirty);
        self.dirty = dirty;
    }

    /// Does everything a connection asks for: submit output, end, receive or stop receiving, keep its timer.
    fn advance(&mut self, id: ConnId) {
        let Some(open) = self.slots.open(id) else { return };
        open.dirty = false;
        if open.send.is_none()
            && let Some(transmit) = open.session.poll_transmit(&mut self.local)
        {
            let op = Op::Send { socket: open.socket.clone(), transmit };
            open.send = Some(self.ring.push(Kind::Send.token(id), op));
        }
        if let Some(action) = open.session.poll_action(&self.local) {
            return self.act(id, action);
        }
        self.keep_receiving(id);
        self.keep_timer(id);
    }

    /// Does what the end of a connection asks for, each action once, and looks at what is left.
    fn act(&mut self, id: ConnId, action: Action) {
        let Some(open) = self.slots.open(id) else { return };
        match action {
            Action::ShutdownWrite => {
                let socket = open.socket.clone();
                // Told last: who sees the end finds everything before it counted.
                self.publish();
                socket.shutdown_write();
                self.advance(id);
            }
            Action::Close => self.end(id),
        }
    }

    /// The wheel may hold an earlier deadline than the session's: it then fires for nothing, once. That is
    /// cheaper than moving it with every received buffer.
    fn keep_timer(&mut self, id: ConnId) {
        let Some(open) = self.slots.open(id) else { return };
        if let Some(deadline) = open.session.poll_timeout()
            && open.timer.is_none_or(|set| deadline < set)
        {
            open.timer = Some(deadline);
            self.timers.set(id.slot(), deadline);
        }
    }

    /// The session is over: tells the handler, cancels what is in flight, keeps the slot until it has ended.
    pub(crate) fn end(&mut self, id: ConnId) {
        let State::Open(open) = self.slots.put(id, State::Free) else { return };
        let Open { session, recv, send, losers, .. } = *open;
        self.timers.cancel(id.slot());
        if let Some(shutdown) = &mut self.shutdown {
            let count = if shutdown.cut { &mut shutdown.report.cut } else { &mut shutdown.report.drained };
            *count += 1;
        }
        session.finish(&mut self.local);
        self.publish();
        recv.into_iter().chain(send).for_each(|op| self.ring.cancel(op));
        self.slots
            .put(id, State::Ending(Ending { recv: recv.is_some(), send: send.is_some(), connects: losers }));
        self.settle_ending(id);
    }

    /// Frees the slot once the kernel has confirmed the end of all its operations.
    pub(crate) fn settle_ending(&mut self, id: ConnId) {
        if let Some(State::Ending(ending)) = self.slots.get(id)
            && ending.is_over()
        {
            self.slots.release(id);
        }
    }

    fn publish(&self) {
        let mut stats = self.local.stats;
        let ring = self.ring.stats();
        stats.enters = ring.enters;
        stats.spin_enters = ring.spin_enters;
        stats.overflows = ring.overflows;
        stats.wakes = self.mailbox.wakes();
        *self.published.lock().unwrap_or_else(PoisonError::into_inner) = stats;
    }
}

/// Shutdown.
impl<R: Ring, S: Service> Shard<R, S> {
    fn begin_shutdown(&mut self, within: Duration) {
        // What was broadcast before leaves before the connections end.
        self.read_commands();
        let deadline = self.local.now + within;
        match &mut self.shutdown {
            Some(running) => running.deadline = running.deadline.min(deadline),
            None => {
                self.shutdown = Some(Shutdown { deadline, cut: false, report: ShutdownReport::default() })
            }
        }
        self.close_listeners();
        for id in self.slots.ids() {
            match self.slots.get(id) {
                Some(State::Dialing(_)) => self.fail_dial(id, ConnectError::ShuttingDown),
                Some(State::Open(open)) => {
                    open.session.close(&mut self.local, CloseReason::Shutdown);
                    self.touch(id);
                }
                _ => {}
            }
        }
    }

    /// The deadline has passed: ends every connection that is left.
    fn cut_all(&mut self) {
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.cut = true;
        }
        for id in self.slots.ids() {
            if let Some(open) = self.slots.open(id) {
                open.session.abort(CloseReason::Shutdown);
                self.touch(id);
            }
        }
    }

    /// Whether the shutdown is complete: no connection, no listener, nothing in flight that belongs to one;
    /// or the kernel did not confirm the end of something in time.
    pub(crate) fn is_over(&self) -> bool {
        self.shutdown.as_ref().is_some_and(|shutdown| {
            let is_clear = self.slots.used() == 0 && self.listeners.is_empty();
            is_clear || shutdown.cut && shutdown.poll_timeout() <= self.local.now
        })
    }

    /// The ring is unusable: every connection ends, every dial fails.
    fn lose_ring(&mut self, error: &io::Error) {
        for id in self.slots.ids() {
            match self.slots.get(id) {
                Some(State::Dialing(_)) => self.fail_dial(id, ConnectError::ShuttingDown),
                Some(State::Open(open)) => {
                    open.session.abort(CloseReason::Transport(error.kind()));
                    self.end(id);
                }
                _ => {}
            }
        }
        self.reject_controls();
        self.mailbox.close();
        self.publish();
    }

    /// Instructions that came too late.
    fn reject_controls(&mut self) {
        while let Ok(control) = self.controls.try_recv() {
            if let Control::Connect(job) = control {
                job(Err(ConnectError::ShuttingDown));
            }
        }
    }
}

/// Completions handled before timers, mailbox and output get their turn: about a millisecond of work.
const COMPLETIONS_PER_TURN: usize = 1024;
/// How long a shutdown waits after its deadline for the kernel to confirm that cancelled operations ended.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(1);
/// Posts of other threads handled per turn.
const POSTS_PER_TURN: usize = 4096;
/// Instructions handled per turn; each may open a connection.
const CONTROLS_PER_TURN: usize = 64;
