//! Receiving: one multishot receive per connection, paused by backpressure and by a lack of buffers.

use std::io;

use qwormhole_proto::{ConnId, Service};

use crate::errno;
use crate::ring::{Completion, Op, Ring};
use crate::shard::Shard;
use crate::slots::State;
use crate::token::Kind;

/// What a receive completion means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// Data in a buffer.
    Data,
    /// The peer ended its stream.
    End,
    /// No buffer was free. Not an error: the receive goes on when buffers return. The kernel picks a buffer
    /// before it looks at the socket, so an end of stream can hide behind this too.
    Starved,
    /// The receive ended without news: it was cancelled, or has to be asked again.
    Idle,
    /// The connection is lost.
    Failed(io::ErrorKind),
}

/// Classifies a completion; the one place that knows how pool exhaustion, cancellation and ends look.
pub(crate) fn classify(result: i32, has_buffer: bool) -> Received {
    match result {
        1.. if has_buffer => Received::Data,
        0.. => Received::End,
        _ if result == -errno::NOBUFS => Received::Starved,
        _ if errno::is_transient(-result) => Received::Idle,
        _ => Received::Failed(io::Error::from_raw_os_error(-result).kind()),
    }
}

impl<R: Ring, S: Service> Shard<R, S> {
    pub(crate) fn recv_done(&mut self, key: ConnId, completion: Completion<R>) {
        let id = self.own(key);
        match self.slots.get(id) {
            Some(State::Open(open)) => {
                if !completion.more {
                    open.recv = None;
                    open.recv_cancelled = false;
                }
                let local = &mut self.local;
                match classify(completion.result, completion.buffer.is_some()) {
                    Received::Data => {
                        if let Some(buffer) = &completion.buffer {
                            open.session.handle_bytes(local, buffer);
                        }
                    }
                    Received::End => open.session.handle_eof(local),
                    Received::Starved => {
                        local.stats.starved += 1;
                        if !std::mem::replace(&mut open.starved, true) {
                            self.queue_starved(id);
                        }
                    }
                    Received::Idle => {}
                    Received::Failed(kind) => open.session.handle_transport_error(kind),
                }
                self.touch(id);
            }
            Some(State::Ending(ending)) if !completion.more => {
                ending.recv = false;
                self.settle_ending(id);
            }
            // A late completion: dropping it returns its buffer.
            _ => {}
        }
    }

    /// Starts, keeps or stops the receive as the session wants.
    pub(crate) fn keep_receiving(&mut self, id: ConnId) {
        let Some(open) = self.slots.open(id) else { return };
        match (open.session.wants_read(), open.recv) {
            (true, None) if !open.starved => {
                let op = Op::Recv { socket: open.socket.clone() };
                open.recv = Some(self.ring.push(Kind::Recv.token(id), op));
            }
            (false, Some(op)) if !open.recv_cancelled => {
                open.recv_cancelled = true;
                self.ring.cancel(op);
            }
            _ => {}
        }
    }

    /// Remembers a connection that waits for a buffer. Those that ended while they waited are forgotten before
    /// they outnumber the others, so the list stays within twice the connections.
    fn queue_starved(&mut self, id: ConnId) {
        if self.starved.len() >= 2 * self.slots.used() {
            let slots = &mut self.slots;
            self.starved.retain(|id| slots.open(*id).is_some_and(|open| open.starved));
        }
        self.starved.push_back(id);
    }

    /// Asks again for connections that found no buffer, as many as there are buffers now.
    pub(crate) fn feed_starved(&mut self) {
        let mut feed = self.ring.buffers_within_reach().min(self.starved.len());
        while feed > 0
            && let Some(id) = self.starved.pop_front()
        {
            if let Some(open) = self.slots.open(id)
                && open.starved
            {
                open.starved = false;
                self.touch(id);
                feed -= 1;
            }
        }
    }

    /// The full id behind a completion's key, which lacks the shard.
    pub(crate) fn own(&self, key: ConnId) -> ConnId {
        ConnId::new(self.index as u8, key.slot(), key.generation())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exhaustion_and_cancellation_are_no_errors() {
        assert_eq!(classify(5, true), Received::Data);
        assert_eq!(classify(0, false), Received::End);
        assert_eq!(classify(0, true), Received::End);
        assert_eq!(classify(-errno::NOBUFS, false), Received::Starved);
        assert_eq!(classify(-errno::CANCELED, false), Received::Idle);
        assert_eq!(classify(-errno::INTR, false), Received::Idle);
        assert_eq!(classify(-errno::CONNRESET, false), Received::Failed(io::ErrorKind::ConnectionReset));
    }
}
