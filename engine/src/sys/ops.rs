//! The operations in flight and everything the kernel may touch on their behalf.

use std::fmt;
use std::os::fd::RawFd;
use std::sync::Arc;

use io_uring::{opcode, squeue, types};
use qwormhole_proto::Transmit;
use socket2::SockAddr;

use super::buffer_ring::GROUP;
use super::message::Message;
use super::socket::Socket;
use super::uring::UringRing;
use crate::ring::{Op, OpId, Token};

/// What a completion's `user_data` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// An operation of the table.
    Op(OpId),
    /// The cancellation of an operation.
    Cancel(OpId),
    /// The poll beside a receive.
    Watch(OpId),
    /// The cancellation of that poll.
    Unwatch(OpId),
    /// The poll of the waker.
    Wake,
    /// The cancellation of everything, at the end.
    CancelAll,
}

impl Key {
    pub(super) const fn encode(self) -> u64 {
        match self {
            Self::Op(id) => id.0,
            Self::Cancel(id) => id.0 | CANCEL,
            Self::Watch(id) => id.0 | WATCH,
            Self::Unwatch(id) => id.0 | WATCH | CANCEL,
            Self::Wake => WAKE,
            Self::CancelAll => CANCEL_ALL,
        }
    }

    pub(super) const fn decode(user_data: u64) -> Self {
        match user_data {
            WAKE => Self::Wake,
            CANCEL_ALL => Self::CancelAll,
            _ => {
                let id = OpId(user_data & !(CANCEL | WATCH));
                match (user_data & WATCH != 0, user_data & CANCEL != 0) {
                    (false, false) => Self::Op(id),
                    (false, true) => Self::Cancel(id),
                    (true, false) => Self::Watch(id),
                    (true, true) => Self::Unwatch(id),
                }
            }
        }
    }
}

/// An operation the kernel knows, with what it refers to at stable heap addresses.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) token: Token,
    pub(super) kind: Kind,
    /// Its cancellation was asked for.
    cancelled: bool,
    /// A poll beside it is in flight.
    pub(super) watched: bool,
}

/// The resources of an operation. The sockets keep their descriptors from being reused meanwhile.
pub(super) enum Kind {
    Accept { _listener: Arc<Socket> },
    Recv { _socket: Arc<Socket> },
    Send { _socket: Arc<Socket>, transmit: Transmit, message: Option<Message> },
    Connect { _socket: Arc<Socket>, _addr: Box<SockAddr> },
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accept { .. } => "Accept",
            Self::Recv { .. } => "Recv",
            Self::Send { .. } => "Send",
            Self::Connect { .. } => "Connect",
        })
    }
}

/// Slots of operations, named by index and generation: what is not in flight cannot be named.
#[derive(Debug, Default)]
pub(super) struct OpTable {
    slots: Vec<Slot>,
    /// Empty slots; the last one is used next.
    free: Vec<u32>,
    in_flight: usize,
    /// Receives in flight: about as many as there are connections.
    receives: usize,
    /// Gather lists for reuse.
    messages: Vec<Message>,
    /// Gather lists that exist, in flight or not.
    messages_made: usize,
}

#[derive(Debug)]
struct Slot {
    /// Counts the operations that had this slot; 30 bits, never 0.
    generation: u32,
    op: Option<InFlight>,
}

impl OpTable {
    /// Takes an operation over; the entry to submit. Pointers in the entry stay valid until the operation is
    /// removed.
    pub(super) fn insert(
        &mut self,
        token: Token,
        op: Op<UringRing>,
        multishot: bool,
    ) -> (OpId, squeue::Entry) {
        let (kind, entry) = match op {
            Op::Accept { listener } => {
                let entry = opcode::AcceptMulti::new(fd(&listener)).flags(libc::SOCK_CLOEXEC).build();
                (Kind::Accept { _listener: listener }, entry)
            }
            Op::Recv { socket } => {
                self.receives += 1;
                self.stock();
                (Kind::Recv { _socket: socket.clone() }, recv(fd(&socket), multishot))
            }
            Op::Send { socket, transmit } => self.send(socket, transmit),
            Op::Connect { socket, addr } => {
                let addr = Box::new(addr);
                let entry = opcode::Connect::new(fd(&socket), addr.as_ptr().cast(), addr.len()).build();
                (Kind::Connect { _socket: socket, _addr: addr }, entry)
            }
        };
        #[cfg(test)]
        super::guard::enter(&kind);
        let id = self.place(InFlight { token, kind, cancelled: false, watched: false });
        (id, entry.user_data(Key::Op(id).encode()))
    }

    pub(super) fn get(&self, id: OpId) -> Option<&InFlight> {
        let (index, generation) = split(id);
        self.slots.get(index).filter(|slot| slot.generation == generation)?.op.as_ref()
    }

    /// Ends an operation, after its last completion.
    pub(super) fn remove(&mut self, id: OpId) -> Option<InFlight> {
        let (index, generation) = split(id);
        let slot = self.slots.get_mut(index).filter(|slot| slot.generation == generation)?;
        let op = slot.op.take()?;
        slot.generation = (slot.generation + 1) & GENERATION_MASK;
        slot.generation += u32::from(slot.generation == 0);
        self.free.push(index as u32);
        self.in_flight -= 1;
        self.receives -= usize::from(matches!(op.kind, Kind::Recv { .. }));
        Some(op)
    }

    /// Notes that the operation shall end; true if it is in flight and nobody asked before.
    pub(super) fn cancel(&mut self, id: OpId) -> bool {
        let (index, generation) = split(id);
        let slot = self.slots.get_mut(index).filter(|slot| slot.generation == generation);
        slot.and_then(|slot| slot.op.as_mut()).is_some_and(|op| !std::mem::replace(&mut op.cancelled, true))
    }

    /// Notes that a poll beside the operation begins or has ended; whether the operation is in flight.
    pub(super) fn set_watched(&mut self, id: OpId, watched: bool) -> bool {
        let (index, generation) = split(id);
        let slot = self.slots.get_mut(index).filter(|slot| slot.generation == generation);
        slot.and_then(|slot| slot.op.as_mut()).map(|op| op.watched = watched).is_some()
    }

    /// Takes a gather list back for reuse.
    pub(super) fn recycle(&mut self, message: Message) {
        if self.messages.len() < MESSAGES_MAX {
            self.messages.push(message);
        } else {
            self.messages_made -= 1;
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.in_flight
    }

    /// Slots and gather lists kept for reuse.
    #[cfg(test)]
    pub(super) fn idle(&self) -> (usize, usize) {
        (self.free.len(), self.messages.len())
    }

    /// Bytes of memory the operations in flight refer to.
    pub(super) fn bytes(&self) -> usize {
        let ops = self.slots.iter().filter_map(|slot| slot.op.as_ref());
        ops.map(|op| match &op.kind {
            Kind::Send { transmit, message, .. } => {
                transmit.len() + message.as_ref().map_or(0, |_| Message::len())
            }
            Kind::Connect { .. } => size_of::<SockAddr>(),
            Kind::Accept { .. } | Kind::Recv { .. } => 0,
        })
        .sum()
    }

    fn send(&mut self, socket: Arc<Socket>, transmit: Transmit) -> (Kind, squeue::Entry) {
        // Waiting for everything saves a round per short send; a vanished peer is an error, not a signal.
        let flags = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
        let fd = fd(&socket);
        let (message, entry) = match transmit.segments() {
            segments @ ([] | [_]) => {
                let bytes = segments.first().map_or(&[][..], |segment| segment.as_slice());
                let len = u32::try_from(bytes.len()).unwrap_or(SEND_LEN_MAX).min(SEND_LEN_MAX);
                (None, opcode::Send::new(fd, bytes.as_ptr(), len).flags(flags).build())
            }
            segments => {
                let mut message = self.messages.pop().unwrap_or_else(|| {
                    self.messages_made += 1;
                    Message::new()
                });
                let entry = opcode::SendMsg::new(fd, message.describe(segments)).flags(flags as u32).build();
                (Some(message), entry)
            }
        };
        (Kind::Send { _socket: socket, transmit, message }, entry)
    }

    /// Grows with the connections, so that nothing grows while their messages flow: beside its receive, each
    /// has at most one send in flight.
    fn stock(&mut self) {
        while self.slots.len() < 2 * self.receives {
            self.free.push(self.slots.len() as u32);
            self.slots.push(Slot { generation: 1, op: None });
        }
        self.free.reserve(self.slots.len() - self.free.len());
        while self.messages_made < self.receives.min(MESSAGES_MAX) {
            self.messages.push(Message::new());
            self.messages_made += 1;
        }
        self.messages.reserve(self.messages_made.min(MESSAGES_MAX) - self.messages.len());
    }

    fn place(&mut self, op: InFlight) -> OpId {
        self.in_flight += 1;
        if let Some(index) = self.free.pop()
            && let Some(slot) = self.slots.get_mut(index as usize)
        {
            slot.op = Some(op);
            return name(index, slot.generation);
        }
        self.slots.push(Slot { generation: 1, op: Some(op) });
        name(self.slots.len() as u32 - 1, 1)
    }
}

fn recv(fd: types::Fd, multishot: bool) -> squeue::Entry {
    if multishot {
        return opcode::RecvMulti::new(fd, GROUP).build();
    }
    // No length: as much as the buffer takes.
    let entry = opcode::Recv::new(fd, std::ptr::null_mut(), 0).buf_group(GROUP).build();
    entry.flags(squeue::Flags::BUFFER_SELECT)
}

pub(super) fn fd(socket: &Socket) -> types::Fd {
    let fd: RawFd = socket.raw();
    types::Fd(fd)
}

fn name(index: u32, generation: u32) -> OpId {
    OpId(u64::from(generation) << 32 | u64::from(index))
}

const fn split(id: OpId) -> (usize, u32) {
    (id.0 as u32 as usize, (id.0 >> 32) as u32)
}

const CANCEL: u64 = 1 << 63;
const WATCH: u64 = 1 << 62;
/// No operation has these names: slot indices stay below `u32::MAX - 1` because each slot takes memory.
const WAKE: u64 = u64::MAX;
const CANCEL_ALL: u64 = u64::MAX - 1;
const GENERATION_MASK: u32 = u32::MAX >> 2;
/// The kernel's limit of one transfer; a longer send is short, and goes on with the rest.
const SEND_LEN_MAX: u32 = 0x7fff_f000;
/// One per connection that sends from several pieces in the same turn, kept for reuse; 1 KiB each.
const MESSAGES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_survives_the_kernel() {
        let id = OpId(7 << 32 | 3);
        let keys =
            [Key::Op(id), Key::Cancel(id), Key::Watch(id), Key::Unwatch(id), Key::Wake, Key::CancelAll];
        for key in keys {
            assert_eq!(Key::decode(key.encode()), key);
        }
    }

    #[test]
    fn a_stale_name_names_nothing() {
        let (socket, _peer) =
            socket2::Socket::pair(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        let socket = Arc::new(Socket::from(socket));
        let mut table = OpTable::default();
        let (first, _) = table.insert(Token(1), Op::Recv { socket: socket.clone() }, true);
        assert!(table.remove(first).is_some());
        let (second, _) = table.insert(Token(2), Op::Recv { socket }, true);
        assert_eq!(split(first).0, split(second).0, "the slot is reused");
        assert!(table.get(first).is_none() && table.remove(first).is_none() && !table.cancel(first));
        assert!(table.get(OpId(u64::MAX >> 2)).is_none());
        assert!(table.cancel(second) && !table.cancel(second), "asked once");
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn generations_wrap_without_touching_the_reserved_names() {
        let (socket, _peer) =
            socket2::Socket::pair(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        let socket = Arc::new(Socket::from(socket));
        let mut table = OpTable::default();
        let (id, _) = table.insert(Token(1), Op::Recv { socket: socket.clone() }, true);
        table.remove(id);
        let index = split(id).0;
        table.slots[index].generation = GENERATION_MASK;
        let (last, _) = table.insert(Token(1), Op::Recv { socket: socket.clone() }, true);
        assert_eq!(Key::decode(Key::Op(last).encode()), Key::Op(last));
        table.remove(last);
        let (next, _) = table.insert(Token(1), Op::Recv { socket }, true);
        assert_eq!(split(next), (index, 1));
    }
}
