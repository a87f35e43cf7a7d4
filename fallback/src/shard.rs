//! What the tasks of one shard share, and the task that starts and ends the others.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, UNIX_EPOCH};

use qwormhole_proto::{
    Admission, CloseReason, Config, ConnectError, Owner, Service, ShardLocal, ShutdownReport,
};
use tokio::sync::Notify;
use tokio::task::{JoinSet, spawn_local};
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
    ) -> Self {
        let clock = Clock::start();
        let mut local = ShardLocal::new(Box::new(service), mailbox.clone());
        local.now = clock.now();
        local.set_wall_clock(UNIX_EPOCH.elapsed().unwrap_or_default());
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
        self.mailbox.publish(&turning.local.stats);
        result
    }

    /// Takes in a connection that a listener accepted, or closes it when the shard is full.
    pub(crate) fn open_accepted<S: Service>(
        self: &Rc<Self>,
        stream: Stream,
        admission: Admission,
        config: Arc<Config>,
    ) {
        let Some(seat) = Seat::take(self, Some(admission)) else {
            self.note_refused();
            return;
        };
        let peer = stream.peer_info();
        let owner = Owner::of_service::<S>();
        spawn_local(drive(Driven::new(seat, stream, peer, config, owner)));
    }

    /// Admission refused a connection.
    pub(crate) fn note_refused(&self) {
        self.turn(|turning| turning.local.stats.refused += 1);
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
    // An engine that was dropped has sent nothing: that is a deadline of now.
    let report = shard.wind_up(stop.unwrap_or_else(|_| Instant::now())).await;
    pump.abort();
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

/// Tells connections that other threads posted them.
async fn pump(shard: Rc<Shard>) {
    loop {
        shard.mailbox.woken().await;
        let mut slots = shard.slots.borrow_mut();
        shard.mailbox.take(|slot| slots.signal(slot, |signals| signals.remote = true));
    }
}

/// Why the shard ends its connections.
pub(crate) const SHUTDOWN: CloseReason = CloseReason::Shutdown;
