//! The part of the load generator that asks and is answered.
//!
//! Closed loop: each answer is followed by the next request on the same connection; all answers of one read are
//! answered by one write. Open loop: each message has its time and its connection; a message whose connection
//! may not have more in flight waits, and its round trip counts from the time at which it was due.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::Driver;
use super::connection::{Asked, Connection};
use super::ledger::Ledger;
use super::poller::{PAUSE, Poller, Ready};
use super::schedule::{Mix, Schedule};
use crate::dial::dial;
use crate::job::Job;
use crate::pace::{Flow, Pace};
use crate::pattern::Pattern;
use crate::tally::Tally;

/// What a scenario asks of a generator besides its load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Requests in flight on each connection in a closed loop.
    pub(crate) closed_depth: usize,
    /// The same in an open loop; messages above wait for their turn.
    pub(crate) open_depth: usize,
    /// Connections for large messages; messages are mixed if there are any.
    pub(crate) large: usize,
    /// Every connection is tried once when the round is over: for those that were silent.
    pub(crate) probe: bool,
}

impl Options {
    /// What most scenarios want.
    pub(crate) const fn of_depth(depth: usize) -> Self {
        Self { closed_depth: depth, open_depth: depth, large: 0, probe: false }
    }
}

/// Drives one server over many connections; for one round.
pub(super) struct Generator {
    poller: Poller,
    lanes: Vec<Lane>,
    mix: Mix,
    options: Options,
    flow: Flow,
    schedule: Option<Schedule>,
    /// The number of the next message of a closed loop over mixed messages.
    next_mixed: u64,
    owed: usize,
    in_flight: usize,
    /// Lanes to which a message became due in this turn; kept for its memory.
    touched: Vec<usize>,
    ledger: Ledger,
    pace_seen: u64,
    tally: Arc<Tally>,
}

struct Lane {
    connection: Connection,
    /// Messages that are due and wait, oldest first.
    owed: VecDeque<Owed>,
    /// There is something to send since the last look.
    touched: bool,
}

#[derive(Clone, Copy)]
struct Owed {
    intended: Instant,
    stretch: usize,
    measured: bool,
}

impl Generator {
    pub(super) fn connect(job: &Job, options: Options, tally: &Arc<Tally>) -> Result<Self> {
        let mix = Mix { small: job.load.connections, large: options.large };
        let poller = Poller::new()?;
        let small = Pattern::new(job.load.size);
        let large = if mix.large > 0 { Pattern::new(LARGE_SIZE) } else { small.clone() };
        let mut lanes = Vec::with_capacity(mix.small + mix.large);
        for key in 0..mix.small + mix.large {
            let socket = dial(&job.address, job.token.as_deref())?;
            let pattern = if key < mix.small { &small } else { &large };
            let connection = Connection::new(socket, key, pattern, &poller)?;
            lanes.push(Lane { connection, owed: VecDeque::new(), touched: false });
        }
        Ok(Self {
            poller,
            lanes,
            mix,
            options,
            flow: Flow::Silent,
            schedule: None,
            next_mixed: 0,
            owed: 0,
            in_flight: 0,
            touched: Vec::new(),
            ledger: Ledger::default(),
            pace_seen: 0,
            tally: tally.clone(),
        })
    }

    /// Sends in another manner from now on.
    fn adopt(&mut self, pace: Pace) -> Result<()> {
        let now = Instant::now();
        if !self.ledger.is_empty() && !self.ledger.is_labelled(self.ledger.current()) {
            self.forgive(|owed| owed.measured);
        }
        let open = matches!(pace.flow, Flow::Open(_));
        self.ledger.begin(pace.label, open, now);
        self.flow = pace.flow;
        self.schedule = match pace.flow {
            Flow::Open(rate) => Some(Schedule::new(now, rate)),
            Flow::Closed | Flow::Silent => None,
        };
        if self.flow == Flow::Closed && self.mix.large == 0 {
            for number in 0..self.lanes.len() {
                let missing =
                    self.options.closed_depth.saturating_sub(self.lanes[number].connection.in_flight());
                self.ask(number, missing)?;
            }
        }
        self.ask_mixed()
    }

    /// Forgets what is owed and was not measured, or keeps what `keep` says.
    fn forgive(&mut self, keep: impl Fn(&Owed) -> bool) {
        for lane in &mut self.lanes {
            lane.owed.retain(&keep);
        }
        self.owed = self.lanes.iter().map(|lane| lane.owed.len()).sum();
    }

    /// Notes what is due, and sends as much of it as may be in flight.
    fn send_due(&mut self) -> Result<()> {
        let Some(schedule) = &mut self.schedule else { return Ok(()) };
        let (now, stretch) = (Instant::now(), self.ledger.current());
        let measured = self.tally.is_measuring();
        let mut touched = std::mem::take(&mut self.touched);
        let mut due = 0;
        while let Some((message, intended)) = schedule.take(now) {
            let number = self.mix.connection_of(message);
            let lane = &mut self.lanes[number];
            lane.owed.push_back(Owed { intended, stretch, measured });
            if !std::mem::replace(&mut lane.touched, true) {
                touched.push(number);
            }
            due += 1;
            if self.owed + due > OWED_MAX {
                bail!("saturated: {OWED_MAX} messages wait to be sent; ask for less");
            }
        }
        self.owed += due;
        self.tally.add_due(due as u64);
        for number in touched.drain(..) {
            self.lanes[number].touched = false;
            self.send_owed(number)?;
        }
        self.touched = touched;
        Ok(())
    }

    /// Sends what a connection owes, as much as may be in flight.
    fn send_owed(&mut self, number: usize) -> Result<()> {
        let lane = &mut self.lanes[number];
        if lane.owed.is_empty() {
            return Ok(());
        }
        let depth = if number < self.mix.small { self.options.open_depth } else { LARGE_DEPTH };
        let (sent, mut messages) = (Instant::now(), 0);
        while lane.connection.in_flight() < depth {
            let Some(Owed { intended, stretch, measured }) = lane.owed.pop_front() else { break };
            let asked = Asked { intended, sent, stretch, measured };
            self.ledger.note_start(&asked);
            lane.connection.ask(asked);
            messages += 1;
        }
        self.owed -= messages;
        self.in_flight += messages;
        self.tally.add_sent(messages as u64);
        lane.connection.flush(&self.poller)
    }

    /// Sends that many messages now.
    fn ask(&mut self, number: usize, messages: usize) -> Result<()> {
        let sent = Instant::now();
        let asked = Asked { intended: sent, sent, stretch: self.ledger.current(), measured: false };
        let connection = &mut self.lanes[number].connection;
        (0..messages).for_each(|_| connection.ask(asked));
        self.in_flight += messages;
        self.tally.add_sent(messages as u64);
        connection.flush(&self.poller)
    }

    /// Keeps a closed loop over mixed messages going: the mix stays, so that a slow kind slows the other.
    fn ask_mixed(&mut self) -> Result<()> {
        if self.flow != Flow::Closed || self.mix.large == 0 {
            return Ok(());
        }
        while self.in_flight < self.options.closed_depth * self.mix.small {
            let number = self.mix.connection_of(self.next_mixed);
            let depth = if number < self.mix.small { self.options.closed_depth } else { LARGE_DEPTH };
            if self.lanes[number].connection.in_flight() >= depth {
                break;
            }
            self.next_mixed += 1;
            self.ask(number, 1)?;
        }
        Ok(())
    }

    /// Takes what one read gives, and goes on on that connection.
    fn read(&mut self, number: usize, buffer: &mut [u8]) -> Result<()> {
        let closed = self.schedule.is_none();
        let (measuring, small) = (self.tally.is_measuring(), number < self.mix.small);
        let (stretch, tally) = (self.ledger.current(), &self.tally);
        let mut round_trips = tally.round_trips();
        let (ledger, mut answers, mut corrupt, mut now) = (&mut self.ledger, 0, 0, None);
        let outcome = self.lanes[number].connection.read(buffer, |mut asked, same| {
            let now = *now.get_or_insert_with(Instant::now);
            if closed && !asked.measured {
                (asked.measured, asked.stretch) = (measuring, stretch);
            }
            if small {
                ledger.note_answer(&asked, now);
                if asked.measured && !ledger.is_labelled(asked.stretch) {
                    round_trips.record(now.saturating_duration_since(asked.intended));
                }
            }
            answers += 1;
            corrupt += u64::from(!same);
        });
        drop(round_trips);
        tally.add_corrupt(corrupt);
        tally.add_received(answers as u64);
        outcome?;
        self.in_flight -= answers;
        if self.tally.is_stopping() || answers == 0 || self.flow != Flow::Closed {
            return self.send_owed(number);
        }
        if self.mix.large > 0 { self.ask_mixed() } else { self.ask(number, answers) }
    }

    /// How long nothing will be due.
    fn rest(&self) -> Duration {
        let at = self.schedule.as_ref().map(Schedule::next_at);
        at.map_or(PAUSE, |at| at.saturating_duration_since(Instant::now()))
    }

    /// The round is over: what was due while measuring is still sent, nothing else.
    fn wind_up(&mut self) -> Result<()> {
        self.schedule = None;
        self.flow = Flow::Silent;
        self.forgive(|owed| owed.measured);
        if self.options.probe {
            for number in 0..self.lanes.len() {
                self.ask(number, 1)?;
            }
        }
        Ok(())
    }

    fn turn(&mut self, ready: &mut Vec<Ready>, buffer: &mut [u8]) -> Result<()> {
        let rest = self.rest();
        self.poller.wait(rest, ready)?;
        for news in ready.iter() {
            if news.writable {
                self.lanes[news.key].connection.flush(&self.poller)?;
            }
            if news.readable {
                self.read(news.key, buffer)?;
            }
        }
        Ok(())
    }
}

impl Driver for Generator {
    /// Turns until every request is answered after the stop.
    fn run(&mut self, abandoned: &AtomicBool) -> Result<()> {
        let mut ready = Vec::new();
        let mut buffer = vec![0; READ_LEN];
        let mut stopping = false;
        while !(stopping && self.in_flight + self.owed == 0 || abandoned.load(Ordering::Relaxed)) {
            if stopping {
                self.turn(&mut ready, &mut buffer)?;
                continue;
            }
            let pace = self.tally.new_pace(&mut self.pace_seen);
            pace.map_or(Ok(()), |pace| self.adopt(pace))?;
            self.send_due()?;
            self.turn(&mut ready, &mut buffer)?;
            if self.tally.is_stopping() {
                stopping = true;
                self.wind_up()?;
            }
        }
        self.tally.add_figures(self.ledger.figures());
        Ok(())
    }
}

/// Payload of the large messages of a mix.
const LARGE_SIZE: usize = 1 << 20;
/// Large messages in flight on each of their connections.
const LARGE_DEPTH: usize = 4;
const READ_LEN: usize = 256 << 10;
/// Messages that may be due and not sent: some 100 MiB.
const OWED_MAX: usize = 4 << 20;
