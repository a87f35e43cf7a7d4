//! What must hold when a schedule rests, and when it is over.

use std::task::{Context, Poll, Waker};

use qwormhole_proto::{CloseReason, Time};

use crate::fake_ring::net::{NetState, Stream};
use crate::ring::Ring;
use crate::schedule::scene::{Author, Books, Ledger};
use crate::schedule::{FLUSH_TIMEOUT, LINGER_TIMEOUT, Schedule};
use crate::token::{Kind, unpack};

impl Schedule {
    /// What holds after every turn: operations belong to connections that exist, and whoever wants to read
    /// does, or starves; whoever does not has told the kernel.
    pub(super) fn check_turn(&mut self) -> Result<(), String> {
        if let Some(broken) = self.net.failure() {
            return Err(broken);
        }
        let Some(shard) = &mut self.shard else { return Err(String::from("no shard")) };
        for (kind, id) in shard.ring.tokens().map(unpack).filter(|(kind, _)| *kind != Kind::Accept) {
            ensure(shard.slots.get(id).is_some(), || format!("{kind:?} of {id} outlives its connection"))?;
        }
        let listed = shard.starved.len();
        for id in shard.slots.ids() {
            let Some(open) = shard.slots.open(id) else { continue };
            let reads = open.recv.is_some_and(|op| shard.ring.goes_on(op));
            match open.session.wants_read() {
                true => ensure(open.recv.is_some() || open.starved, || format!("{id} does not read"))?,
                false => ensure(!reads, || format!("{id} still reads"))?,
            }
            ensure(!open.starved || listed > 0, || format!("{id} starves unlisted"))?;
        }
        let used_max = self.connections_max;
        ensure(listed <= 2 * used_max, || format!("{listed} starving of at most {used_max}"))
    }

    /// Everything that can arrive has arrived, and the kernel holds one receive per connection and one accept
    /// per listener, no more.
    pub(super) fn check_rest(&self) -> Result<(), String> {
        let Some(shard) = &self.shard else { return Err(String::from("no shard")) };
        let mut books = self.scene.books();
        let net = self.net.lock();
        ensure(self.starved == 0, || format!("{} connections starve beside free buffers", self.starved))?;
        ensure(self.pool.free() == self.pool.buffers(), || String::from("a buffer is missing at rest"))?;
        let mut open = 0;
        for (number, stream) in net.streams.iter().enumerate() {
            let ledger = books.ledger(number);
            let lives = ledger.opened > ledger.closed && !ledger.panicked;
            open += usize::from(lives);
            let checked = if lives { check_live(ledger, stream) } else { check_dead(stream, &net, number) };
            checked.map_err(|wrong| format!("stream {number} at rest: {wrong}"))?;
        }
        let held = shard.ring.in_flight();
        ensure(held == open + net.listeners, || format!("{held} operations for {open} connections"))?;
        ensure(shard.slots.used() == open, || format!("{} slots for {open}", shard.slots.used()))?;
        ensure(books.dials.iter().all(|answers| *answers == 1), || format!("dials: {:?}", books.dials))?;
        let stats = &shard.local.stats;
        let served = books.opened - books.opened_by_dial + stats.refused + books.refusals;
        ensure(served == net.accepted + books.adopted, || {
            format!("{} sockets came in, {served} were served", net.accepted + books.adopted)
        })?;
        ensure(stats.connections == open as u64, || format!("{} connections counted", stats.connections))
    }

    /// Everything has come back, and what was promised to peers of connections that ended well has arrived.
    pub(super) fn check_end(&mut self) -> Result<(), String> {
        let Some(shard) = self.shard.take() else { return Err(String::from("no shard")) };
        let stats = shard.local.stats;
        let (used, kept) = (shard.slots.used(), self.scene.books().leases.len());
        drop(shard);
        while !self.scene.books().leases.is_empty() {
            self.world.borrow().drop_leases();
        }
        let world = self.world.borrow();
        while world.forward() {}
        while let Ok(control) = world.controls.try_recv() {
            drop(control);
        }
        let streams = self.net.lock().streams.len();
        for stream in 0..streams {
            while world.peer_reads(stream) {}
        }
        if let Some(broken) = self.net.failure() {
            return Err(broken);
        }
        let report = &self.report;
        ensure(used == 0, || format!("{used} slots are still used"))?;
        ensure(report.ops_in_flight == 0 && report.leaked_bytes == 0, || format!("{report:?}"))?;
        ensure(report.buffers_out <= kept as u64, || format!("{report:?}, {kept} messages kept"))?;
        let mut books = self.scene.books();
        let net = self.net.lock();
        ensure(self.pool.free() == self.pool.buffers(), || String::from("a buffer never came back"))?;
        ensure(net.sockets == 0, || format!("{} sockets were never closed", net.sockets))?;
        ensure(books.handlers == 0, || format!("{} handlers were never dropped", books.handlers))?;
        let admitted = self.endpoint.open_connections();
        ensure(admitted == 0, || format!("{admitted} admissions were never given back"))?;
        ensure(books.dials.iter().all(|answers| *answers == 1), || format!("dials: {:?}", books.dials))?;
        ensure(
            stats.connections == 0 && stats.opened == books.opened && stats.closed == stats.opened,
            || format!("{} were opened, counted: {stats:?}", books.opened),
        )?;
        ensure(stats.panics == books.panics, || format!("{} panics of {}", stats.panics, books.panics))?;
        for (number, stream) in net.streams.iter().enumerate() {
            check_ended(&mut books, stream, number).map_err(|wrong| format!("stream {number}: {wrong}"))?;
        }
        Ok(())
    }
}

/// A connection at rest: nothing is on its way in either direction.
fn check_live(ledger: &mut Ledger, stream: &Stream) -> Result<(), String> {
    ensure(stream.peer_ended.is_none() && !stream.reset, || String::from("the end was not noticed"))?;
    ensure(ledger.paused.is_none(), || String::from("still paused"))?;
    ensure(ledger.inbound.is_empty(), || format!("{} messages not delivered", ledger.inbound.len()))?;
    let [handler, other] = &ledger.outbound;
    ensure(handler.is_empty() && other.is_empty(), || {
        format!("{} replies and {} messages of other threads not sent", handler.len(), other.len())
    })?;
    ensure(ledger.unparsed.is_empty(), || String::from("half a message"))?;
    let Some((waiter, mark)) = &mut ledger.flush else { return Ok(()) };
    let flushed = waiter.poll_flushed(*mark, &mut Context::from_waker(Waker::noop()));
    ensure(flushed == Poll::Ready(Ok(())), || String::from("a flush was not answered"))
}

/// A stream without a connection: nobody keeps its socket.
fn check_dead(stream: &Stream, net: &NetState, number: usize) -> Result<(), String> {
    let waits = net.backlogs.iter().any(|backlog| backlog.contains(&number));
    ensure(!waits, || String::from("was never accepted"))?;
    ensure(stream.closed.is_some(), || String::from("its socket was never closed"))
}

/// A stream whose shard is gone: unless something excuses it, all that its handler sent has arrived, and its
/// end had a cause.
fn check_ended(books: &mut Books, stream: &Stream, number: usize) -> Result<(), String> {
    let shutdown = books.shutdown;
    let ledger = books.ledger(number);
    if ledger.opened == 0 {
        return Ok(());
    }
    ensure(ledger.closed == 1 || ledger.panicked, || format!("on_close ran {} times", ledger.closed))?;
    let caused = match &ledger.reason {
        None => ledger.panicked,
        Some(CloseReason::PeerClosed | CloseReason::PeerTruncated) => stream.peer_ended.is_some(),
        Some(CloseReason::PeerReset) => stream.reset,
        Some(CloseReason::FrameTooLarge(_)) => ledger.oversize,
        Some(CloseReason::Local) => ledger.local_end,
        Some(CloseReason::Shutdown) => shutdown.is_some(),
        Some(CloseReason::Stalled | CloseReason::FrameTimeout) => true,
        Some(_) => false,
    };
    ensure(caused, || format!("ended without a cause: {:?}", ledger.reason))?;
    let unclear = matches!(ledger.reason, Some(CloseReason::Stalled | CloseReason::FrameTimeout));
    let closed = stream.closed.unwrap_or(Time::ZERO);
    let since = [ledger.ending_since, shutdown.map(|(began, _)| began)].into_iter().flatten().min();
    let cut = shutdown.is_some_and(|(_, deadline)| deadline <= closed);
    let flush_cut =
        stream.write_ended.is_none() && since.is_some_and(|since| since + FLUSH_TIMEOUT <= closed);
    let linger_cut = stream.write_ended.is_some_and(|ended| ended + LINGER_TIMEOUT <= closed);
    if stream.reset || ledger.aborted || unclear || cut || flush_cut {
        return Ok(());
    }
    ensure(!stream.reset_by_shard || linger_cut, || String::from("closed with unread input"))?;
    let unsent = ledger.outbound[Author::Handler as usize].len();
    ensure((unsent == 0 && ledger.unparsed.is_empty()) || stream.reset_by_shard, || {
        format!("{unsent} replies never arrived, reason {:?}", ledger.reason)
    })
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}
