//! What a real driver does for a session: reads, sends, timers and the end.

use std::io;
use std::time::Duration;

use qwormhole_proto::{Action, Handler, RecvBuffer, Session, ShardLocal};

use crate::event::{Event, PeerId};
use crate::host::HostId;
use crate::log::What;
use crate::peer::User;
use crate::pipe::Fin;
use crate::simulation::Simulation;

impl Simulation {
    /// Closes the session of `peer` as a graceful shutdown of its driver does.
    pub fn shut_down(&mut self, peer: PeerId) {
        self.with_session(peer, |session, local| {
            session.close(local, qwormhole_proto::CloseReason::Shutdown);
        });
        self.settle(peer);
    }

    /// Whether `peer` is an open session.
    pub fn is_open(&self, peer: PeerId) -> bool {
        matches!(&self.peers[peer.index()].user, User::Session(..))
    }

    pub(crate) fn with_session<R>(
        &mut self,
        peer: PeerId,
        act: impl FnOnce(&mut Session<Box<dyn Handler>>, &mut ShardLocal) -> R,
    ) -> Option<R> {
        let User::Session(host, session) = &mut self.peers[peer.index()].user else { return None };
        let local = &mut self.hosts[host.index()].local;
        local.now = self.now;
        Some(act(session, local))
    }

    /// Steps 3 to 6 of the driver's contract, after anything that touched the session.
    pub(crate) fn settle(&mut self, peer: PeerId) {
        loop {
            if self.peers[peer.index()].in_flight.is_none()
                && let Some(Some(transmit)) =
                    self.with_session(peer, |session, local| session.poll_transmit(local))
            {
                assert!(!transmit.is_empty(), "an empty submission");
                self.peers[peer.index()].in_flight = Some(transmit);
                self.schedule_sent(peer);
            }
            match self.with_session(peer, |session, local| session.poll_action(local)) {
                Some(Some(Action::ShutdownWrite)) => {
                    self.note(peer, What::ShutdownWrite);
                    let out = &mut self.peers[peer.index()].out;
                    if out.fin == Fin::Open {
                        out.fin = Fin::Queued;
                    }
                    self.schedule_depart(peer);
                }
                Some(Some(Action::Close)) => return self.close(peer),
                Some(None) => break,
                None => return,
            }
        }
        self.schedule_read(peer);
        self.set_timer(peer);
    }

    fn close(&mut self, peer: PeerId) {
        let end = &mut self.peers[peer.index()];
        let User::Session(id, session) = std::mem::replace(&mut end.user, User::Gone) else { return };
        end.user = User::Finished(id);
        if std::mem::take(&mut end.send_waits) {
            self.schedule_sent(peer);
        }
        let host = &mut self.hosts[id.index()];
        host.local.now = self.now;
        host.wheel.cancel(peer.0);
        session.finish(&mut host.local);
        self.note(peer, What::Closed);
        self.close_socket(peer);
    }

    fn set_timer(&mut self, peer: PeerId) {
        let User::Session(id, session) = &self.peers[peer.index()].user else { return };
        let (id, deadline) = (*id, session.poll_timeout());
        let host = &mut self.hosts[id.index()];
        if deadline != host.wheel.deadline(peer.0) {
            match deadline {
                Some(deadline) => host.wheel.set(peer.0, deadline),
                None => host.wheel.cancel(peer.0),
            }
        }
        self.schedule_tick(id);
    }

    fn schedule_tick(&mut self, id: HostId) {
        let host = &mut self.hosts[id.index()];
        if let Some(at) = host.wheel.poll_timeout()
            && host.tick_at.is_none_or(|due| at < due)
        {
            host.tick_at = Some(at);
            self.events.push(at, Event::Tick(id));
        }
    }

    pub(crate) fn tick(&mut self, id: HostId) {
        let host = &mut self.hosts[id.index()];
        if host.tick_at == Some(self.now) {
            host.tick_at = None;
        }
        while let Some(key) = self.hosts[id.index()].wheel.pop_expired(self.now) {
            let peer = PeerId(key);
            self.note(peer, What::Timeout);
            let now = self.now;
            self.with_session(peer, |session, local| {
                session.handle_timeout(local);
                let next = session.poll_timeout();
                assert!(next.is_none_or(|next| next > now), "a timeout that passed is still asked for");
            });
            self.settle(peer);
        }
        self.schedule_tick(id);
    }

    pub(crate) fn schedule_read(&mut self, peer: PeerId) {
        let readable = self.peers[peer.other().index()].out.is_readable();
        let User::Session(_, session) = &self.peers[peer.index()].user else { return };
        if session.wants_read() && readable {
            self.force_read(peer);
        }
    }

    /// A receive completes. When reading was paused since it began, it completes all the same now and then,
    /// and others behind it: the kernel had already filled their buffers.
    pub(crate) fn read(&mut self, peer: PeerId) {
        self.peers[peer.index()].read_due = false;
        let late = self.rng.u8(0..100) < self.peers[peer.index()].conditions.late_read_percent;
        let wants = self.with_session(peer, |session, _| session.wants_read());
        let paused = self.with_session(peer, |session, _| session.connection().is_open());
        if wants != Some(true) && !(late && paused == Some(true)) {
            return;
        }
        let length = self.rng.usize(1..=self.peers[peer.index()].conditions.read_bytes_max);
        let from = &mut self.peers[peer.other().index()].out;
        if !from.arrived.is_empty() {
            let length = length.min(from.arrived.len());
            let data: Vec<u8> = from.arrived.drain(..length).collect();
            self.note(peer, What::Read(length));
            self.note_bytes(&data);
            self.with_session(peer, |session, local| session.handle_bytes(local, &Received(data)));
            self.schedule_depart(peer.other());
        } else if from.reset {
            self.note(peer, What::ResetSeen);
            self.with_session(peer, |session, _| {
                session.handle_transport_error(io::ErrorKind::ConnectionReset);
            });
        } else if from.fin == Fin::Arrived && !from.fin_read {
            from.fin_read = true;
            self.note(peer, What::EndOfStream);
            self.with_session(peer, |session, local| session.handle_eof(local));
        }
        self.settle(peer);
        if late && self.peers[peer.other().index()].out.is_readable() && self.is_open(peer) {
            self.force_read(peer);
        }
    }

    fn force_read(&mut self, peer: PeerId) {
        if !std::mem::replace(&mut self.peers[peer.index()].read_due, true) {
            let at = self.now + self.stall(peer);
            self.events.push(at, Event::Read(peer));
        }
    }

    pub(crate) fn schedule_sent(&mut self, peer: PeerId) {
        if self.peers[peer.index()].in_flight.is_some() {
            let at = self.now + Duration::from_micros(self.rng.u64(0..100));
            self.events.push(at, Event::Sent(peer));
        }
    }

    /// The kernel takes as much of the submission as it has room for, or less.
    pub(crate) fn sent(&mut self, peer: PeerId) {
        let short = self.rng.u8(0..100) < self.peers[peer.index()].conditions.short_send_percent;
        let end = &mut self.peers[peer.index()];
        let Some(transmit) = end.in_flight.take() else { return };
        let room = end.send_room();
        if let User::Finished(host) = end.user {
            return self.hosts[host.index()].local.give_transmit(transmit);
        }
        if end.out.dead {
            self.note(peer, What::SendFailed);
            self.with_session(peer, |session, local| {
                session.handle_transmitted(local, transmit, Err(io::ErrorKind::BrokenPipe));
            });
            return self.settle(peer);
        }
        if room == 0 {
            end.in_flight = Some(transmit);
            end.send_waits = true;
            return;
        }
        let mut taken = room.min(transmit.len());
        if short {
            taken = self.rng.usize(1..=taken);
        }
        let bytes = transmit.segments().iter().flat_map(|segment| segment.as_slice()).take(taken);
        end.out.queued.extend(bytes);
        self.note(peer, What::Sent(taken));
        self.schedule_depart(peer);
        self.with_session(peer, |session, local| session.handle_transmitted(local, transmit, Ok(taken)));
        self.settle(peer);
    }

    pub(crate) fn remote(&mut self, peer: PeerId) {
        if self.with_session(peer, |session, local| session.handle_remote(local)).is_some() {
            self.note(peer, What::Remote);
            self.settle(peer);
        }
    }
}

/// A received chunk that may be leased.
struct Received(Vec<u8>);

impl RecvBuffer for Received {
    fn as_slice(&self) -> &[u8] {
        &self.0
    }

    fn lease(&self, range: std::ops::Range<usize>) -> Option<bytes::Bytes> {
        self.0.get(range).map(bytes::Bytes::copy_from_slice)
    }
}
