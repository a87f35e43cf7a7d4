//! Peers without a protocol: they send any bytes and read when the scenario says so.

use std::collections::VecDeque;

use qwormhole_proto::Time;

/// A raw end of a connection: what a hostile or foreign peer is.
#[derive(Debug)]
pub struct Raw {
    /// Bytes the scenario sent and the kernel has not taken.
    pub(crate) outgoing: VecDeque<u8>,
    pub(crate) shutdown: bool,
    pub(crate) reading: bool,
    pub(crate) received: Vec<u8>,
    pub(crate) end: Option<(RawEnd, Time)>,
}

/// How a connection ended for a raw peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawEnd {
    /// The other end finished its stream.
    Fin,
    /// The connection was reset.
    Reset,
}

impl Raw {
    pub(crate) const fn new() -> Self {
        Self { outgoing: VecDeque::new(), shutdown: false, reading: true, received: Vec::new(), end: None }
    }

    /// Everything received so far.
    pub fn received(&self) -> &[u8] {
        &self.received
    }

    /// How the other end's stream ended, once it has.
    pub fn end(&self) -> Option<RawEnd> {
        self.end.map(|(end, _)| end)
    }

    /// When the end was seen.
    pub fn ended_at(&self) -> Option<Time> {
        self.end.map(|(_, at)| at)
    }
}
