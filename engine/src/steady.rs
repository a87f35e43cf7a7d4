//! A shard over the simplest ring there can be, for measuring what a turn costs apart from the kernel: every
//! connection receives the same bytes in every turn, every send is taken whole at once.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use qwormhole_proto::{
    Config, Context, Endpoint, Handler, Message, PeerAddr, PeerInfo, Slicing, Time, WaitMode,
};

use crate::control::{Control, ShardHandle};
use crate::mailbox::Mailbox;
use crate::ring::{Completion, Op, OpId, Ring, RingSocket, RingStats, Token};
use crate::shard::{Shard, ShardParts};

/// A shard with connections that echo whatever they receive.
pub struct Steady {
    shard: Shard<SteadyRing, fn(&PeerInfo) -> Echo>,
}

impl Steady {
    /// A shard with that many connections, each of which receives `data` in every turn.
    pub fn new(connections: u32, data: Vec<u8>) -> Self {
        let mut steady = Self::with_wait(connections, data, WaitMode::Park);
        // Accepted in the second turn, receiving from the third, everything used once by the fifth.
        (0..5).for_each(|_| steady.turn());
        steady
    }

    fn with_wait(connections: u32, data: Vec<u8>, wait: WaitMode) -> Self {
        let mailbox = Arc::new(Mailbox::new(connections as usize));
        let (handle, controls) = ShardHandle::new(mailbox.clone());
        let parts = ShardParts {
            index: 0,
            connections_max: connections,
            mailbox,
            controls,
            peers: vec![handle.clone()],
            published: Arc::default(),
            wait,
            slicing: Slicing::Auto,
        };
        let ring = SteadyRing { to_accept: connections, data: data.into(), ..SteadyRing::default() };
        let service: fn(&PeerInfo) -> Echo = |_| Echo;
        let shard = Shard::new(ring, service, parts);
        let (endpoint, config) = (Endpoint::new(connections as usize), Arc::<Config>::default());
        handle.send(Control::Listen { socket: SteadySocket, endpoint, config, spread: false });
        Self { shard }
    }

    /// One turn: a receive, its messages' echoes and the completion of the last send on every connection.
    ///
    /// # Panics
    ///
    /// Never: this ring has no way to fail.
    pub fn turn(&mut self) {
        self.shard.turn().expect("this ring does not fail");
    }

    /// Bytes sent so far.
    pub fn sent(&self) -> u64 {
        self.shard.ring().sent
    }
}

impl std::fmt::Debug for Steady {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Steady").field("sent", &self.sent()).finish_non_exhaustive()
    }
}

struct Echo;

impl Handler for Echo {
    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        conn.reply(message).expect("echoes are as small as what comes");
    }
}

#[derive(Default)]
struct SteadyRing {
    /// Connections that the listener has still to give out.
    to_accept: u32,
    data: Bytes,
    accept: Option<Token>,
    receives: Vec<Token>,
    pushed: Vec<Completion<Self>>,
    ready: VecDeque<Completion<Self>>,
    sent: u64,
    stats: RingStats,
}

struct SteadySocket;

impl RingSocket for SteadySocket {
    fn peer_info(&self) -> PeerInfo {
        PeerInfo::new(PeerAddr::Unknown)
    }

    fn shutdown_write(&self) {}
}

fn completion(token: Token, result: usize, more: bool) -> Completion<SteadyRing> {
    Completion { token, result: result as i32, more, socket: None, buffer: None, transmit: None }
}

impl Ring for SteadyRing {
    type Socket = SteadySocket;
    type Buffer = Bytes;
    type Addr = ();

    fn push(&mut self, token: Token, op: Op<Self>) -> OpId {
        match op {
            Op::Accept { .. } => self.accept = Some(token),
            Op::Recv { .. } => self.receives.push(token),
            Op::Send { transmit, .. } => {
                self.sent += transmit.len() as u64;
                let done = completion(token, transmit.len(), false);
                self.pushed.push(Completion { transmit: Some(transmit), ..done });
            }
            Op::Connect { .. } => self.pushed.push(completion(token, 0, false)),
        }
        OpId(token.0)
    }

    fn cancel(&mut self, _op: OpId) {}

    fn enter(&mut self, _wait: Option<Duration>) -> io::Result<()> {
        self.stats.enters += 1;
        self.ready.extend(self.pushed.drain(..));
        if let Some(token) = self.accept {
            let count = std::mem::take(&mut self.to_accept);
            let accepted = |_| Completion { socket: Some(SteadySocket), ..completion(token, 0, true) };
            self.ready.extend((0..count).map(accepted));
        }
        let data = &self.data;
        let received =
            |token: &Token| Completion { buffer: Some(data.clone()), ..completion(*token, data.len(), true) };
        self.ready.extend(self.receives.iter().map(received));
        Ok(())
    }

    fn is_ready(&mut self) -> bool {
        !self.ready.is_empty()
    }

    fn pop(&mut self) -> Option<Completion<Self>> {
        self.ready.pop_front()
    }

    fn free_buffers(&self) -> usize {
        self.buffers()
    }

    fn buffers(&self) -> usize {
        usize::from(u16::MAX)
    }

    fn in_flight(&self) -> usize {
        self.receives.len() + self.pushed.len()
    }

    fn now(&self) -> Time {
        Time::from_nanos(self.stats.enters * 1000)
    }

    fn waker(&self) -> Arc<dyn Fn() + Send + Sync> {
        Arc::new(|| ())
    }

    fn close(&mut self) -> u64 {
        0
    }

    fn stats(&self) -> RingStats {
        self.stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls of the ring in a turn without work.
    fn enters_when_idle(mode: WaitMode) -> u64 {
        let mut idle = Steady::with_wait(0, Vec::new(), mode);
        (0..5).for_each(|_| idle.turn());
        let before = idle.shard.ring().stats.enters;
        idle.turn();
        idle.shard.ring().stats.enters - before
    }

    #[test]
    fn a_shard_that_always_parks_does_not_look_first() {
        assert_eq!(enters_when_idle(WaitMode::Park), 1);
        assert!(enters_when_idle(WaitMode::Auto) > 1);
    }

    #[test]
    fn every_turn_echoes_everything_once() {
        let data = [&3u32.to_be_bytes()[..], b"abc"].concat();
        let mut steady = Steady::new(4, data.repeat(10));
        let before = steady.sent();
        (0..7).for_each(|_| steady.turn());
        assert_eq!(steady.sent() - before, 7 * 4 * 70);
    }
}
