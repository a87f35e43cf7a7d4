//! The network behind a fake ring: byte streams, listening queues, a clock, and the record of what happened.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use qwormhole_proto::{PeerAddr, PeerInfo, Time};

use crate::fake_ring::choices::Choices;
use crate::fake_ring::coverage::{Coverage, Outcome};
use crate::fake_ring::kernel::Kind;
use crate::ring::RingSocket;

/// The network, shared by a ring, its sockets and the peers. Never drop a socket while it is locked.
pub(crate) struct Net(Mutex<NetState>);

/// What [`Net`] guards.
pub(crate) struct NetState {
    pub(crate) choices: Choices,
    pub(crate) now: Time,
    pub(crate) streams: Vec<Stream>,
    /// Streams that wait to be accepted, by listener.
    pub(crate) backlogs: Vec<VecDeque<usize>>,
    /// Listeners that are not closed.
    pub(crate) listeners: usize,
    pub(crate) coverage: Coverage,
    /// Sockets that listeners have given.
    pub(crate) accepted: u64,
    pub(crate) script: Script,
    /// Handles of sockets that exist.
    pub(crate) sockets: usize,
    /// The first rule that was broken.
    failure: Option<String>,
    trace: bool,
}

/// What a test or a schedule fixes, whatever the choices say.
#[derive(Default)]
pub(crate) struct Script {
    /// Accepting fails with this error while a connection waits.
    pub(crate) accept_fails: Option<i32>,
    /// Attempts to connect come to nothing from this stream on, until they are cancelled.
    pub(crate) connects_hang_from: Option<usize>,
    /// Operations of these kinds do not end when they are cancelled.
    pub(crate) cancels_hang: &'static [Kind],
    /// Receives are not multishot: each ends with its first data.
    pub(crate) receives_once: bool,
    /// Entering the kernel fails.
    pub(crate) enter_fails: bool,
}

/// One connection, seen from both ends.
#[derive(Default)]
pub(crate) struct Stream {
    /// What the peer has sent and the shard has not received.
    pub(crate) to_shard: VecDeque<u8>,
    /// Bytes the peer has sent in all.
    pub(crate) written: u64,
    /// What the shard has sent and the peer has not read.
    pub(crate) to_peer: VecDeque<u8>,
    /// How much `to_peer` holds before sends wait.
    pub(crate) to_peer_max: usize,
    pub(crate) connected: bool,
    /// When the peer ended its side.
    pub(crate) peer_ended: Option<Time>,
    /// The peer reset the connection, or left without reading.
    pub(crate) reset: bool,
    /// When the shard ended its side.
    pub(crate) write_ended: Option<Time>,
    /// When the shard's last handle was dropped.
    pub(crate) closed: Option<Time>,
    /// The shard closed with unread input: what the peer had not read is lost.
    pub(crate) reset_by_shard: bool,
    /// The handler was told that the connection is over.
    pub(crate) session_over: bool,
    pub(crate) receiving: bool,
    pub(crate) sending: bool,
    pub(crate) connecting: bool,
}

impl Net {
    pub(crate) fn new(choices: Choices, trace: bool) -> Arc<Self> {
        Arc::new(Self(Mutex::new(NetState {
            choices,
            now: Time::from_nanos(1_000_000_007),
            streams: Vec::new(),
            backlogs: Vec::new(),
            listeners: 0,
            coverage: Coverage::default(),
            accepted: 0,
            script: Script::default(),
            sockets: 0,
            failure: None,
            trace,
        })))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, NetState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number below `n`; see [`Choices::below`].
    pub(crate) fn choose(&self, n: usize) -> usize {
        self.lock().choices.below(n)
    }

    /// Records that a rule was broken; the first one counts.
    pub(crate) fn fail(&self, what: impl Into<String>) {
        self.lock().fail(what);
    }

    /// The rule that was broken.
    pub(crate) fn failure(&self) -> Option<String> {
        self.lock().failure.clone()
    }

    /// Shows what happens when a schedule is replayed.
    pub(crate) fn trace(&self, what: impl FnOnce() -> String) {
        self.lock().trace(what);
    }
}

impl NetState {
    pub(crate) fn cover(&mut self, outcome: Outcome) {
        self.coverage.add(outcome);
    }

    pub(crate) fn fail(&mut self, what: impl Into<String>) {
        let what = what.into();
        self.trace(|| format!("FAILED: {what}"));
        self.failure.get_or_insert(what);
    }

    pub(crate) fn trace(&self, what: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{:>14?} {}", self.now, what());
        }
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    /// A new stream; returns its number.
    pub(crate) fn add_stream(&mut self, connected: bool) -> usize {
        let to_peer_max = self.choices.pick(&[4096, 1, 16, 100, 700, 20_000]);
        self.streams.push(Stream { to_peer_max, connected, ..Stream::default() });
        self.streams.len() - 1
    }

    /// A new listening queue; returns its number.
    pub(crate) fn add_listener(&mut self) -> usize {
        self.backlogs.push(VecDeque::new());
        self.listeners += 1;
        self.backlogs.len() - 1
    }
}

impl Stream {
    /// Whether the peer can still send.
    pub(crate) fn peer_writes(&self) -> bool {
        self.connected && self.peer_ended.is_none() && !self.reset && self.closed.is_none()
    }

    /// Bytes that a send could put down now.
    pub(crate) fn room(&self) -> usize {
        self.to_peer_max.saturating_sub(self.to_peer.len())
    }
}

/// A socket of the network: a stream or a listener.
pub(crate) struct FakeSocket {
    net: Arc<Net>,
    pub(crate) kind: SocketKind,
}

/// What a socket is, and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SocketKind {
    Stream(usize),
    Listener(usize),
}

impl FakeSocket {
    /// A handle; `state` is what `net` guards.
    pub(crate) fn new(net: &Arc<Net>, state: &mut NetState, kind: SocketKind) -> Self {
        state.sockets += 1;
        Self { net: net.clone(), kind }
    }
}

impl RingSocket for FakeSocket {
    fn peer_info(&self) -> PeerInfo {
        let SocketKind::Stream(stream) = self.kind else { return PeerInfo::new(PeerAddr::Unknown) };
        let host = IpAddr::V4(Ipv4Addr::from_bits(stream as u32));
        PeerInfo::new(PeerAddr::Ip(SocketAddr::new(host, 1)))
    }

    fn shutdown_write(&self) {
        let mut net = self.net.lock();
        let now = net.now;
        net.trace(|| format!("{:?} shutdown write", self.kind));
        let SocketKind::Stream(stream) = self.kind else { return net.fail("shutdown of a listener") };
        let stream = &mut net.streams[stream];
        let again = stream.write_ended.replace(now).is_some();
        if stream.sending || again {
            net.fail("the write side was ended during a send, or twice");
        }
    }
}

impl Drop for FakeSocket {
    fn drop(&mut self) {
        let mut net = self.net.lock();
        let now = net.now;
        net.sockets -= 1;
        net.trace(|| format!("{:?} closed", self.kind));
        match self.kind {
            SocketKind::Listener(listener) => {
                net.listeners -= 1;
                for stream in std::mem::take(&mut net.backlogs[listener]) {
                    net.streams[stream].closed = Some(now);
                }
            }
            SocketKind::Stream(stream) => {
                let stream = &mut net.streams[stream];
                stream.closed = Some(now);
                if !stream.to_shard.is_empty() {
                    stream.reset_by_shard = true;
                    stream.to_peer.clear();
                }
            }
        }
    }
}

/// The stream behind what a handler is told about its peer.
pub(crate) fn stream_of(peer: &PeerInfo) -> Option<usize> {
    match peer.addr {
        PeerAddr::Ip(SocketAddr::V4(addr)) => Some(addr.ip().to_bits() as usize),
        _ => None,
    }
}
