//! One end of a simulated connection.

use qwormhole_proto::{Admission, Handler, Session, Transmit};

use crate::conditions::Conditions;
use crate::host::HostId;
use crate::pipe::Pipe;
use crate::raw::Raw;

/// One end: its socket, and the session or raw peer that uses it. The other end is its neighbour in the list.
pub(crate) struct Peer {
    pub(crate) user: User,
    /// The direction from this end to the other.
    pub(crate) out: Pipe,
    pub(crate) conditions: Conditions,
    /// The submission the kernel has.
    pub(crate) in_flight: Option<Transmit>,
    /// The kernel has no room; the send completes when there is some.
    pub(crate) send_waits: bool,
    pub(crate) read_due: bool,
    /// The socket is open on this side.
    pub(crate) socket_open: bool,
    pub(crate) admission: Option<Admission>,
}

/// A session of any handler.
pub(crate) type AnySession = Box<Session<Box<dyn Handler>>>;

/// Who uses an end.
pub(crate) enum User {
    /// Not yet established.
    Connecting(Connecting),
    Session(HostId, AnySession),
    Raw(Raw),
    /// The session of this host is finished; the kernel may still have a submission of it.
    Finished(HostId),
    /// Refused.
    Gone,
}

/// What becomes of an end when the transport is established.
pub(crate) enum Connecting {
    Client(HostId, AnySession),
    Raw(Raw),
    /// Accepted by the listener with this index.
    Server(usize),
}

impl Peer {
    pub(crate) fn new(connecting: Connecting, conditions: Conditions) -> Self {
        Self {
            user: User::Connecting(connecting),
            out: Pipe::default(),
            conditions,
            in_flight: None,
            send_waits: false,
            read_due: false,
            socket_open: true,
            admission: None,
        }
    }

    /// The raw peer of this end, established or not.
    pub(crate) fn raw_mut(&mut self) -> Option<&mut Raw> {
        match &mut self.user {
            User::Raw(raw) | User::Connecting(Connecting::Raw(raw)) => Some(raw),
            _ => None,
        }
    }

    /// Room in the kernel's send buffer.
    pub(crate) fn send_room(&self) -> usize {
        self.conditions.send_buffer_bytes.saturating_sub(self.out.queued.len())
    }
}
