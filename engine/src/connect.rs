//! Connecting: a race over the addresses of a name, inside the slot the connection will have.

use std::io;
use std::sync::Arc;

use qwormhole_proto::{ConnId, ConnectError, ConnectRace, Dial, Owner, RaceStep, Service, Session};

use crate::errno;
use crate::ring::{Completion, Op, Ring, RingSocket};
use crate::shard::Shard;
use crate::slots::{Attempt, Dialing, Ending, State};
use crate::token::Kind;

impl<R: Ring, S: Service> Shard<R, S> {
    pub(crate) fn dial(&mut self, dial: Dial<S::Handler, R::Addr, R::Socket>) {
        if self.shutdown.is_some() {
            return self.refuse_dial(dial, ConnectError::ShuttingDown);
        }
        if dial.addrs.is_empty() {
            return self.refuse_dial(dial, ConnectError::NoAddress);
        }
        let Some(id) = self.slots.reserve() else {
            return self.refuse_dial(dial, ConnectError::TooManyConnections);
        };
        let race = ConnectRace::new(dial.addrs.iter().take(ATTEMPTS_MAX).cloned());
        let deadline = dial.timeout.map(|timeout| self.local.now + timeout);
        let dialing = Dialing { dial, race, attempts: Vec::new(), deadline, last_error: None };
        self.slots.put(id, State::Dialing(Box::new(dialing)));
        self.advance_dial(id);
    }

    /// Starts the attempts that are due and arms the timer for the next step.
    pub(crate) fn advance_dial(&mut self, id: ConnId) {
        loop {
            let Some(State::Dialing(dialing)) = self.slots.get(id) else { return };
            if dialing.deadline.is_some_and(|deadline| deadline <= self.local.now) {
                return self.fail_dial(id, ConnectError::TimedOut);
            }
            match dialing.race.poll(self.local.now) {
                RaceStep::Attempt(addr) => match (dialing.dial.open_socket)(&addr) {
                    Ok(socket) => {
                        let socket = Arc::new(socket);
                        let token = Kind::Connect(dialing.attempts.len() as u8).token(id);
                        let op = self.ring.push(token, Op::Connect { socket: socket.clone(), addr });
                        dialing.attempts.push(Some(Attempt { op, socket }));
                    }
                    Err(error) => {
                        dialing.last_error = Some(error);
                        dialing.race.handle_failure();
                    }
                },
                RaceStep::Wait(next) => {
                    let until = [next, dialing.deadline].into_iter().flatten().min();
                    return match until {
                        Some(until) => self.timers.set(id.slot(), until),
                        None => self.timers.cancel(id.slot()),
                    };
                }
                RaceStep::Failed => {
                    let error = dialing.last_error.take();
                    let error = error.unwrap_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
                    return self.fail_dial(id, ConnectError::Failed(error));
                }
            }
        }
    }

    pub(crate) fn connect_done(&mut self, key: ConnId, attempt: u8, completion: &Completion<R>) {
        let id = self.own(key);
        match self.slots.get(id) {
            Some(State::Dialing(dialing)) => {
                let Some(ended) = dialing.attempts.get_mut(attempt as usize).and_then(Option::take) else {
                    return;
                };
                if completion.result >= 0 {
                    return self.connected(id, ended.socket);
                }
                if completion.result == -errno::AGAIN {
                    // The backlog of a unix listener is full: the same as a refusal, for now.
                    dialing.last_error = Some(io::Error::from(io::ErrorKind::WouldBlock));
                } else {
                    dialing.last_error = Some(io::Error::from_raw_os_error(-completion.result));
                }
                dialing.race.handle_failure();
                self.advance_dial(id);
            }
            // A loser of a race that is over; its socket is closed with the operation.
            Some(State::Open(open)) => open.losers = open.losers.saturating_sub(1),
            Some(State::Ending(ending)) => {
                ending.connects = ending.connects.saturating_sub(1);
                self.settle_ending(id);
            }
            _ => {}
        }
    }

    /// One attempt won: the others are cancelled, the slot becomes an established connection.
    fn connected(&mut self, id: ConnId, socket: Arc<R::Socket>) {
        self.timers.cancel(id.slot());
        let State::Dialing(dialing) = self.slots.put(id, State::Free) else { return };
        let Dialing { dial, attempts, .. } = *dialing;
        let losers = self.cancel_attempts(attempts);
        let session =
            Session::new(id, socket.peer_info(), dial.config, Owner::dialed(dial.handler, dial.failed));
        self.open(id, session, socket, None, losers);
    }

    pub(crate) fn fail_dial(&mut self, id: ConnId, error: ConnectError) {
        self.timers.cancel(id.slot());
        let State::Dialing(dialing) = self.slots.put(id, State::Free) else { return };
        let Dialing { dial, attempts, .. } = *dialing;
        let connects = self.cancel_attempts(attempts);
        self.slots.put(id, State::Ending(Ending { connects, ..Ending::default() }));
        self.settle_ending(id);
        self.refuse_dial(dial, error);
    }

    /// Ends a dial that holds no slot.
    fn refuse_dial(&mut self, dial: Dial<S::Handler, R::Addr, R::Socket>, error: ConnectError) {
        self.local.stats.panics += dial.fail(error);
    }

    /// Cancels what is left of a race; returns how many operations have yet to end.
    fn cancel_attempts(&mut self, attempts: Vec<Option<Attempt<R>>>) -> u32 {
        let mut cancelled = 0;
        for attempt in attempts.into_iter().flatten() {
            self.ring.cancel(attempt.op);
            cancelled += 1;
        }
        cancelled
    }
}

/// As many as a token can number, and as `interleave` keeps.
const ATTEMPTS_MAX: usize = 16;
