//! The part of the load generator that misuses the server, from addresses of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use rustix::fd::OwnedFd;

use super::Driver;
use super::connection::{Received, receive};
use super::incoming::Incoming;
use super::outgoing::Outgoing;
use super::poller::{Interest, PAUSE, Poller, Ready};
use super::target::Target;
use crate::job::Job;
use crate::pattern::{Pattern, Sequence};
use crate::tally::Tally;

/// Connections that first are as good as any (the control run: a closed loop of valid traffic), and then attack:
/// one half sends requests and never reads an answer, the other half sends as fast as the kernel takes it and
/// reads everything. Those that the server cuts come again.
pub(super) struct Attackers {
    target: Target,
    poller: Poller,
    pattern: Pattern,
    attackers: Vec<Attacker>,
    attacking: bool,
    attacked_bytes: u64,
    pace_seen: u64,
    tally: Arc<Tally>,
}

struct Attacker {
    /// `None` between two connections.
    line: Option<Line>,
    again_at: Instant,
}

struct Line {
    socket: OwnedFd,
    requests: Sequence,
    outgoing: Outgoing,
    incoming: Incoming,
    interest: Interest,
}

/// How an attacker behaves now.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Honest,
    Stopped,
    Flooding,
}

impl Attackers {
    pub(super) fn connect(job: &Job, count: usize, tally: &Arc<Tally>) -> Result<Self> {
        let mut attackers = Self {
            target: Target::find(&job.address)?,
            poller: Poller::new()?,
            pattern: Pattern::new(job.load.size),
            attackers: Vec::with_capacity(count),
            attacking: false,
            attacked_bytes: 0,
            pace_seen: 0,
            tally: tally.clone(),
        };
        for number in 0..count {
            attackers.attackers.push(Attacker { line: None, again_at: Instant::now() });
            attackers.open(number)?;
        }
        Ok(attackers)
    }

    const fn manner(&self, number: usize) -> Manner {
        match (self.attacking, number % 2) {
            (false, _) => Manner::Honest,
            (true, 0) => Manner::Stopped,
            (true, _) => Manner::Flooding,
        }
    }

    fn open(&mut self, number: usize) -> Result<()> {
        let socket = self.target.connect(number as u64)?;
        let interest = Interest::BOTH;
        self.poller.add(&socket, number, interest)?;
        let (requests, expected) = (self.pattern.sequence(number), self.pattern.sequence(number));
        let mut line = Line {
            socket,
            requests,
            outgoing: Outgoing::default(),
            incoming: Incoming::new(expected),
            interest,
        };
        if self.manner(number) == Manner::Honest {
            line.ask(HONEST_DEPTH);
        }
        self.attackers[number].line = Some(line);
        Ok(())
    }

    /// The control run is over.
    fn attack(&mut self) {
        self.attacking = true;
        for number in 0..self.attackers.len() {
            let manner = self.manner(number);
            let poller = &self.poller;
            if let Some(line) = &mut self.attackers[number].line
                && line.watch(poller, number, manner).is_err()
            {
                self.lose(number);
            }
        }
    }

    /// The server has cut a connection, or its end is lost.
    fn lose(&mut self, number: usize) {
        let attacker = &mut self.attackers[number];
        attacker.line = None;
        attacker.again_at = Instant::now() + AGAIN;
    }

    /// Connects those that were cut. What fails is tried again: whether the server still serves, the honest
    /// peers tell.
    fn come_again(&mut self) {
        let now = Instant::now();
        for number in 0..self.attackers.len() {
            let attacker = &self.attackers[number];
            if attacker.line.is_none() && attacker.again_at <= now && self.open(number).is_err() {
                self.lose(number);
            }
        }
    }

    fn look(&mut self, news: Ready, buffer: &mut [u8]) {
        let manner = self.manner(news.key);
        let Some(line) = &mut self.attackers[news.key].line else { return };
        match line.act(news, manner, buffer, &self.poller) {
            Ok(bytes) if self.attacking => self.attacked_bytes += bytes,
            Ok(_) => (),
            Err(_) => self.lose(news.key),
        }
    }
}

impl Line {
    fn ask(&mut self, messages: usize) {
        for _ in 0..messages {
            self.outgoing.push(self.requests.current());
            self.requests.advance();
        }
    }

    /// Does what there is to do; the bytes it queued.
    fn act(&mut self, news: Ready, manner: Manner, buffer: &mut [u8], poller: &Poller) -> Result<u64> {
        if news.readable {
            // One that has stopped reading is told of its end only.
            ensure!(manner != Manner::Stopped, "cut");
            let answers = self.read(buffer)?;
            if manner == Manner::Honest {
                self.ask(answers);
            }
        }
        let mut queued = 0;
        if manner != Manner::Honest && self.outgoing.is_empty() {
            let frame = self.requests.size() + 4;
            let messages = (BURST / frame).max(1);
            self.ask(messages);
            queued = (messages * frame) as u64;
        }
        self.outgoing.write(&self.socket)?;
        self.watch(poller, news.key, manner)?;
        Ok(queued)
    }

    /// The answers that one read gives.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let bytes = match receive(&self.socket, buffer)? {
            Received::Bytes(bytes) => bytes,
            Received::Nothing => return Ok(0),
            Received::End => bail!("cut"),
        };
        let mut answers = 0;
        self.incoming.take(bytes, |same| {
            ensure!(same, "altered");
            answers += 1;
            Ok(())
        })?;
        Ok(answers)
    }

    fn watch(&mut self, poller: &Poller, number: usize, manner: Manner) -> Result<()> {
        let interest = match manner {
            Manner::Honest if self.outgoing.is_empty() => Interest::READ,
            Manner::Honest | Manner::Flooding => Interest::BOTH,
            Manner::Stopped => Interest::WRITE,
        };
        if interest != self.interest {
            self.interest = interest;
            poller.modify(&self.socket, number, interest)?;
        }
        Ok(())
    }
}

impl Driver for Attackers {
    fn run(&mut self, abandoned: &AtomicBool) -> Result<()> {
        let mut ready = Vec::new();
        let mut buffer = vec![0; READ_LEN];
        while !self.tally.is_stopping() && !abandoned.load(Ordering::Relaxed) {
            if self.tally.new_pace(&mut self.pace_seen).is_some_and(|pace| pace.attack) {
                self.attack();
            }
            self.come_again();
            self.poller.wait(PAUSE, &mut ready)?;
            for news in &ready {
                self.look(*news, &mut buffer);
            }
        }
        ensure!(!self.attacking || self.attacked_bytes > 0, "no attacker got through to the server");
        Ok(())
    }
}

/// Requests in flight of an attacker that does not attack yet.
const HONEST_DEPTH: usize = 16;
/// Bytes that an attacker queues at once.
const BURST: usize = 64 << 10;
const READ_LEN: usize = 256 << 10;
/// How long an attacker that was cut stays away.
const AGAIN: Duration = Duration::from_millis(10);
