//! From an established transport to an open connection: TLS, then the handshake, each with a deadline.
//!
//! Nothing of a peer that fails here reaches the handler: it is only made when the peer was accepted.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Wake, Waker};

use crate::close::CloseReason;
use crate::config::{Framing, HandshakeRole, TlsRole};
use crate::connection::PAUSE_OPENING;
use crate::decoder::{Decoder, Frame};
use crate::error::FrameTooLarge;
use crate::handler::Handler;
use crate::handshake::{
    ClientHandshake, HandshakeAck, HandshakeFault, HandshakeInfo, Judgement, ObjectScanner, TransportFacts,
    Verdict,
};
use crate::local::ShardLocal;
use crate::priority::Priority;
use crate::remote::Remote;
use crate::secure::Secure;
use crate::session::Session;
use crate::time::Time;
use crate::unfinished::Place;

/// How far a connection has come that is not open yet.
pub(crate) struct Opening {
    /// Closes with [`CloseReason::HandshakeTimeout`].
    pub(crate) deadline: Option<Time>,
    step: Step,
}

enum Step {
    /// TLS is shaking hands.
    Tls,
    /// Ours leaves before anything else; without framing nothing may share its segment.
    Leaving,
    /// The peer's frame is to come first: a client's handshake, or the acknowledgement of ours.
    Expected,
    /// The same without framing: an object at the front of the stream, as far as it has arrived.
    Scanned(ObjectScanner, Vec<u8>),
    /// A verifier decides; what arrives meanwhile is held.
    Verified(Verdict, Box<HandshakeInfo>),
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

impl<H: Handler> Session<H> {
    /// The transport is established. The connection opens at once, or after TLS and the handshake.
    pub fn open(&mut self, local: &mut ShardLocal) {
        let config = self.conn.config.clone();
        if config.tls.is_none() && config.handshake.is_none() {
            return self.opened(local);
        }
        if config.accepts_strangers() {
            match local.unfinished.enter(self.conn.id, &self.conn.peer) {
                Place::Taken => {}
                Place::TakenFrom(evicted) => local.port.post(evicted),
                Place::Refused => return self.conn.abort(CloseReason::Refused),
            }
        }
        let timeout = config.limits.handshake_timeout;
        let deadline = (!timeout.is_zero()).then(|| local.now + timeout);
        self.opening = Some(Box::new(Opening { deadline, step: Step::Tls }));
        match config.tls.as_ref().map(TlsRole::filter) {
            None => self.shake_hands(local),
            Some(Ok(filter)) => self.conn.secure = Some(Box::new(Secure::new(filter))),
            Some(Err(fault)) => self.conn.abort(CloseReason::Tls(fault)),
        }
    }

    /// TLS is done: the peer's certificate is known.
    pub(crate) fn secured(&mut self, local: &mut ShardLocal, secure: &Secure) {
        self.conn.peer.tls = secure.filter.facts().cloned().map(Arc::new);
        self.shake_hands(local);
    }

    /// Takes what belongs to the opening off the front of `bytes`; how much that was.
    pub(crate) fn handle_opening(&mut self, local: &mut ShardLocal, bytes: &[u8]) -> usize {
        let Some(opening) = self.opening.as_mut() else { return 0 };
        match &mut opening.step {
            Step::Scanned(scanner, object) => match scanner.feed(bytes) {
                Ok(end) => {
                    let len = end.unwrap_or(bytes.len());
                    object.extend_from_slice(bytes.get(..len).unwrap_or_default());
                    if end.is_some() {
                        let payload = std::mem::take(object);
                        self.handle_first_payload(local, &payload);
                    }
                    len
                }
                Err(fault) => {
                    let fault = if self.conn.config.expects_handshake() {
                        fault
                    } else {
                        HandshakeFault::Unacknowledged
                    };
                    self.reject(local, fault);
                    bytes.len()
                }
            },
            Step::Expected => self.handle_first_frame(local, bytes),
            Step::Tls | Step::Leaving | Step::Verified(..) => 0,
        }
    }

    /// The connection may have been chosen to make room for others, while it opens or while it lingers refused.
    pub(crate) fn make_room(&mut self, local: &ShardLocal) {
        if local.unfinished.was_evicted(self.conn.id) {
            self.conn.abort(CloseReason::HandshakeOverload);
        }
    }

    /// The verifier may have an answer.
    pub(crate) fn wake_opening(&mut self, local: &mut ShardLocal) {
        if !self.conn.is_open() {
            return;
        }
        let Some(opening) = self.opening.as_mut() else { return };
        let Step::Verified(verdict, _) = &mut opening.step else { return };
        let waker = Waker::from(Arc::new(Recheck(self.conn.remote(&local.port))));
        let Poll::Ready(judged) = verdict.as_mut().poll(&mut TaskContext::from_waker(&waker)) else { return };
        let Step::Verified(_, info) = std::mem::replace(&mut opening.step, Step::Tls) else { return };
        match judged {
            Ok(()) => self.accept(local, info),
            Err(fault) => self.reject(local, fault),
        }
    }

    /// A submission was taken by the kernel.
    pub(crate) fn note_opening_left(&mut self, local: &mut ShardLocal) {
        let leaving = self.opening.as_ref().is_some_and(|opening| matches!(opening.step, Step::Leaving));
        if leaving && self.conn.outbox.is_idle() {
            self.opened(local);
        }
    }

    /// An open connection whose peer has ended and whose data is all delivered ends too; one that is not open
    /// cannot open any more, unless everything it takes has arrived. True once instead, when the handler is to
    /// be asked because half open connections are allowed.
    pub(crate) fn settle_eof(&mut self, now: Time) -> bool {
        let may_stay = self.conn.config.allow_half_open;
        match self.opening.as_ref().map(|opening| &opening.step) {
            None => self.conn.settle_eof(now, may_stay, false),
            Some(Step::Verified(..) | Step::Leaving) => false,
            Some(Step::Scanned(_, object)) => self.conn.settle_eof(now, false, !object.is_empty()),
            Some(_) => self.conn.settle_eof(now, false, false),
        }
    }

    pub(crate) fn handle_opening_timeout(&mut self, now: Time) {
        let due = self.opening.as_ref().and_then(|opening| opening.deadline);
        if due.is_some_and(|due| due <= now) {
            self.opening = None;
            self.conn.begin_close(now, CloseReason::HandshakeTimeout);
        }
    }

    fn shake_hands(&mut self, local: &mut ShardLocal) {
        let config = self.conn.config.clone();
        match &config.handshake {
            None => self.opened(local),
            Some(HandshakeRole::Send(handshake)) => self.send_handshake(local, handshake),
            Some(HandshakeRole::Expect(policy)) => {
                let bytes_max = u32::try_from(policy.bytes_max).unwrap_or(u32::MAX);
                self.conn.decoder = Decoder::new(config.framing, bytes_max);
                self.expect(config.framing, policy.bytes_max);
            }
        }
    }

    fn send_handshake(&mut self, local: &mut ShardLocal, handshake: &ClientHandshake) {
        let (config, unix_ms) = (self.conn.config.clone(), local.unix_ms());
        let random = (u128::from(local.random()) << 64 | u128::from(local.random())).to_be_bytes();
        let tags = self.conn.peer.tls.iter().flat_map(|tls| tls.handshake_tags()).collect::<Vec<_>>();
        // The signer may be the user's code.
        let encoded = catch_unwind(AssertUnwindSafe(|| handshake.encode(&tags, unix_ms, random)));
        let payload = match encoded {
            Ok(Ok(payload)) => payload,
            Ok(Err(fault)) => return self.conn.abort(CloseReason::Handshake(fault)),
            Err(_) => {
                local.stats.panics += 1;
                return self.conn.abort(CloseReason::HandlerPanicked);
            }
        };
        if self.conn.outbox.push_over(&config, Priority::HANDSHAKE, &payload[..], local).is_err() {
            let limit = config.limits.max_send_frame_len as usize;
            let fault = HandshakeFault::TooLarge { len: payload.len(), limit };
            return self.conn.abort(CloseReason::Handshake(fault));
        }
        if handshake.wants_ack() {
            self.expect(config.framing, HandshakeAck::BYTES_MAX);
        } else if config.framing == Framing::None {
            self.conn.pause(PAUSE_OPENING);
            self.step(Step::Leaving);
        } else {
            self.opened(local);
        }
    }

    /// Takes the first frame; how many bytes that was.
    fn handle_first_frame(&mut self, local: &mut ShardLocal, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        let frame = self.conn.decoder.next(&mut rest, &mut local.pool);
        self.conn.note_input(local.now, matches!(frame, Ok(Some(_))));
        match frame {
            Ok(Some(Frame::Whole(payload))) => self.handle_first_payload(local, payload),
            Ok(Some(Frame::Stitched(payload))) => {
                self.handle_first_payload(local, &payload);
                local.pool.give(payload);
            }
            Ok(None) => {}
            Err(FrameTooLarge { len, limit }) => {
                self.reject(local, HandshakeFault::TooLarge { len: len as usize, limit: limit as usize });
            }
        }
        bytes.len() - rest.len()
    }

    fn handle_first_payload(&mut self, local: &mut ShardLocal, payload: &[u8]) {
        match HandshakeAck::parse(payload) {
            _ if self.conn.config.expects_handshake() => self.judge(local, payload),
            Some(_) => {
                self.conn.peer.acknowledged = true;
                self.opened(local);
            }
            None => self.reject(local, HandshakeFault::Unacknowledged),
        }
    }

    fn judge(&mut self, local: &mut ShardLocal, payload: &[u8]) {
        let config = self.conn.config.clone();
        let Some(HandshakeRole::Expect(policy)) = &config.handshake else { return };
        let facts = self.conn.peer.tls.as_deref().map(TransportFacts::from).unwrap_or_default();
        match policy.judge(payload, &facts, &self.conn.peer, local.unix_ms()) {
            Judgement::Accept(info) => self.accept(local, info),
            Judgement::Reject(fault) => self.reject(local, fault),
            Judgement::Ask(verdict, info) => {
                self.conn.pause(PAUSE_OPENING);
                self.step(Step::Verified(verdict, info));
                self.wake_opening(local);
            }
        }
    }
}

impl<H: Handler> Session<H> {
    fn accept(&mut self, local: &mut ShardLocal, info: Box<HandshakeInfo>) {
        let config = self.conn.config.clone();
        let wants_ack = info.wants_ack;
        self.conn.peer.handshake = Some(Arc::from(info));
        self.conn.decoder.set_limit(config.limits.max_frame_len);
        if wants_ack {
            // The outbox is empty, and the configuration was checked for the answer's length.
            let _ = self.conn.outbox.push_over(&config, Priority::HANDSHAKE, config.ack().encode(), local);
        }
        self.opened(local);
    }

    fn reject(&mut self, local: &mut ShardLocal, fault: HandshakeFault) {
        self.end_opening(local, CloseReason::Handshake(fault));
    }

    fn end_opening(&mut self, local: &mut ShardLocal, reason: CloseReason) {
        self.opening = None;
        self.conn.begin_close(local.now, reason);
    }

    /// Waits for the peer's first word, of at most `bytes_max` bytes.
    fn expect(&mut self, framing: Framing, bytes_max: usize) {
        self.step(match framing {
            Framing::None => Step::Scanned(ObjectScanner::new(bytes_max), Vec::new()),
            Framing::LengthPrefixed => Step::Expected,
        });
    }

    fn step(&mut self, step: Step) {
        if let Some(opening) = &mut self.opening {
            opening.step = step;
        }
    }
}

/// Makes the connection's shard ask the verifier again.
struct Recheck(Arc<Remote>);

impl Wake for Recheck {
    fn wake(self: Arc<Self>) {
        self.0.recheck();
    }
}

#[cfg(test)]
#[path = "opening_tests.rs"]
mod tests;
