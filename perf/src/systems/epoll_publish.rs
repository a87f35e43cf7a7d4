//! Publishing over epoll: one chunk of messages is framed once and written to every subscriber from the same
//! memory; the next chunk is made when all have taken this one, so that slow subscribers slow everybody.

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use slab::Slab;

use crate::peer::publish::Crowd;
use crate::peer::talk::Source;
use crate::tally::Tally;

/// One thread's subscribers. Each connection is watched edge-triggered and once: who was refused is told when there
/// is room again.
pub(super) struct Publisher {
    epoll: OwnedFd,
    subscribers: Slab<Subscriber>,
    /// Makes the chunks; every thread makes the same.
    source: Source,
    chunk: Vec<u8>,
    /// Messages in the chunk.
    messages: u64,
    /// Subscribers that have not taken all of the chunk.
    behind: usize,
    crowd: Arc<Crowd>,
    tally: Arc<Tally>,
}

struct Subscriber {
    socket: TcpStream,
    /// How much of the chunk it took.
    taken: usize,
}

impl Publisher {
    pub(super) fn new(source: Source, crowd: Arc<Crowd>, tally: Arc<Tally>) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("cannot use epoll")?;
        let subscribers = Slab::new();
        Ok(Self { epoll, subscribers, source, chunk: Vec::new(), messages: 0, behind: 0, crowd, tally })
    }

    /// Publishes for ever.
    pub(super) fn run(&mut self, listener: &TcpListener) -> Result<()> {
        listener.set_nonblocking(true)?;
        let data = EventData::new_u64(LISTENER);
        epoll::add(&self.epoll, listener, data, EventFlags::IN).context("cannot watch the listener")?;
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            let publishing = self.crowd.is_complete() && !self.subscribers.is_empty();
            if publishing && self.behind == 0 {
                self.next_chunk();
            }
            // Another thread may have met the last subscriber; nobody tells this one.
            let pause =
                Timespec { tv_sec: 0, tv_nsec: if publishing && self.behind == 0 { 0 } else { PAUSE_NS } };
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&pause)) {
                Ok(_) | Err(Errno::INTR) => (),
                Err(error) => return Err(error).context("epoll fails"),
            }
            for event in &events {
                match event.data.u64() {
                    LISTENER => self.accept(listener)?,
                    key => self.push(key as usize),
                }
            }
        }
    }

    fn next_chunk(&mut self) {
        self.chunk.clear();
        self.messages = self.source.fill(&mut self.chunk);
        self.behind = self.subscribers.len();
        let keys: Vec<_> = self.subscribers.iter().map(|(key, _)| key).collect();
        for key in keys {
            if let Some(subscriber) = self.subscribers.get_mut(key) {
                subscriber.taken = 0;
            }
            self.push(key);
        }
    }

    /// Writes what a subscriber has not taken, as far as it takes it; forgets one that is gone.
    fn push(&mut self, key: usize) {
        let Some(subscriber) = self.subscribers.get_mut(key) else { return };
        if subscriber.taken == self.chunk.len() {
            return;
        }
        while subscriber.taken < self.chunk.len() {
            match rustix::io::write(&subscriber.socket, &self.chunk[subscriber.taken..]) {
                Ok(len) => subscriber.taken += len,
                Err(Errno::INTR) => (),
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    self.subscribers.remove(key);
                    self.behind -= 1;
                    return;
                }
            }
        }
        self.tally.add_sent(self.messages);
        self.behind -= 1;
    }

    fn accept(&mut self, listener: &TcpListener) -> Result<()> {
        loop {
            match listener.accept() {
                Ok((socket, _)) => {
                    socket.set_nonblocking(true)?;
                    let entry = self.subscribers.vacant_entry();
                    let data = EventData::new_u64(entry.key() as u64);
                    epoll::add(&self.epoll, &socket, data, EventFlags::OUT | EventFlags::ET)
                        .context("cannot watch a connection")?;
                    // One that comes late begins with the next chunk.
                    entry.insert(Subscriber { socket, taken: self.chunk.len() });
                    self.crowd.arrive();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => (),
                Err(error) => return Err(error).context("cannot accept"),
            }
        }
    }
}

const LISTENER: u64 = u64::MAX;
const EVENTS: usize = 256;
const PAUSE_NS: i64 = 10_000_000;
