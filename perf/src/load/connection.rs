//! A connection that asks and is answered.

use std::collections::VecDeque;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use rustix::fd::OwnedFd;
use rustix::io::Errno;

use super::incoming::Incoming;
use super::outgoing::Outgoing;
use super::poller::{Interest, Poller};
use crate::pattern::{Pattern, Sequence};

/// One socket of the load generator. Answers come in the order of the requests.
pub(super) struct Connection {
    socket: OwnedFd,
    key: usize,
    requests: Sequence,
    outgoing: Outgoing,
    incoming: Incoming,
    /// Requests without an answer, oldest first.
    asked: VecDeque<Asked>,
    /// The kernel took only a part of what was written.
    blocked: bool,
}

/// An unanswered request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// When it was due.
    pub(super) intended: Instant,
    /// When it left.
    pub(super) sent: Instant,
    /// The stretch of the round in which it was due.
    pub(super) stretch: usize,
    /// It was due while that was measured.
    pub(super) measured: bool,
}

impl Connection {
    pub(super) fn new(socket: OwnedFd, key: usize, pattern: &Pattern, poller: &Poller) -> Result<Self> {
        poller.add(&socket, key, Interest::READ)?;
        Ok(Self {
            socket,
            key,
            requests: pattern.sequence(key),
            outgoing: Outgoing::default(),
            incoming: Incoming::new(pattern.sequence(key)),
            asked: VecDeque::new(),
            blocked: false,
        })
    }

    pub(super) fn in_flight(&self) -> usize {
        self.asked.len()
    }

    /// Queues the next request.
    pub(super) fn ask(&mut self, asked: Asked) {
        self.outgoing.push(self.requests.current());
        self.requests.advance();
        self.asked.push_back(asked);
    }

    /// Writes what waits; asks to be told when the rest fits.
    pub(super) fn flush(&mut self, poller: &Poller) -> Result<()> {
        self.outgoing.write(&self.socket)?;
        let blocked = !self.outgoing.is_empty();
        if blocked != self.blocked {
            self.blocked = blocked;
            let interest = if blocked { Interest::BOTH } else { Interest::READ };
            poller.modify(&self.socket, self.key, interest)?;
        }
        Ok(())
    }

    /// Takes what one read gives. `each` gets every request that it answers, and whether the answer is right.
    pub(super) fn read(&mut self, buffer: &mut [u8], mut each: impl FnMut(Asked, bool)) -> Result<()> {
        let bytes = match receive(&self.socket, buffer)? {
            Received::Bytes(bytes) => bytes,
            Received::Nothing => return Ok(()),
            Received::End => bail!("the peer closed the connection"),
        };
        let asked = &mut self.asked;
        self.incoming.take(bytes, |same| {
            each(asked.pop_front().context("the peer answers more than it was asked")?, same);
            Ok(())
        })
    }
}

/// What one read gives.
pub(super) enum Received<'a> {
    Bytes(&'a [u8]),
    Nothing,
    End,
}

/// Reads once from a non-blocking socket.
pub(super) fn receive<'a>(socket: &OwnedFd, buffer: &'a mut [u8]) -> Result<Received<'a>> {
    match rustix::io::read(socket, &mut *buffer) {
        Ok(0) => Ok(Received::End),
        Ok(len) => Ok(Received::Bytes(&buffer[..len])),
        Err(Errno::AGAIN | Errno::INTR) => Ok(Received::Nothing),
        Err(error) => Err(error).context("the connection is lost"),
    }
}
