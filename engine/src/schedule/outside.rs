//! Everything around the shard: peers, other threads, a second shard.

use std::cell::RefCell;
use std::io;
use std::mem;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use qwormhole_proto::{Config, ConnectError, Dial, Endpoint, OpenSocket, Priority, SendErrorKind, Sender};

use crate::control::{ConnectJob, Control, ShardHandle};
use crate::fake_ring::net::{FakeSocket, NetState, SocketKind};
use crate::fake_ring::{FakeAddr, FakeRing, Outside};
use crate::mailbox::Mailbox;
use crate::schedule::scene::{Author, Scene};
use crate::schedule::service::{Script, Scripts};

/// The actors around the shard.
pub(super) struct World {
    pub(super) scene: Arc<Scene>,
    pub(super) shard: ShardHandle<FakeRing, Scripts>,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) controls: Receiver<Control<FakeRing, Scripts>>,
    /// What the shard hands to the other shard, which hands it back.
    pub(super) neighbour: Receiver<Control<FakeRing, Scripts>>,
    pub(super) endpoint: Endpoint,
    pub(super) config: Arc<Config>,
    pub(super) streams_max: usize,
    /// Handlers keep their messages, whatever comes.
    pub(super) keeps_leases: bool,
}

impl Outside for Rc<RefCell<World>> {
    fn act(&mut self) -> bool {
        self.borrow().act()
    }

    fn has_mail(&self) -> bool {
        let world = self.borrow();
        !world.mailbox.is_empty() || !world.controls.is_empty()
    }
}

impl World {
    /// Lets a few things happen, or, when the choices are calm, everything that brings traffic to rest.
    pub(super) fn act(&self) -> bool {
        if self.scene.net.lock().choices.is_calm() {
            return self.settle();
        }
        let times = self.scene.net.choose(4);
        (0..times).for_each(|_| self.act_once());
        times > 0
    }

    fn act_once(&self) {
        let (what, stream, streams) = {
            let mut net = self.scene.net.lock();
            let streams = net.streams.len();
            (net.choices.below(48), net.choices.below(streams), streams)
        };
        match what {
            0..=2 => self.connect(),
            3..=4 => self.adopt(),
            5..=7 => self.dial(),
            8..=9 => _ = self.drop_leases(),
            10..=11 => _ = self.forward(),
            _ if streams == 0 => self.connect(),
            12..=19 => self.peer_speaks(stream),
            20..=27 => _ = self.peer_writes(stream),
            28..=37 => _ = self.peer_reads(stream),
            38..=42 => self.other_thread_sends(stream),
            43..=45 => self.other_thread_asks(stream),
            _ => self.peer_ends(stream),
        }
    }

    /// Whatever waits goes on: peers write, read and end, other threads go on, leases are dropped.
    fn settle(&self) -> bool {
        let streams = self.scene.net.lock().streams.len();
        let mut moved = !self.keeps_leases && self.drop_leases();
        moved |= self.forward();
        for stream in 0..streams {
            self.scene.net.lock().streams[stream].to_peer_max = 1 << 16;
            moved |= self.peer_writes(stream);
            moved |= self.peer_reads(stream);
            moved |= self.resume(stream);
            moved |= self.peer_answers_end(stream);
        }
        moved
    }

    /// A new peer waits for the listener.
    pub(super) fn connect(&self) {
        let mut net = self.scene.net.lock();
        if net.listeners > 0 && net.streams.len() < self.streams_max {
            let stream = net.add_stream(true);
            net.backlogs[0].push_back(stream);
        }
    }

    /// Another shard has accepted a connection for this one.
    pub(super) fn adopt(&self) {
        let Ok(admission) = self.endpoint.admit() else { return };
        let Some(socket) = self.open_socket(true) else { return };
        let config = self.config.clone();
        if self.shard.try_send(Control::Adopt { socket, admission, config }).is_ok() {
            self.scene.books().adopted += 1;
        }
    }

    /// The other shard hands back what it was given.
    pub(super) fn forward(&self) -> bool {
        let mut forwarded = false;
        while let Ok(control) = self.neighbour.try_recv() {
            forwarded |= self.shard.try_send(control).is_ok();
        }
        forwarded
    }

    fn open_socket(&self, connected: bool) -> Option<FakeSocket> {
        open_socket(&self.scene, connected, self.streams_max)
    }

    /// Another thread asks for a connection.
    pub(super) fn dial(&self) {
        let number = {
            let mut books = self.scene.books();
            books.dials.push(0);
            books.dials.len() - 1
        };
        let (addrs, timeout) = {
            let choices = &mut self.scene.net.lock().choices;
            (choices.below(4), choices.pick(&[None, Some(40), Some(400), Some(0)]))
        };
        let (scene, failed) = (self.scene.clone(), self.scene.clone());
        let streams_max = self.streams_max;
        let open: OpenSocket<FakeAddr, FakeSocket> =
            Arc::new(move |_| open_socket(&scene, false, streams_max).ok_or_else(out_of_descriptors));
        let dial = Dial {
            addrs: vec![FakeAddr; addrs],
            open_socket: open,
            config: self.config.clone(),
            handler: Script::new(self.scene.clone(), Some(number)),
            timeout: timeout.map(Duration::from_millis),
            failed: Box::new(move |_| failed.books().dials[number] += 1),
        };
        let job: ConnectJob<FakeRing, Scripts> = Box::new(move |shard| match shard {
            Ok(shard) => shard.dial(dial),
            Err(error) => _ = dial.fail(error),
        });
        if let Err(Control::Connect(job)) = self.shard.try_send(Control::Connect(job)) {
            job(Err(ConnectError::TooManyConnections));
        }
    }

    /// Checks the messages that handlers keep and drops them, all or some.
    pub(super) fn drop_leases(&self) -> bool {
        let mut leases = mem::take(&mut self.scene.books().leases);
        let kept = self.scene.net.choose(leases.len() + 1);
        let dropped = leases.split_off(kept);
        self.scene.books().leases = leases;
        for (lease, text) in &dropped {
            if !text.is(lease) {
                self.scene.net.fail(format!("a kept message has changed: {text:?}"));
            }
        }
        !dropped.is_empty()
    }

    /// The peer has messages to send.
    pub(super) fn peer_speaks(&self, stream: usize) {
        if !self.scene.net.lock().streams[stream].peer_writes() {
            return;
        }
        for _ in 0..1 + self.scene.net.choose(6) {
            let text = self.scene.write(Author::Handler);
            self.scene.books().ledger(stream).send_inbound(text);
        }
    }

    /// The peer puts some of what it wants to send on the wire.
    fn peer_writes(&self, stream: usize) -> bool {
        let mut books = self.scene.books();
        let unwritten = &mut books.ledger(stream).unwritten;
        let mut net = self.scene.net.lock();
        if unwritten.is_empty() || !net.streams[stream].peer_writes() {
            return false;
        }
        let len = net.choices.amount(unwritten.len());
        net.streams[stream].to_shard.extend(unwritten.drain(..len));
        net.streams[stream].written += len as u64;
        true
    }

    /// The peer reads some of what the shard has sent.
    pub(super) fn peer_reads(&self, stream: usize) -> bool {
        let mut books = self.scene.books();
        let mut net = self.scene.net.lock();
        let waiting = net.streams[stream].to_peer.len();
        if waiting == 0 || net.streams[stream].reset {
            return false;
        }
        let len = net.choices.amount(waiting);
        let read = books.ledger(stream).read_outbound(net.streams[stream].to_peer.drain(..len));
        if let Err(wrong) = read {
            net.fail(format!("stream {stream}: {wrong}"));
        }
        true
    }

    /// The peer ends its stream, after everything or inside a frame, breaks the protocol, or vanishes.
    fn peer_ends(&self, stream: usize) {
        if !self.scene.net.lock().streams[stream].peer_writes() || self.scene.net.choose(2) == 0 {
            return;
        }
        self.scene.note_ending(stream);
        let mut books = self.scene.books();
        let ledger = books.ledger(stream);
        let mut net = self.scene.net.lock();
        let now = net.now;
        let way = net.choices.below(6);
        net.trace(|| format!("the peer of stream {stream} ends, way {way}"));
        let state = &mut net.streams[stream];
        match way {
            0..=2 => {
                state.written += ledger.unwritten.len() as u64;
                state.to_shard.append(&mut ledger.unwritten);
                state.peer_ended = Some(now);
            }
            3 => {
                ledger.unwritten.clear();
                state.peer_ended = Some(now);
            }
            4 => {
                ledger.oversize = true;
                ledger.unwritten.extend(u32::MAX.to_be_bytes());
                ledger.wire_len += 4;
            }
            _ => {
                state.reset = true;
                state.to_peer.clear();
                if net.choices.one_in(2) {
                    net.streams[stream].to_shard.clear();
                }
            }
        }
    }

    /// A peer that sees the end of the shard's side ends its own; every fourth never does.
    fn peer_answers_end(&self, stream: usize) -> bool {
        let mut net = self.scene.net.lock();
        let now = net.now;
        let state = &mut net.streams[stream];
        let answers = state.write_ended.is_some() && state.peer_writes() && stream % 4 != 3;
        if answers {
            state.peer_ended = Some(now);
        }
        answers
    }

    fn sender(&self, stream: usize) -> Option<Sender> {
        self.scene.books().ledger(stream).sender.clone()
    }

    fn other_thread_sends(&self, stream: usize) {
        let Some(sender) = self.sender(stream) else { return };
        for _ in 0..1 + self.scene.net.choose(3) {
            let text = self.scene.write(Author::OtherThread);
            // One priority per stream: messages of one author stay in order.
            let priority = Priority((stream % 3) as i32 - 1);
            match sender
                .try_send_with(priority, text.bytes().collect::<Vec<u8>>())
                .map_err(|refused| refused.kind)
            {
                Ok(()) => {
                    self.scene.books().ledger(stream).outbound[Author::OtherThread as usize].push_back(text);
                }
                Err(SendErrorKind::Full | SendErrorKind::Closed(_)) => return,
                Err(kind) => {
                    return self.scene.net.fail(format!("another thread's message was refused: {kind}"));
                }
            }
        }
    }

    /// Another thread asks for a flush, for more input, or for the end.
    fn other_thread_asks(&self, stream: usize) {
        let Some(sender) = self.sender(stream) else { return };
        match self.scene.net.choose(24) {
            0..=9 => {
                let mark = sender.request_flush();
                self.scene.books().ledger(stream).flush = Some((sender.waiter(), mark));
            }
            22 => {
                self.scene.note_ending(stream);
                self.scene.books().ledger(stream).local_end = true;
                sender.close();
            }
            23 => {
                self.scene.note_ending(stream);
                let mut books = self.scene.books();
                books.ledger(stream).local_end = true;
                books.ledger(stream).aborted = true;
                drop(books);
                sender.abort();
            }
            _ => _ = self.resume(stream),
        }
    }

    fn resume(&self, stream: usize) -> bool {
        let mut books = self.scene.books();
        let turn = books.turn;
        let ledger = books.ledger(stream);
        if ledger.paused.take().is_none() {
            return false;
        }
        ledger.resumed = Some(turn);
        let Some(sender) = ledger.sender.clone() else { return false };
        drop(books);
        sender.resume();
        true
    }
}

fn out_of_descriptors() -> io::Error {
    io::Error::other("out of descriptors")
}

/// A socket of a new stream, unless the process is out of descriptors or the schedule of streams.
fn open_socket(scene: &Scene, connected: bool, streams_max: usize) -> Option<FakeSocket> {
    let mut net = scene.net.lock();
    let state: &mut NetState = &mut net;
    if state.choices.one_in(8) || state.streams.len() >= streams_max {
        return None;
    }
    let stream = state.add_stream(connected);
    Some(FakeSocket::new(&scene.net, state, SocketKind::Stream(stream)))
}
