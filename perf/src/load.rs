//! The neutral load generator: one thread, plain non-blocking sockets, epoll, no runtime. It drives every
//! server alike, so that only servers are compared.
//!
//! Closed loop: each answer is followed by the next request on the same connection. All answers of one read
//! are answered by one write.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;

use crate::dial::dial;
use crate::job::Job;
use crate::pattern::{Pattern, Sequence};
use crate::systems::Part;
use crate::tally::Tally;

/// Connects, sends the first requests and goes on in a thread of its own.
pub(crate) fn start(job: &Job, tally: &Arc<Tally>) -> Result<Box<dyn Part>> {
    let mut generator = Generator::connect(job, tally)?;
    let abandoned = generator.abandoned.clone();
    let tally = tally.clone();
    let thread = thread::Builder::new()
        .name(String::from("load"))
        .spawn(move || {
            if let Err(error) = generator.run() {
                generator.tally.fail(format!("{error:#}"));
            }
            generator.tally.finish();
        })
        .context("cannot start the load thread")?;
    Ok(Box::new(Running { thread, abandoned, tally, address: job.address.clone() }))
}

struct Running {
    thread: JoinHandle<()>,
    abandoned: Arc<AtomicBool>,
    tally: Arc<Tally>,
    address: String,
}

impl Part for Running {
    fn address(&self) -> String {
        self.address.clone()
    }

    fn stop(self: Box<Self>, patience: Duration) -> Result<()> {
        // What has not come back by then is reported as lost.
        self.tally.wait_finished(patience);
        self.abandoned.store(true, Ordering::Relaxed);
        if self.thread.join().is_err() {
            bail!("the load thread panicked");
        }
        Ok(())
    }
}

struct Generator {
    epoll: OwnedFd,
    connections: Vec<Connection>,
    size: usize,
    tally: Arc<Tally>,
    /// The last answers are no longer waited for.
    abandoned: Arc<AtomicBool>,
}

impl Generator {
    fn connect(job: &Job, tally: &Arc<Tally>) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("cannot use epoll")?;
        let pattern = Pattern::new(job.load.size);
        let mut connections = Vec::with_capacity(job.load.connections);
        for number in 0..job.load.connections {
            let socket = dial(&job.address, job.token.as_deref())?;
            let data = epoll::EventData::new_u64(number as u64);
            epoll::add(&epoll, &socket, data, epoll::EventFlags::IN).context("cannot watch a connection")?;
            connections.push(Connection::new(socket, &pattern, number, job.load.depth));
        }
        let abandoned = Arc::new(AtomicBool::new(false));
        Ok(Self { epoll, connections, size: job.load.size, tally: tally.clone(), abandoned })
    }

    /// Turns until every request is answered after the stop.
    fn run(&mut self) -> Result<()> {
        for number in 0..self.connections.len() {
            let depth = self.connections[number].depth;
            self.request(number, depth)?;
        }
        let mut events = Vec::with_capacity(EVENTS);
        let mut buffer = vec![0; READ_LEN];
        let pause = Timespec { tv_sec: 0, tv_nsec: PAUSE_NS };
        loop {
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&pause)) {
                Ok(_) | Err(Errno::INTR) => (),
                Err(error) => return Err(error).context("epoll fails"),
            }
            for event in &events {
                let number = event.data.u64() as usize;
                let flags = event.flags;
                if flags.contains(epoll::EventFlags::OUT) {
                    self.flush(number)?;
                }
                if flags.intersects(READABLE) {
                    self.read(number, &mut buffer)?;
                }
            }
            let over = self.tally.is_stopping() && self.connections.iter().all(|it| it.asked.is_empty());
            if over || self.abandoned.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
    }

    /// Takes what one read gives, and asks as much again.
    fn read(&mut self, number: usize, buffer: &mut [u8]) -> Result<()> {
        let connection = &mut self.connections[number];
        let len = match rustix::io::read(&connection.socket, &mut *buffer) {
            Ok(0) => bail!("the peer closed the connection"),
            Ok(len) => len,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(error) => return Err(error).context("the connection is lost"),
        };
        let answers = connection.take(&buffer[..len], self.size, &self.tally)?;
        self.tally.add_received(answers as u64);
        if answers > 0 && !self.tally.is_stopping() { self.request(number, answers) } else { Ok(()) }
    }

    fn request(&mut self, number: usize, messages: usize) -> Result<()> {
        let connection = &mut self.connections[number];
        let now = Instant::now();
        for _ in 0..messages {
            connection.ask(now);
        }
        self.tally.add_sent(messages as u64);
        self.flush(number)
    }

    /// Writes what waits; asks to be told when the rest fits.
    fn flush(&mut self, number: usize) -> Result<()> {
        let connection = &mut self.connections[number];
        let was_blocked = connection.blocked;
        connection.write()?;
        if connection.blocked != was_blocked {
            let out = if connection.blocked { epoll::EventFlags::OUT } else { epoll::EventFlags::empty() };
            let data = epoll::EventData::new_u64(number as u64);
            let interest = epoll::EventFlags::IN | out;
            epoll::modify(&self.epoll, &connection.socket, data, interest)
                .context("cannot watch a connection")?;
        }
        Ok(())
    }
}

struct Connection {
    socket: OwnedFd,
    depth: usize,
    requests: Sequence,
    answers: Sequence,
    /// When each unanswered request was written.
    asked: VecDeque<Instant>,
    outgoing: Vec<u8>,
    written: usize,
    /// The kernel took only a part.
    blocked: bool,
    /// The beginning of an answer that is not complete.
    incoming: Vec<u8>,
}

impl Connection {
    fn new(socket: OwnedFd, pattern: &Pattern, number: usize, depth: usize) -> Self {
        Self {
            socket,
            depth,
            requests: pattern.sequence(number),
            answers: pattern.sequence(number),
            asked: VecDeque::with_capacity(depth),
            outgoing: Vec::new(),
            written: 0,
            blocked: false,
            incoming: Vec::new(),
        }
    }

    /// Queues the next request.
    fn ask(&mut self, now: Instant) {
        let message = self.requests.current();
        self.outgoing.extend_from_slice(&(message.len() as u32).to_be_bytes());
        self.outgoing.extend_from_slice(message);
        self.requests.advance();
        self.asked.push_back(now);
    }

    fn write(&mut self) -> Result<()> {
        self.blocked = false;
        while self.written < self.outgoing.len() {
            match rustix::io::write(&self.socket, &self.outgoing[self.written..]) {
                Ok(len) => self.written += len,
                Err(Errno::INTR) => (),
                Err(Errno::AGAIN) => {
                    self.blocked = true;
                    return Ok(());
                }
                Err(error) => return Err(error).context("the connection is lost"),
            }
        }
        self.outgoing.clear();
        self.written = 0;
        Ok(())
    }

    /// Takes received bytes; the number of answers that they complete.
    fn take(&mut self, bytes: &[u8], size: usize, tally: &Tally) -> Result<usize> {
        if self.incoming.is_empty() {
            let (answers, used) = self.answers_in(bytes, size, tally)?;
            self.incoming.extend_from_slice(&bytes[used..]);
            return Ok(answers);
        }
        let mut joined = std::mem::take(&mut self.incoming);
        joined.extend_from_slice(bytes);
        let (answers, used) = self.answers_in(&joined, size, tally)?;
        joined.drain(..used);
        self.incoming = joined;
        Ok(answers)
    }

    /// Checks every complete answer at the front of `bytes`; their number and length.
    fn answers_in(&mut self, bytes: &[u8], size: usize, tally: &Tally) -> Result<(usize, usize)> {
        let now = Instant::now();
        let mut round_trips = tally.is_measuring().then(|| tally.round_trips());
        let (mut rest, mut answers) = (bytes, 0);
        while let Some((header, after)) = rest.split_first_chunk::<4>() {
            let len = u32::from_be_bytes(*header) as usize;
            ensure!(
                len == size,
                "the peer answers {size} bytes with a frame of {len} bytes; is it an echo server for frames?"
            );
            let Some((answer, after)) = after.split_at_checked(size) else { break };
            if !self.answers.accept(answer) {
                tally.add_corrupt(1);
            }
            let asked = self.asked.pop_front().context("the peer answers more than it was asked")?;
            if let Some(round_trips) = &mut round_trips {
                round_trips.record(now - asked);
            }
            answers += 1;
            rest = after;
        }
        Ok((answers, bytes.len() - rest.len()))
    }
}

/// An end or an error shows when reading.
const READABLE: epoll::EventFlags =
    epoll::EventFlags::IN.union(epoll::EventFlags::HUP).union(epoll::EventFlags::ERR);
const EVENTS: usize = 1024;
const READ_LEN: usize = 256 << 10;
/// How often to look for the end of the round while no answer comes.
const PAUSE_NS: i64 = 20_000_000;
