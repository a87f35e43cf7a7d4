//! What other threads ask of a connection that stays open: to end its own half, and for keying material.

use crate::close::CloseReason;
use crate::connection::Connection;
use crate::remote::Export;
use crate::session::Session;
use crate::time::Time;

/// How far the end of this side's half is, on a connection that stays open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum WriteEnd {
    /// Messages are accepted.
    #[default]
    Open,
    /// No more; the FIN follows what is queued.
    Asked,
    /// The driver was told to send the FIN.
    Told,
}

impl<H> Session<H> {
    /// Answers everybody who asked for keying material.
    pub(crate) fn export(&self) {
        let filter = self.conn.secure.as_ref().map(|secure| &secure.filter);
        for Export { exporter, done } in self.conn.remote.iter().flat_map(|remote| remote.take_exports()) {
            done(filter.and_then(|filter| filter.export_checked(&exporter)));
        }
    }
}

impl Connection {
    /// Ends this side's half once everything accepted has left. The connection ends when the peer ends its own.
    pub(crate) fn begin_finish(&mut self, now: Time) {
        if self.is_half_open() {
            // The peer had ended before: nothing is left.
            self.begin_close(now, CloseReason::Local);
        } else if self.is_open() && self.write_end == WriteEnd::Open {
            self.write_end = WriteEnd::Asked;
            self.outbox.seal();
        }
    }

    /// Whether messages are accepted.
    #[inline]
    pub(crate) fn is_sendable(&self) -> bool {
        self.is_open() && self.write_end == WriteEnd::Open
    }

    /// Why no message is accepted.
    pub(crate) fn refusal(&self) -> CloseReason {
        self.close_reason().cloned().unwrap_or(CloseReason::Local)
    }

    /// Whether nothing is to follow what is queued.
    pub(crate) fn is_write_ending(&self) -> bool {
        !self.is_open() || self.write_end != WriteEnd::Open
    }

    /// True once, when everything has left and the FIN is due.
    pub(crate) fn take_finish(&mut self) -> bool {
        let due = self.write_end == WriteEnd::Asked && self.is_flushed();
        if due {
            self.write_end = WriteEnd::Told;
        }
        due
    }
}
