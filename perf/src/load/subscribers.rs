//! The part of the load generator that listens to a publisher.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use rustix::fd::OwnedFd;

use super::Driver;
use super::connection::{Received, receive};
use super::incoming::Incoming;
use super::poller::{Interest, PAUSE, Poller};
use crate::dial::dial;
use crate::job::Job;
use crate::metric::Metrics;
use crate::pattern::Pattern;
use crate::record::Recorder;
use crate::tally::Tally;

/// Reads and checks every message on every connection. All connections get the same messages, from the first
/// one on.
pub(super) struct Subscribers {
    poller: Poller,
    subscribers: Vec<Subscriber>,
    arrivals: Arrivals,
    tally: Arc<Tally>,
}

struct Subscriber {
    socket: OwnedFd,
    incoming: Incoming,
    /// Messages that it got.
    count: u64,
}

impl Subscribers {
    pub(super) fn connect(job: &Job, tally: &Arc<Tally>) -> Result<Self> {
        let (poller, pattern) = (Poller::new()?, Pattern::new(job.load.size));
        let mut subscribers = Vec::with_capacity(job.load.connections);
        for key in 0..job.load.connections {
            let socket = dial(&job.address, None)?;
            poller.add(&socket, key, Interest::READ)?;
            subscribers.push(Subscriber { socket, incoming: Incoming::new(pattern.sequence(0)), count: 0 });
        }
        let arrivals = Arrivals::new(subscribers.len());
        Ok(Self { poller, subscribers, arrivals, tally: tally.clone() })
    }

    /// Takes what one read gives.
    fn read(&mut self, number: usize, buffer: &mut [u8]) -> Result<()> {
        let subscriber = &mut self.subscribers[number];
        let bytes = match receive(&subscriber.socket, buffer)? {
            Received::Bytes(bytes) => bytes,
            Received::Nothing => return Ok(()),
            Received::End => bail!("the peer closed the connection"),
        };
        let (now, measuring) = (Instant::now(), self.tally.is_measuring());
        let before = subscriber.count;
        let (arrivals, count) = (&mut self.arrivals, &mut subscriber.count);
        let mut corrupt = 0;
        let outcome = subscriber.incoming.take(bytes, |same| {
            corrupt += u64::from(!same);
            *count += 1;
            arrivals.note(*count - 1, now, measuring)
        });
        self.tally.add_received(*count - before);
        self.tally.add_corrupt(corrupt);
        outcome
    }
}

impl Driver for Subscribers {
    fn run(&mut self, abandoned: &AtomicBool) -> Result<()> {
        let mut ready = Vec::new();
        let mut buffer = vec![0; READ_LEN];
        while !self.tally.is_stopping() && !abandoned.load(Ordering::Relaxed) {
            self.poller.wait(PAUSE, &mut ready)?;
            for news in &ready {
                self.read(news.key, &mut buffer)?;
            }
        }
        self.tally.add_figures(self.arrivals.figures());
        Ok(())
    }
}

/// When each message came first, until it has come to all.
struct Arrivals {
    subscribers: usize,
    /// The number of the oldest message that has not come to all.
    base: u64,
    under_way: VecDeque<Arrival>,
    spread: Recorder,
}

struct Arrival {
    first: Instant,
    missing: usize,
}

impl Arrivals {
    fn new(subscribers: usize) -> Self {
        Self { subscribers, base: 0, under_way: VecDeque::new(), spread: Recorder::new() }
    }

    /// A message came to one more subscriber.
    fn note(&mut self, message: u64, now: Instant, measuring: bool) -> Result<()> {
        let position = (message - self.base) as usize;
        if position == self.under_way.len() {
            ensure!(position < APART_MAX, "subscribers are more than {APART_MAX} messages apart");
            self.under_way.push_back(Arrival { first: now, missing: self.subscribers });
        }
        let arrival = &mut self.under_way[position];
        arrival.missing -= 1;
        if arrival.missing == 0 && measuring {
            self.spread.record(now - arrival.first);
        }
        // Each connection gets its messages in order, so that the oldest one is complete first.
        while self.under_way.front().is_some_and(|oldest| oldest.missing == 0) {
            self.under_way.pop_front();
            self.base += 1;
        }
        Ok(())
    }

    fn figures(&self) -> Metrics {
        let percentile = |percent| self.spread.percentile_us(percent);
        let figures = [("spread_us_p50", percentile(50.0)), ("spread_us_p99", percentile(99.0))];
        let measured = !self.spread.is_empty();
        figures.into_iter().filter(|_| measured).map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

const READ_LEN: usize = 256 << 10;
/// Messages that the fastest subscriber may be ahead of the slowest: some 100 MiB.
const APART_MAX: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_spread_is_the_time_from_the_first_to_the_last_arrival() {
        let (start, mut arrivals) = (Instant::now(), Arrivals::new(3));
        let mut note = |message, ms| {
            let now = start + Duration::from_millis(ms);
            arrivals.note(message, now, true).unwrap();
        };
        // The first subscriber is ahead of the others.
        (0..10).for_each(|message| note(message, message));
        (0..10).for_each(|message| note(message, 20));
        (0..10).for_each(|message| note(message, 50 + message));
        let figures = arrivals.figures();
        assert!((figures["spread_us_p50"] / 50_000.0 - 1.0).abs() < 1e-2, "{figures:?}");
        assert!(arrivals.under_way.is_empty() && arrivals.base == 10);
    }

    #[test]
    fn what_was_not_measured_is_absent() {
        let mut arrivals = Arrivals::new(1);
        arrivals.note(0, Instant::now(), false).unwrap();
        assert!(arrivals.figures().is_empty());
    }
}
