//! What becomes of operations.

use std::sync::Arc;

use qwormhole_proto::{RecvBuffer, Transmit};

use crate::fake_ring::FakeRing;
use crate::fake_ring::coverage::Outcome;
use crate::fake_ring::defect::Defect;
use crate::fake_ring::net::{FakeSocket, Net, NetState, SocketKind};
use crate::fake_ring::pool::{FakeBuffer, POISON};
use crate::ring::{Completion, Op, OpId, Token};

/// An operation that the kernel works on.
pub(super) struct Flight {
    pub(super) id: OpId,
    pub(super) token: Token,
    pub(super) op: Op<FakeRing>,
    stream: Option<usize>,
    /// The kernel knows of it.
    submitted: bool,
    /// The kernel has looked at it once.
    armed: bool,
    /// It should end soon.
    pub(super) cancelled: bool,
    /// A cancellation has no effect; only with that defect.
    pub(super) ignores_cancel: bool,
    /// Bytes of a send that have left.
    sent: usize,
}

impl Flight {
    pub(super) fn new(
        id: OpId,
        token: Token,
        op: Op<FakeRing>,
        stream: Option<usize>,
        ignores_cancel: bool,
    ) -> Self {
        Self {
            id,
            token,
            op,
            stream,
            submitted: false,
            armed: false,
            cancelled: false,
            ignores_cancel,
            sent: 0,
        }
    }

    fn kind(&self) -> Kind {
        match self.op {
            Op::Accept { .. } => Kind::Accept,
            Op::Recv { .. } => Kind::Recv,
            Op::Send { .. } => Kind::Send,
            Op::Connect { .. } => Kind::Connect,
        }
    }
}

/// The kinds of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Accept,
    Recv,
    Send,
    Connect,
}

/// A completion on its way to the shard.
pub(super) struct Posted {
    op: OpId,
    pub(super) kind: Kind,
    pub(super) stream: Option<usize>,
    /// The operation has ended, whatever the completion says.
    pub(super) last: bool,
    pub(super) completion: Completion<FakeRing>,
}

/// Late data for the next connection of its slot.
pub(super) struct Ghost {
    token: Token,
    data: Vec<u8>,
}

/// What one look at an operation brings.
#[derive(Default)]
struct Step {
    result: i32,
    more: bool,
    socket: Option<FakeSocket>,
    buffer: Option<FakeBuffer>,
}

impl Step {
    fn ended(result: i32) -> Self {
        Self { result, ..Self::default() }
    }
}

impl FakeRing {
    /// Makes what was pushed known to the kernel.
    pub(super) fn submit(&mut self) {
        self.flights.iter_mut().for_each(|flight| flight.submitted = true);
    }

    /// Looks at every operation, in any order, and posts what came of it. True when anything did.
    pub(super) fn work(&mut self) -> bool {
        let (overflow, first) = {
            let mut net = self.net.lock();
            (net.choices.one_in(64), net.choices.below(self.flights.len()))
        };
        self.stats.overflows += u64::from(overflow);
        self.flights.rotate_left(first);
        let mut worked = false;
        let mut index = 0;
        while index < self.flights.len() {
            if self.is_idle(index) {
                index += 1;
                continue;
            }
            let before = self.flights[index].sent;
            let Some(step) = self.look(index, overflow) else {
                worked |= self.flights[index].sent != before;
                index += 1;
                continue;
            };
            worked = true;
            let last = !step.more;
            self.post(index, step);
            if last {
                self.flights.remove(index);
            }
        }
        worked
    }

    /// Shows posted completions to the shard: in any order among operations, in order within one. True when
    /// any was shown.
    pub(super) fn deliver(&mut self) -> bool {
        let mut delivered = false;
        self.raise_ghosts();
        while !self.posted.is_empty() {
            let mut net = self.net.lock();
            if net.choices.one_in(3) {
                break;
            }
            let op = self.posted[net.choices.below(self.posted.len())].op;
            let mut of_op = self.posted.iter().enumerate().filter(|(_, posted)| posted.op == op);
            let first = of_op.next().map_or(0, |(index, _)| index);
            let second = of_op.next().filter(|(_, posted)| !posted.last).map_or(first, |(index, _)| index);
            let reordered = self.defect == Some(Defect::RecvReordered) && net.choices.one_in(4);
            drop(net);
            let posted = self.posted.remove(if reordered { second } else { first });
            self.ready.push_back(posted);
            delivered = true;
        }
        delivered
    }

    /// Whether the kernel does not get round to the operation at `index` now.
    fn is_idle(&self, index: usize) -> bool {
        let flight = &self.flights[index];
        let mut net = self.net.lock();
        let hangs = flight.cancelled && net.script.cancels_hang.contains(&flight.kind());
        !flight.submitted || hangs || net.choices.one_in(2)
    }

    /// One look at the operation at `index`; `None` when nothing comes of it yet.
    fn look(&mut self, index: usize, overflow: bool) -> Option<Step> {
        let net = self.net.clone();
        let mut net = net.lock();
        let flight = &self.flights[index];
        let armed = flight.armed;
        let step = match (&flight.op, flight.stream) {
            (Op::Accept { listener }, _) => {
                accept(&self.net, &mut net, listener.kind, flight.cancelled, overflow)
            }
            (Op::Recv { .. }, Some(stream)) => self.receive(&mut net, flight, stream, overflow),
            (Op::Connect { .. }, Some(stream)) => connect(&mut net, stream, flight.cancelled),
            (Op::Send { transmit, .. }, Some(stream)) => {
                let (step, sent) = send(&mut net, flight, transmit, stream, self.defect);
                self.flights[index].sent = sent;
                step
            }
            _ => None,
        };
        self.flights[index].armed = true;
        if !armed && step.is_none() {
            net.trace(|| format!("armed {}", self.flights[index].id.0));
        }
        step
    }

    fn post(&mut self, index: usize, step: Step) {
        let flight = &mut self.flights[index];
        let kind = flight.kind();
        let transmit = match &mut flight.op {
            Op::Send { transmit, .. } => Some(std::mem::take(transmit)),
            Op::Accept { .. } | Op::Recv { .. } | Op::Connect { .. } => None,
        };
        let Step { mut result, more, mut socket, buffer } = step;
        let full = transmit.as_ref().map_or(0, Transmit::len) as i32;
        let lost = match self.defect {
            Some(Defect::ShortSendTakenAsFull) if kind == Kind::Send && result > 0 => {
                result = full;
                None
            }
            Some(Defect::StarvedTakenAsEnd) if kind == Kind::Recv && result == NOBUFS => {
                result = 0;
                None
            }
            Some(Defect::SocketLost) if self.net.choose(4) == 3 => socket.take(),
            _ => None,
        };
        let completion = Completion { token: flight.token, result, more, socket, buffer, transmit };
        self.posted.push(Posted { op: flight.id, kind, stream: flight.stream, last: !more, completion });
        drop(lost);
    }

    /// One look at a receive. The kernel takes a buffer before it looks at the socket, so a lack of buffers
    /// hides data and ends alike.
    fn receive(&self, net: &mut NetState, flight: &Flight, stream: usize, overflow: bool) -> Option<Step> {
        let state = &net.streams[stream];
        let (has_data, ended, reset) = (!state.to_shard.is_empty(), state.peer_ended.is_some(), state.reset);
        let starved = self.pool.free() == 0;
        if flight.cancelled {
            let late = net.choices.below(4);
            if late == 3 && has_data && !starved {
                net.cover(Outcome::RecvAfterCancel);
                return self.take_data(net, stream, true);
            }
            if late > 0 && ended && !has_data && !starved {
                return Some(Step::ended(0));
            }
            net.cover(Outcome::RecvCancelled);
            return Some(Step::ended(CANCELED));
        }
        if net.choices.one_in(64) {
            net.cover(Outcome::RecvInterrupted);
            return Some(Step::ended(INTR));
        }
        let hidden = match (has_data, ended || reset) {
            (true, _) => Outcome::RecvNoBufferHidingData,
            (_, true) => Outcome::RecvNoBufferHidingEnd,
            _ if flight.armed => return None,
            _ => Outcome::RecvNoBuffer,
        };
        if starved {
            net.cover(hidden);
            return Some(Step::ended(NOBUFS));
        }
        if reset && (!has_data || net.choices.one_in(2)) {
            net.cover(Outcome::RecvReset);
            return Some(Step::ended(CONNRESET));
        }
        if has_data {
            let outcome = match (overflow, net.script.receives_once || net.choices.one_in(8)) {
                (true, _) => Outcome::RecvOverflow,
                (_, true) => Outcome::RecvEnded,
                _ => Outcome::RecvMore,
            };
            net.cover(outcome);
            return self.take_data(net, stream, outcome == Outcome::RecvMore);
        }
        ended.then(|| {
            net.cover(Outcome::RecvEnd);
            Step::ended(0)
        })
    }

    /// Moves data of a stream into a buffer.
    fn take_data(&self, net: &mut NetState, stream: usize, more: bool) -> Option<Step> {
        let source = &mut net.streams[stream].to_shard;
        let len = net.choices.amount(source.len().min(self.pool.buffer_len()));
        let buffer = self.pool.fill(source.drain(..len))?;
        Some(Step { result: len as i32, more, buffer: Some(buffer), ..Step::default() })
    }

    /// With the defect that gives slots away early: data that arrives after a close waits for the slot's next
    /// connection.
    fn raise_ghosts(&mut self) {
        if self.defect != Some(Defect::StaleToken) {
            return;
        }
        let net = self.net.lock();
        for posted in &mut self.posted {
            let over = posted.stream.is_some_and(|stream| net.streams[stream].session_over);
            if let Some(buffer) = posted.completion.buffer.take_if(|_| over) {
                posted.completion.result = CANCELED;
                let token = Token(posted.completion.token.0 + 1);
                self.ghosts.push(Ghost { token, data: buffer.as_slice().to_vec() });
            }
        }
        drop(net);
        let flights = &self.flights;
        let due = |ghost: &mut Ghost| flights.iter().any(|flight| flight.token == ghost.token);
        for Ghost { token, data } in self.ghosts.extract_if(.., due) {
            let Some(buffer) = self.pool.fill(data.iter().copied()) else { continue };
            let (result, buffer) = (data.len() as i32, Some(buffer));
            let completion = Completion { token, result, more: true, socket: None, buffer, transmit: None };
            self.ready.push_back(Posted {
                op: OpId(0),
                kind: Kind::Recv,
                stream: None,
                last: false,
                completion,
            });
        }
    }
}

/// One look at an accept.
fn accept(
    net: &Arc<Net>,
    state: &mut NetState,
    listener: SocketKind,
    cancelled: bool,
    overflow: bool,
) -> Option<Step> {
    let SocketKind::Listener(number) = listener else { return None };
    let waiting = state.backlogs[number].front().copied();
    if let Some(errno) = state.script.accept_fails.filter(|_| waiting.is_some() && !cancelled) {
        return Some(Step::ended(-errno));
    }
    let pick = state.choices.below(32);
    let outcome = match waiting {
        Some(_) if cancelled && pick >= 24 => Outcome::AcceptLateMore,
        Some(_) if cancelled && pick >= 16 => Outcome::AcceptLateEnded,
        _ if cancelled => Outcome::AcceptCancelled,
        None => return None,
        Some(_) if overflow => Outcome::AcceptOverflow,
        Some(_) if pick == 31 => Outcome::AcceptExhausted,
        Some(_) if pick == 30 => Outcome::AcceptAborted,
        Some(_) if pick >= 26 => Outcome::AcceptEnded,
        Some(_) => Outcome::AcceptMore,
    };
    state.cover(outcome);
    let error = match outcome {
        Outcome::AcceptCancelled => CANCELED,
        Outcome::AcceptExhausted => state.choices.pick(&[MFILE, NFILE, NOMEM, NOBUFS]),
        Outcome::AcceptAborted => CONNABORTED,
        _ => 0,
    };
    if matches!(outcome, Outcome::AcceptCancelled | Outcome::AcceptExhausted) {
        return Some(Step::ended(error));
    }
    let stream = state.backlogs[number].pop_front()?;
    if outcome == Outcome::AcceptAborted {
        state.streams[stream].closed = Some(state.now);
        return Some(Step::ended(error));
    }
    let socket = FakeSocket::new(net, state, SocketKind::Stream(stream));
    state.accepted += 1;
    state.trace(|| format!("accepted stream {stream}"));
    let more = matches!(outcome, Outcome::AcceptMore | Outcome::AcceptLateMore);
    Some(Step { result: 100 + stream as i32, more, socket: Some(socket), buffer: None })
}

/// One look at a connect.
fn connect(net: &mut NetState, stream: usize, cancelled: bool) -> Option<Step> {
    if net.script.connects_hang_from.is_some_and(|first| first <= stream) && !cancelled {
        return None;
    }
    let pick = net.choices.below(16);
    let (outcome, result) = match (pick, cancelled) {
        (0..=7, true) => (Outcome::ConnectCancelled, CANCELED),
        (8..=11, true) => (Outcome::ConnectOkAfterCancel, 0),
        (_, true) => (Outcome::ConnectRefusedAfterCancel, CONNREFUSED),
        (0, _) => (Outcome::ConnectOk, 0),
        (1, _) => (Outcome::ConnectRefused, CONNREFUSED),
        (2, _) => (Outcome::ConnectTimedOut, TIMEDOUT),
        _ => return None,
    };
    net.cover(outcome);
    net.streams[stream].connected = result == 0;
    Some(Step::ended(result))
}

/// One look at a send; also how much of it has left by then.
fn send(
    net: &mut NetState,
    flight: &Flight,
    transmit: &Transmit,
    stream: usize,
    defect: Option<Defect>,
) -> (Option<Step>, usize) {
    let before = flight.sent;
    let gone = net.streams[stream].reset;
    if before > 0 && (gone || flight.cancelled) {
        net.cover(Outcome::SendShort);
        return (Some(Step::ended(before as i32)), before);
    }
    if gone {
        let (outcome, error) =
            net.choices.pick(&[(Outcome::SendBrokenPipe, BROKEN_PIPE), (Outcome::SendReset, CONNRESET)]);
        net.cover(outcome);
        return (Some(Step::ended(error)), 0);
    }
    if flight.cancelled && !net.choices.one_in(2) {
        return (Some(Step::ended(CANCELED)), 0);
    }
    if before == 0 && net.choices.one_in(64) {
        net.cover(Outcome::SendInterrupted);
        return (Some(Step::ended(INTR)), 0);
    }
    let left = transmit.len() - before;
    let room = net.streams[stream].room().min(left);
    let taken = if room == 0 { 0 } else { net.choices.amount(room) };
    let bytes = || transmit.segments().iter().flat_map(|segment| segment.as_slice()).copied().skip(before);
    let twice = defect == Some(Defect::SentTwice) && net.choices.one_in(16);
    for _ in 0..1 + usize::from(twice) {
        net.streams[stream].to_peer.extend(bytes().take(taken));
    }
    let sent = before + taken;
    let short = taken > 0 && (flight.cancelled || net.choices.one_in(4));
    let outcome = match sent {
        _ if sent == transmit.len() && before > 0 => Outcome::SendInPieces,
        _ if sent == transmit.len() => Outcome::SendAll,
        _ if defect == Some(Defect::TransmitReturnedEarly) && net.choices.one_in(8) => {
            let rest = transmit.len() - sent;
            net.streams[stream].to_peer.extend(std::iter::repeat_n(POISON, rest));
            return (Some(Step::ended(transmit.len() as i32)), sent);
        }
        _ if short => Outcome::SendShort,
        _ => return (None, sent),
    };
    net.cover(outcome);
    (Some(Step::ended(sent as i32)), sent)
}

pub(super) const CANCELED: i32 = -crate::errno::CANCELED;
const INTR: i32 = -crate::errno::INTR;
const NOBUFS: i32 = -crate::errno::NOBUFS;
const CONNABORTED: i32 = -crate::errno::CONNABORTED;
const NOMEM: i32 = -12;
const NFILE: i32 = -23;
const MFILE: i32 = -24;
const BROKEN_PIPE: i32 = -32;
const CONNRESET: i32 = -104;
const TIMEDOUT: i32 = -110;
const CONNREFUSED: i32 = -111;
