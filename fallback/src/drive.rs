//! The task of one connection: moves bytes, time and wake-ups between its socket and its session.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use qwormhole_proto::{Action, Config, Handler, Owner, PeerInfo, Session, ShardLocal, Time, Transmit};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::seat::Seat;
use crate::shard::{SHUTDOWN, Turning};
use crate::stream::Stream;

/// One connection and what drives it.
pub(crate) struct Driven<H> {
    session: Session<H>,
    /// A submission that the socket has no room for yet.
    in_flight: Option<Transmit>,
    /// When the timer goes off; never later than the session's deadline.
    armed: Option<Time>,
    /// Cut by the shutdown deadline.
    cut: bool,
    /// Closed before the seat is free.
    stream: Stream,
    seat: Seat,
}

impl<H: Handler> Driven<H> {
    pub(crate) fn new(
        seat: Seat,
        stream: Stream,
        peer: PeerInfo,
        config: Arc<Config>,
        owner: Owner<H>,
    ) -> Self {
        let session = Session::new(seat.id(), peer, config, owner);
        Self { session, in_flight: None, armed: None, cut: false, stream, seat }
    }

    /// One turn; ready when the connection is over.
    fn poll_turn(&mut self, cx: &mut Context<'_>, mut sleep: Pin<&mut Sleep>) -> Poll<()> {
        let shard = self.seat.shard().clone();
        shard.turn(|turning| {
            self.take_signals(cx, &mut turning.local);
            loop {
                match self.move_bytes(cx, turning) {
                    Progress::Over => return Poll::Ready(()),
                    Progress::More => {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    Progress::Stuck => ready!(self.poll_deadline(cx, sleep.as_mut(), &mut turning.local)),
                }
            }
        })
    }

    fn take_signals(&mut self, cx: &Context<'_>, local: &mut ShardLocal) {
        let signals = self.seat.signals(cx.waker());
        if signals.remote {
            self.session.handle_remote(local);
        }
        if signals.asked {
            while let Some(broadcast) = self.seat.next_broadcast() {
                self.session.handle_broadcast(local, &broadcast);
            }
            for lookup in self.seat.take_lookups() {
                if let Some(sender) = self.session.sender(local) {
                    lookup.answer(sender);
                }
            }
        }
        if signals.abort {
            self.cut = true;
            self.session.abort(SHUTDOWN);
        } else if signals.close {
            self.session.close(local, SHUTDOWN);
        }
    }

    /// Receives and sends until neither is possible, within the connection's share of a turn. Replies to one
    /// receive leave together.
    fn move_bytes(&mut self, cx: &mut Context<'_>, turning: &mut Turning) -> Progress {
        for _ in 0..ROUNDS_MAX {
            let received = self.receive(cx, turning);
            let sent = self.send(cx, &mut turning.local);
            if sent == Sent::Slice {
                return Progress::More;
            }
            match self.session.poll_action(&turning.local) {
                Some(Action::Close) => return Progress::Over,
                Some(Action::ShutdownWrite) => {
                    // Told last: who sees the end finds everything before it counted.
                    self.seat.shard().publish(&turning.local);
                    self.stream.shutdown_write();
                }
                None if !received && sent == Sent::Nothing => return Progress::Stuck,
                None => {}
            }
        }
        Progress::More
    }

    /// Receives once; false when nothing can be received now, and the task is woken when it can.
    fn receive(&mut self, cx: &mut Context<'_>, turning: &mut Turning) -> bool {
        if !self.session.wants_read() {
            return false;
        }
        let local = &mut turning.local;
        match self.stream.poll_recv(cx, turning.recv.room()) {
            Poll::Pending => return false,
            Poll::Ready(Ok(0)) => self.session.handle_eof(local),
            Poll::Ready(Ok(_)) => self.session.handle_bytes(local, &turning.recv.take_filled()),
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Poll::Ready(Err(error)) => self.session.handle_transport_error(error.kind()),
        }
        true
    }

    /// Sends what waits, up to a slice. When nothing was sent, the task is woken when something can be.
    fn send(&mut self, cx: &mut Context<'_>, local: &mut ShardLocal) -> Sent {
        let clock = self.seat.shard().clock;
        let mut sent = Sent::Nothing;
        for _ in 0..SENDS_MAX {
            let Some(transmit) = self.in_flight.take().or_else(|| self.session.poll_transmit(local)) else {
                return sent;
            };
            let begun = local.begin_hand_over().then(|| clock.now());
            let result = match self.stream.poll_send(cx, &transmit) {
                Poll::Pending => {
                    local.put_off_hand_over();
                    self.in_flight = Some(transmit);
                    return sent;
                }
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
                Poll::Ready(result) => result.map_err(|error| error.kind()),
            };
            if let Some(begun) = begun {
                local.note_handed_over(begun, clock.now());
            }
            let slice = matches!(result, Ok(taken) if taken > 0) && local.is_slice(transmit.len());
            self.session.handle_transmitted(local, transmit, result);
            if slice {
                return Sent::Slice;
            }
            sent = Sent::Some;
        }
        sent
    }

    /// Ready when a deadline may have passed and was acted on. The timer is moved only when the deadline
    /// comes before it: deadlines that move away, as with every byte of a frame, cost nothing.
    fn poll_deadline(
        &mut self,
        cx: &mut Context<'_>,
        mut sleep: Pin<&mut Sleep>,
        local: &mut ShardLocal,
    ) -> Poll<()> {
        let Some(deadline) = self.session.poll_timeout() else { return Poll::Pending };
        let clock = self.seat.shard().clock;
        if self.armed.is_none_or(|armed| deadline < armed) {
            self.armed = Some(deadline);
            sleep.as_mut().reset(clock.instant(deadline));
        }
        ready!(sleep.poll(cx));
        self.armed = None;
        local.now = clock.now();
        self.session.handle_timeout(local);
        Poll::Ready(())
    }

    fn finish(self) {
        let Self { session, in_flight, cut, stream, seat, .. } = self;
        let shard = seat.shard();
        shard.turn(|turning| {
            shard.note_ended(!cut && session.connection().queued_bytes() == 0);
            session.finish(&mut turning.local);
            if let Some(transmit) = in_flight {
                turning.local.give_transmit(transmit);
            }
        });
        drop(stream);
    }
}

/// Runs a connection from its opening to its end. Ends by itself only: cancelling it would skip `on_close`.
pub(crate) async fn drive<H: Handler>(mut driven: Driven<H>) {
    driven.seat.join();
    driven.seat.shard().clone().turn(|turning| driven.session.open(&mut turning.local));
    let mut sleep = pin!(sleep_until(Instant::now()));
    poll_fn(|cx| driven.poll_turn(cx, sleep.as_mut())).await;
    driven.finish();
}

/// What a connection has sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sent {
    Nothing,
    Some,
    /// As much as others should wait for.
    Slice,
}

/// How far a connection came in its turn.
enum Progress {
    /// The connection is over.
    Over,
    /// Its share of the turn is used up.
    More,
    /// It waits for its socket, its timer or other threads.
    Stuck,
}

/// Receives of one connection per turn before others are served: at most 512 KiB.
const ROUNDS_MAX: usize = 4;
/// Submissions of one connection per receive.
const SENDS_MAX: usize = 4;
