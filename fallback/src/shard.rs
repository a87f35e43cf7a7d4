//! What the tasks of one shard share, and the task that starts and ends the others.

use std::cell::{Cell, RefCell};
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, UNIX_EPOCH};

use qwormhole_proto::{
    Admission, CloseReason, Command as Ask, Config, ConnectError, Endpoint, Owner, Service, ShardLocal,
    ShutdownReport, Slicing,
};
use tokio::sync::Notify;
use tokio::task::{JoinSet, spawn_local, yield_now};
use tokio::time::timeout_at;

use crate::accept;
use crate::clock::Clock;
use crate::drive::{Driven, drive};
use crate::inbox::{Command, Inbox};
use crate::mailbox::Mailbox;
use crate::recv::RecvSpace;
use crate::seat::Seat;
use crate::slots::Slots;
use crate::stream::Stream;

/// One shard, shared by its tasks. Its cells are borrowed only between two awaits.
pub(crate) struct Shard {
    pub(crate) index: u8,
    pub(crate) clock: Clock,
    pub(crate) slots: RefCell<Slots>,
    turning: RefCell<Turning>,
    mailbox: Arc<Mailbox>,
    /// Counts how connections end, once the shard shuts down.
    report: Cell<Option<ShutdownReport>>,
    emptied: Notify,
}

/// What a task works with while it has its turn.
pub(crate) struct Turning {
    pub(crate) local: ShardLocal,
    pub(crate) recv: RecvSpace,
}

impl Shard {
    /// A shard of up to `connections_max` connections that `service` makes handlers for.
    pub(crate) fn new<S: Service>(
        index: u8,
        connections_max: u32,
        service: S,
        mailbox: Arc<Mailbox>,
        slicing: Slicing,
    ) -> Self {
        let clock = Clock::start();
        let mut local = ShardLocal::new(Box::new(service), mailbox.clone());
        local.now = clock.now();
        local.set_wall_clock(UNIX_EPOCH.elapsed().unwrap_or_default());
        local.set_slicing(slicing);
        local.random_state = RandomState::new().hash_one(0u8);
        Self {
            index,
            clock,
            slots: RefCell::new(Slots::new(connections_max)),
            turning: RefCell::new(Turning { local, recv: RecvSpace::new() }),
            mailbox,
            report: Cell::new(None),
            emptied: Notify::new(),
        }
    }

    /// One task's turn: reads the clock, runs `work`, shows the counters to other threads.
    pub(crate) fn turn<R>(&self, work: impl FnOnce(&mut Turning) -> R) -> R {
        let mut turning = self.turning.borrow_mut();
        turning.local.now = self.clock.now();
        turning.local.stats.turns += 1;
        let result = work(&mut turning);
        self.publish(&turning.local);
        result
    }

    /// Shows the counters to other threads.
    pub(crate) fn publish(&self, local: &ShardLocal) {
        self.mailbox.publish(&local.stats);
    }

    /// Takes in a connection that a listener accepted, or closes it when the shard is full.
    pub(crate) fn open_accepted<S: Service>(
        self: &Rc<Self>,
        stream: Stream,
        admission: Admission,
        config: Arc<Config>,
    ) {
        let peer = stream.peer_info();
        let Some(seat) = Seat::take(self, Some(admission)) else {
            self.turn(|turning| {
                let stats = &mut turning.local.stats;
                stats.refused += 1;
                config.on_reject.call(stats, &peer, &CloseReason::Refused);
            });
            return;
        };
        let owner = Owner::of_service::<S>();
        spawn_local(drive(Driven::new(seat, stream, peer, config, owner)));
    }

    /// A place for a connection that was accepted, if `endpoint` admits it.
    pub(crate) fn admit(&self, endpoint: &Endpoint, stream: &Stream) -> Option<Admission> {
        self.turn(|turning| endpoint.admit_peer(&mut turning.local.stats, || stream.peer_info()))
    }

    /// Tells connections that other threads posted them.
    fn take_posts(&self) {
        let mut slots = self.slots.borrow_mut();
        self.mailbox.take(|slot| slots.signal(slot, |signals| signals.remote = true));
    }

    /// Passes on what the server asks of its connections. Returns whether it asked for anything.
    fn read_commands(&self) -> bool {
        let mut asked = false;
        while let Some(command) = self.mailbox.pop_command() {
            asked = true;
            let unanswered = match command {
                Ask::Broadcast(broadcast) => {
                    self.slots.borrow_mut().broadcast(broadcast);
                    None
                }
                Ask::Lookup(lookup) => self.slots.borrow_mut().look_up(lookup),
            };
            // Dropped while nothing is borrowed: it may wake a task.
            drop(unanswered);
        }
        asked
    }

    /// A connection ended; `complete` when everything queued for it was handed to the system.
    pub(crate) fn note_ended(&self, complete: bool) {
        if let Some(mut report) = self.report.get() {
            report.drained += u64::from(complete);
            report.cut += u64::from(!complete);
            self.report.set(Some(report));
        }
    }

    /// A place became free.
    pub(crate) fn note_seat_given(&self) {
        if self.slots.borrow().taken() == 0 {
            self.emptied.notify_one();
        }
    }

    /// Ends every connection and attempt: gracefully, then at the deadline at once.
    async fn wind_up(&self, deadline: Instant) -> ShutdownReport {
        self.report.set(Some(ShutdownReport::default()));
        if deadline > Instant::now() {
            self.slots.borrow_mut().signal_all(|signals| signals.close = true);
        }
        if timeout_at(deadline.into(), self.emptied()).await.is_err() {
            self.slots.borrow_mut().signal_all(|signals| signals.abort = true);
            self.emptied().await;
        }
        let mut report = self.report.take().unwrap_or_default();
        report.buffers_out = self.turn(|turning| turning.recv.buffers_out());
        report
    }

    async fn emptied(&self) {
        while self.slots.borrow().taken() > 0 {
            self.emptied.notified().await;
        }
    }
}

/// The first task of a shard: starts accept tasks, connections and attempts until it is told to stop, then
/// ends them all.
pub(crate) async fn run<S: Service>(shard: Rc<Shard>, mut inbox: Inbox) -> ShutdownReport {
    let pump = spawn_local(pump(shard.clone()));
    let mut listeners = JoinSet::new();
    let stop = loop {
        tokio::select! {
            biased;
            stop = &mut inbox.stop => break stop,
            Some(listening) = inbox.listeners.recv() => {
                listeners.spawn_local(accept::run::<S>(shard.clone(), listening));
            }
            Some(command) = inbox.commands.recv() => execute::<S>(&shard, command),
        }
    };
    listeners.shutdown().await;
    inbox.listeners.close();
    inbox.commands.close();
    while let Ok(command) = inbox.commands.try_recv() {
        if let Command::Dial(dial) = command {
            dial.refuse(ConnectError::ShuttingDown);
        }
    }
    // What was broadcast before leaves before the connections end.
    shard.read_commands();
    // An engine that was dropped has sent nothing: that is a deadline of now.
    let report = shard.wind_up(stop.unwrap_or_else(|_| Instant::now())).await;
    pump.abort();
    shard.mailbox.close();
    report
}

fn execute<S: Service>(shard: &Rc<Shard>, command: Command) {
    match command {
        Command::Dial(dial) => dial.start(shard),
        Command::Accepted { socket, admission, config } => match Stream::from_socket(socket) {
            Ok(stream) => shard.open_accepted::<S>(stream, admission, config),
            Err(error) => tracing::debug!(%error, "cannot take over an accepted connection"),
        },
    }
}

/// Tells connections that other threads posted them, and what the server asks of them.
async fn pump(shard: Rc<Shard>) {
    loop {
        shard.mailbox.woken().await;
        shard.take_posts();
        if shard.read_commands() {
            // Every connection looks at what it was told before more is passed on: no list of it grows.
            yield_now().await;
        }
    }
}

/// Why the shard ends its connections.
pub(crate) const SHUTDOWN: CloseReason = CloseReason::Shutdown;
