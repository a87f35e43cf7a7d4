//! The simulated kernels and the wire between them.

use std::time::Duration;

use crate::event::{Event, PeerId};
use crate::log::What;
use crate::peer::User;
use crate::pipe::{Fin, Segment};
use crate::raw::{Raw, RawEnd};
use crate::simulation::Simulation;

impl Simulation {
    /// Cuts a connection in the direction from `peer` to the other end: what is under way is lost, the other
    /// end sees a reset. `peer` itself learns of it at another time, up to two seconds later.
    pub fn cut(&mut self, peer: PeerId) {
        let later = self.now + Duration::from_micros(self.rng.u64(0..2_000_000));
        self.events.push(later, Event::ResetArrives(peer.other()));
        self.send_reset(peer);
    }

    /// The one-way delay of the next segment of `peer`'s link.
    pub(crate) fn delay(&mut self, peer: PeerId) -> Duration {
        let conditions = &self.peers[peer.index()].conditions;
        let (low, high) = (conditions.delay_min.as_nanos() as u64, conditions.delay_max.as_nanos() as u64);
        Duration::from_nanos(self.rng.u64(low..=high))
    }

    /// A stall, now and then.
    pub(crate) fn stall(&mut self, peer: PeerId) -> Duration {
        let conditions = &self.peers[peer.index()].conditions;
        let longest = conditions.stall_max.as_nanos() as u64;
        if self.rng.u8(0..100) < conditions.stall_percent {
            Duration::from_nanos(self.rng.u64(0..=longest))
        } else {
            Duration::from_nanos(self.rng.u64(0..20_000))
        }
    }

    /// Sees to it that what `peer` queued departs, if it may.
    pub(crate) fn schedule_depart(&mut self, peer: PeerId) {
        let out = &self.peers[peer.index()].out;
        if !out.depart_due && out.has_departures() {
            let at = self.now + self.stall(peer);
            self.peers[peer.index()].out.depart_due = true;
            self.events.push(at, Event::Depart(peer));
        }
    }

    pub(crate) fn depart(&mut self, peer: PeerId) {
        let delay = self.delay(peer);
        let from = &mut self.peers[peer.index()];
        from.out.depart_due = false;
        let room = from.out.room_under_way(from.conditions.recv_window_bytes);
        if from.out.dead || (room == 0 && !from.out.queued.is_empty()) {
            // A receive at the other end makes room and schedules the next departure.
            return;
        }
        let segment = self.rng.usize(1..=from.conditions.segment_bytes_max);
        if from.out.depart(segment.min(room)) {
            let at = from.out.last_arrival.max(self.now + delay);
            from.out.last_arrival = at;
            self.events.push(at, Event::Arrive(peer));
        }
        self.schedule_depart(peer);
        self.room_for(peer);
    }

    /// The kernel of `peer` may have room again: a send that waits completes, a raw peer goes on.
    fn room_for(&mut self, peer: PeerId) {
        let at = &mut self.peers[peer.index()];
        if at.send_waits {
            at.send_waits = false;
            self.schedule_sent(peer);
        }
        self.feed_raw(peer);
    }

    pub(crate) fn arrive(&mut self, from: PeerId) {
        let Some(segment) = self.peers[from.index()].out.arrive() else { return };
        let to = from.other();
        match segment {
            Segment::Data(data) => {
                self.note(to, What::Arrived(data.len()));
                if !self.peers[to.index()].socket_open {
                    self.send_reset(to);
                    return;
                }
                self.peers[from.index()].out.arrived.extend(data);
            }
            Segment::Fin => self.peers[from.index()].out.fin = Fin::Arrived,
        }
        self.input_ready(to);
    }

    /// `peer` has something to receive.
    fn input_ready(&mut self, peer: PeerId) {
        self.schedule_read(peer);
        self.drain_raw(peer);
    }

    /// The kernel of `peer` resets the connection: what it had queued is lost, and what is under way may be.
    pub(crate) fn send_reset(&mut self, peer: PeerId) {
        let out = &mut self.peers[peer.index()].out;
        if out.dead {
            return;
        }
        out.dead = true;
        out.queued.clear();
        self.note(peer, What::ResetSent);
        let at = self.now + self.delay(peer);
        self.events.push(at, Event::ResetArrives(peer));
    }

    pub(crate) fn reset_arrives(&mut self, from: PeerId) {
        let to = from.other();
        let arrived = self.peers[from.index()].out.arrived.len();
        let keep = self.rng.usize(0..=arrived);
        let out = &mut self.peers[from.index()].out;
        if out.reset {
            return;
        }
        out.destroy(keep);
        let own = &mut self.peers[to.index()].out;
        own.dead = true;
        own.queued.clear();
        self.room_for(to);
        self.input_ready(to);
    }

    /// Closes `peer`'s socket as a kernel does: with unread input that is a reset, otherwise the stream ends
    /// after what is queued.
    pub(crate) fn close_socket(&mut self, peer: PeerId) {
        let unread = !self.peers[peer.other().index()].out.arrived.is_empty();
        let end = &mut self.peers[peer.index()];
        end.socket_open = false;
        end.admission = None;
        if unread {
            self.send_reset(peer);
        } else if end.out.fin == Fin::Open {
            end.out.fin = Fin::Queued;
            self.schedule_depart(peer);
        }
    }

    /// A raw peer's state.
    ///
    /// # Panics
    ///
    /// When `peer` is not a raw peer, or not established yet.
    pub fn raw(&self, peer: PeerId) -> &Raw {
        match &self.peers[peer.index()].user {
            User::Raw(raw) => raw,
            _ => panic!("{peer:?} is not an established raw peer"),
        }
    }

    /// Sends bytes from a raw peer; they leave as the kernel takes them.
    pub fn raw_send(&mut self, peer: PeerId, bytes: &[u8]) {
        if let Some(raw) = self.peers[peer.index()].raw_mut() {
            raw.outgoing.extend(bytes);
        }
        self.feed_raw(peer);
    }

    /// Ends a raw peer's stream behind everything sent; it still receives.
    pub fn raw_shutdown(&mut self, peer: PeerId) {
        if let Some(raw) = self.peers[peer.index()].raw_mut() {
            raw.shutdown = true;
        }
        self.feed_raw(peer);
    }

    /// Makes a raw peer read everything that arrives (the default), or nothing.
    pub fn raw_set_reading(&mut self, peer: PeerId, reading: bool) {
        if let Some(raw) = self.peers[peer.index()].raw_mut() {
            raw.reading = reading;
        }
        self.drain_raw(peer);
    }

    /// Hands an established raw peer's bytes to its kernel, as far as there is room.
    pub(crate) fn feed_raw(&mut self, peer: PeerId) {
        let end = &mut self.peers[peer.index()];
        let room = end.send_room();
        let User::Raw(raw) = &mut end.user else { return };
        if end.out.dead {
            return;
        }
        let len = room.min(raw.outgoing.len());
        end.out.queued.extend(raw.outgoing.drain(..len));
        if raw.shutdown && raw.outgoing.is_empty() && end.out.fin == Fin::Open {
            end.out.fin = Fin::Queued;
        }
        self.schedule_depart(peer);
    }

    /// Receives everything that has arrived at an established raw peer that reads.
    fn drain_raw(&mut self, peer: PeerId) {
        let from = peer.other();
        let [first, second] =
            self.peers.get_disjoint_mut([peer.index(), from.index()]).unwrap_or_else(|_| {
                unreachable!("the two ends of a connection are different");
            });
        let User::Raw(raw) = &mut first.user else { return };
        if !raw.reading {
            return;
        }
        let came: Vec<u8> = second.out.arrived.drain(..).collect();
        raw.received.extend_from_slice(&came);
        let end = match (second.out.reset, second.out.fin) {
            (true, _) => Some(RawEnd::Reset),
            (false, Fin::Arrived) => Some(RawEnd::Fin),
            _ => None,
        };
        if raw.end.is_none() {
            raw.end = end.map(|end| (end, self.now));
        }
        self.note_bytes(&came);
        self.schedule_depart(from);
    }
}
