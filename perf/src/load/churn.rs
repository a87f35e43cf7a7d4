//! The part of the load generator that comes and goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::fd::OwnedFd;
use rustix::net::{Shutdown, shutdown};

use super::Driver;
use super::connection::{Received, receive};
use super::incoming::Incoming;
use super::outgoing::Outgoing;
use super::poller::{Interest, PAUSE, Poller, Ready};
use super::target::Target;
use crate::job::Job;
use crate::pattern::Pattern;
use crate::tally::Tally;

/// Keeps a number of connections on their way: connect, one message, its echo, end of this side, end of the
/// server's side. Each cycle is followed by the next one.
pub(super) struct Churn {
    target: Target,
    poller: Poller,
    pattern: Pattern,
    cycles: Vec<Option<Cycle>>,
    begun: u64,
    tally: Arc<Tally>,
}

struct Cycle {
    socket: OwnedFd,
    begun: Instant,
    connected: bool,
    outgoing: Outgoing,
    incoming: Incoming,
    answered: bool,
}

impl Churn {
    pub(super) fn connect(job: &Job, tally: &Arc<Tally>) -> Result<Self> {
        ensure!(job.token.is_none(), "churn shows no token; start the server without one");
        let mut churn = Self {
            target: Target::find(&job.address)?,
            poller: Poller::new()?,
            pattern: Pattern::new(job.load.size),
            cycles: Vec::new(),
            begun: 0,
            tally: tally.clone(),
        };
        for slot in 0..job.load.connections {
            churn.cycles.push(None);
            churn.begin(slot)?;
        }
        Ok(churn)
    }

    fn begin(&mut self, slot: usize) -> Result<()> {
        let begun = Instant::now();
        let socket = self.target.connect(self.begun)?;
        self.poller.add(&socket, slot, Interest::BOTH)?;
        let message = self.pattern.sequence(self.begun as usize);
        let mut outgoing = Outgoing::default();
        outgoing.push(message.current());
        let incoming = Incoming::new(message);
        self.cycles[slot] =
            Some(Cycle { socket, begun, connected: false, outgoing, incoming, answered: false });
        self.begun += 1;
        self.tally.add_sent(1);
        Ok(())
    }

    fn look(&mut self, news: Ready, buffer: &mut [u8]) -> Result<()> {
        let slot = news.key;
        let Some(cycle) = &mut self.cycles[slot] else { return Ok(()) };
        if !cycle.connected {
            self.target.check(&cycle.socket)?;
            cycle.connected = true;
        }
        if news.writable && !cycle.outgoing.is_empty() {
            cycle.outgoing.write(&cycle.socket)?;
            if cycle.outgoing.is_empty() {
                self.poller.modify(&cycle.socket, slot, Interest::READ)?;
            }
        }
        if news.readable && cycle.read(buffer, &self.tally)? {
            let took = cycle.begun.elapsed();
            // Closes the socket, of which the poller forgets.
            self.cycles[slot] = None;
            self.tally.add_received(1);
            if self.tally.is_measuring() {
                self.tally.round_trips().record(took);
            }
            if !self.tally.is_stopping() {
                return self.begin(slot);
            }
        }
        Ok(())
    }
}

impl Cycle {
    /// Takes what one read gives; whether both sides have ended.
    fn read(&mut self, buffer: &mut [u8], tally: &Tally) -> Result<bool> {
        let bytes = match receive(&self.socket, buffer)? {
            Received::Bytes(bytes) => bytes,
            Received::Nothing => return Ok(false),
            Received::End if self.answered => return Ok(true),
            Received::End => bail!("the peer closed the connection"),
        };
        let answered = &mut self.answered;
        let mut same = true;
        self.incoming.take(bytes, |expected| {
            ensure!(!std::mem::replace(answered, true), "the peer answers more than it was asked");
            same = expected;
            Ok(())
        })?;
        if self.answered {
            tally.add_corrupt(u64::from(!same));
            shutdown(&self.socket, Shutdown::Write).context("the connection is lost")?;
        }
        Ok(false)
    }
}

impl Driver for Churn {
    /// Goes on until the last cycle after the stop is over.
    fn run(&mut self, abandoned: &AtomicBool) -> Result<()> {
        let mut ready = Vec::new();
        let mut buffer = vec![0; READ_LEN];
        while self.cycles.iter().any(Option::is_some) && !abandoned.load(Ordering::Relaxed) {
            self.poller.wait(PAUSE, &mut ready)?;
            for news in &ready {
                self.look(*news, &mut buffer)?;
            }
        }
        Ok(())
    }
}

const READ_LEN: usize = 64 << 10;
