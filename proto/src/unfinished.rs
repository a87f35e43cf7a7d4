//! Accepted connections that are not open yet: bounded per shard and per address.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use crate::id::ConnId;
use crate::peer::{PeerAddr, PeerInfo};

/// The accepted connections of a shard whose TLS or handshake is not finished.
///
/// When there are too many, the oldest makes room: a flood of silent connections then ages out, while a peer
/// that shakes hands at once gets in. Memory: 40 bytes per connection, at most [`UNFINISHED_MAX`].
#[derive(Debug, Default)]
pub(crate) struct Unfinished {
    oldest_first: VecDeque<(ConnId, Option<IpAddr>)>,
    by_address: HashMap<IpAddr, u32>,
    evicted: Vec<ConnId>,
}

/// What became of a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Taken,
    /// That connection has to go.
    TakenFrom(ConnId),
    /// Its address has as many as it may.
    Refused,
}

impl Unfinished {
    /// A connection begins to open.
    pub(crate) fn enter(&mut self, id: ConnId, peer: &PeerInfo) -> Place {
        let address = limited_address(peer);
        if let Some(address) = address {
            let count = self.by_address.entry(address).or_default();
            if *count >= UNFINISHED_PER_ADDRESS_MAX {
                return Place::Refused;
            }
            *count += 1;
        }
        self.oldest_first.push_back((id, address));
        if self.oldest_first.len() <= UNFINISHED_MAX {
            return Place::Taken;
        }
        let Some((oldest, address)) = self.oldest_first.pop_front() else { return Place::Taken };
        self.forget_address(address);
        self.evicted.push(oldest);
        Place::TakenFrom(oldest)
    }

    /// A connection is open, or over.
    pub(crate) fn leave(&mut self, id: ConnId) {
        self.evicted.retain(|evicted| *evicted != id);
        if let Some(at) = self.oldest_first.iter().position(|(waiting, _)| *waiting == id)
            && let Some((_, address)) = self.oldest_first.remove(at)
        {
            self.forget_address(address);
        }
    }

    /// Whether the connection had to make room for another.
    pub(crate) fn was_evicted(&self, id: ConnId) -> bool {
        self.evicted.contains(&id)
    }

    fn forget_address(&mut self, address: Option<IpAddr>) {
        let Some(address) = address else { return };
        if let Some(count) = self.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
    }
}

/// Peers on this host share an address with each other; they are not told apart by it.
fn limited_address(peer: &PeerInfo) -> Option<IpAddr> {
    match &peer.addr {
        PeerAddr::Ip(addr) => Some(addr.ip().to_canonical()).filter(|ip| !ip.is_loopback()),
        PeerAddr::Unix(_) | PeerAddr::Unknown => None,
    }
}

/// A handshake takes a round trip: this many per shard are a flood, or 10,000 new peers a second over 50 ms.
const UNFINISHED_MAX: usize = 512;
/// Clients behind one address that start at the same moment.
const UNFINISHED_PER_ADDRESS_MAX: u32 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn id(slot: u32) -> ConnId {
        ConnId::new(0, slot, 0)
    }

    fn peer(address: [u8; 4]) -> PeerInfo {
        PeerInfo::new(PeerAddr::Ip((address, 1).into()))
    }

    #[test]
    fn the_oldest_makes_room_and_is_told_once() {
        let mut unfinished = Unfinished::default();
        for slot in 0..UNFINISHED_MAX as u32 {
            assert_eq!(unfinished.enter(id(slot), &peer([127, 0, 0, 1])), Place::Taken);
        }
        assert_eq!(unfinished.enter(id(1000), &peer([127, 0, 0, 1])), Place::TakenFrom(id(0)));
        assert!(unfinished.was_evicted(id(0)));
        unfinished.leave(id(0));
        assert!(!unfinished.was_evicted(id(0)));
        unfinished.leave(id(1));
        assert_eq!(unfinished.enter(id(1001), &peer([127, 0, 0, 1])), Place::Taken);
    }

    #[test]
    fn one_address_has_its_own_bound() {
        let mut unfinished = Unfinished::default();
        for slot in 0..UNFINISHED_PER_ADDRESS_MAX {
            assert_eq!(unfinished.enter(id(slot), &peer([10, 0, 0, 1])), Place::Taken);
        }
        assert_eq!(unfinished.enter(id(100), &peer([10, 0, 0, 1])), Place::Refused);
        assert_eq!(unfinished.enter(id(101), &peer([10, 0, 0, 2])), Place::Taken);
        unfinished.leave(id(3));
        assert_eq!(unfinished.enter(id(102), &peer([10, 0, 0, 1])), Place::Taken);
        (0..200).for_each(|slot| unfinished.leave(id(slot)));
        assert!(unfinished.by_address.is_empty());
    }
}
