//! One direction of a simulated TCP connection.

use std::collections::VecDeque;

use qwormhole_proto::Time;

/// Bytes on their way from one end to the other: taken by the sender's kernel, under way, arrived.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    pub(crate) queued: VecDeque<u8>,
    under_way: VecDeque<Segment>,
    under_way_bytes: usize,
    pub(crate) arrived: VecDeque<u8>,
    pub(crate) fin: Fin,
    /// The reader was told about the end of the stream.
    pub(crate) fin_read: bool,
    /// A reset arrived: nothing follows what has arrived.
    pub(crate) reset: bool,
    /// The sender's side was reset: nothing more is taken or departs.
    pub(crate) dead: bool,
    /// Arrival of the latest segment: later ones do not overtake it.
    pub(crate) last_arrival: Time,
    pub(crate) depart_due: bool,
}

/// How far the end of the stream has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fin {
    #[default]
    Open,
    /// The sender ended the stream; what is queued goes first.
    Queued,
    UnderWay,
    Arrived,
}

#[derive(Debug)]
pub(crate) enum Segment {
    Data(Vec<u8>),
    Fin,
}

impl Pipe {
    /// Whether bytes or the end of the stream wait to depart.
    pub(crate) fn has_departures(&self) -> bool {
        !self.dead && (!self.queued.is_empty() || self.fin == Fin::Queued)
    }

    /// How many bytes may be put under way within a window of `window` bytes.
    pub(crate) fn room_under_way(&self, window: usize) -> usize {
        window.saturating_sub(self.under_way_bytes + self.arrived.len())
    }

    /// Puts up to `len` queued bytes under way, or the end of the stream when nothing else is queued. False
    /// when there is neither.
    pub(crate) fn depart(&mut self, len: usize) -> bool {
        if self.queued.is_empty() {
            let ends = self.fin == Fin::Queued;
            if ends {
                self.fin = Fin::UnderWay;
                self.under_way.push_back(Segment::Fin);
            }
            return ends;
        }
        let data: Vec<u8> = self.queued.drain(..len.min(self.queued.len())).collect();
        self.under_way_bytes += data.len();
        self.under_way.push_back(Segment::Data(data));
        true
    }

    /// Takes the oldest segment under way; `None` when a reset destroyed it.
    pub(crate) fn arrive(&mut self) -> Option<Segment> {
        let segment = self.under_way.pop_front()?;
        if let Segment::Data(data) = &segment {
            self.under_way_bytes -= data.len();
        }
        Some(segment)
    }

    /// A reset destroys what has not arrived, and all but the first `keep` bytes of what has.
    pub(crate) fn destroy(&mut self, keep: usize) {
        self.queued.clear();
        self.under_way.clear();
        self.under_way_bytes = 0;
        self.arrived.truncate(keep);
        self.reset = true;
    }

    /// Whether a receive would complete: data, the end of the stream or a reset.
    pub(crate) fn is_readable(&self) -> bool {
        !self.arrived.is_empty() || self.reset || (self.fin == Fin::Arrived && !self.fin_read)
    }
}
