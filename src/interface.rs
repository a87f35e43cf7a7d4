//! The addresses of a network interface, for clients that come from one.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use if_addrs::{IfAddr, get_if_addrs};
use socket2::SockAddr;

/// The first addresses of one interface, as the system lists them. Loopback interfaces count like any other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct InterfaceAddrs {
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
    link_local: Option<Ipv6Addr>,
    index: u32,
}

impl InterfaceAddrs {
    /// Asks the system; `None` when no interface of this name has an address.
    pub(crate) fn of(name: &str) -> io::Result<Option<Self>> {
        let mut found = None;
        for interface in get_if_addrs()?.into_iter().filter(|interface| interface.name == name) {
            let addrs: &mut Self = found.get_or_insert_default();
            addrs.index = interface.index.unwrap_or(addrs.index);
            let (slot, ip) = match interface.addr {
                IfAddr::V4(v4) => {
                    addrs.v4.get_or_insert(v4.ip);
                    continue;
                }
                IfAddr::V6(v6) if v6.ip.is_unicast_link_local() => (&mut addrs.link_local, v6.ip),
                IfAddr::V6(v6) => (&mut addrs.v6, v6.ip),
            };
            slot.get_or_insert(ip);
        }
        Ok(found)
    }

    /// Where a connection to `peer` comes from, port chosen by the system: an address of its family, of the
    /// same scope if there is one. `None` when the interface has no address of the family.
    pub(crate) fn toward(&self, peer: &SocketAddr) -> Option<SocketAddr> {
        let SocketAddr::V6(peer) = peer else {
            return Some(SocketAddrV4::new(self.v4?, 0).into());
        };
        let ip = match peer.ip().is_unicast_link_local() {
            true => self.link_local.or(self.v6),
            false => self.v6.or(self.link_local),
        }?;
        let scope = if ip.is_unicast_link_local() { self.index } else { 0 };
        Some(SocketAddrV6::new(ip, 0, 0, scope).into())
    }

    /// The addresses of `peers` that can be reached from here. A link-local one without a scope is on this link.
    pub(crate) fn reachable(&self, peers: Vec<SockAddr>) -> Vec<SockAddr> {
        let scoped = |peer: SockAddr| match peer.as_socket() {
            Some(SocketAddr::V6(v6)) if v6.ip().is_unicast_link_local() && v6.scope_id() == 0 => {
                SocketAddrV6::new(*v6.ip(), v6.port(), v6.flowinfo(), self.index).into()
            }
            _ => peer,
        };
        let can_reach = |peer: &SockAddr| peer.as_socket().is_none_or(|peer| self.toward(&peer).is_some());
        peers.into_iter().filter(can_reach).map(scoped).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_address_has_the_family_and_the_scope_of_the_peer() {
        let all = InterfaceAddrs {
            v4: Some(Ipv4Addr::new(10, 0, 0, 1)),
            v6: Some("fd00::1".parse().unwrap()),
            link_local: Some("fe80::1".parse().unwrap()),
            index: 7,
        };
        assert_eq!(all.toward(&addr("10.9.9.9:1")), Some(addr("10.0.0.1:0")));
        assert_eq!(all.toward(&addr("[2001:db8::1]:1")), Some(addr("[fd00::1]:0")));
        assert_eq!(all.toward(&addr("[fe80::9%3]:1")), Some(addr("[fe80::1%7]:0")));
        let v4_only = InterfaceAddrs { v6: None, link_local: None, ..all.clone() };
        assert_eq!(v4_only.toward(&addr("[2001:db8::1]:1")), None);
        let peers = |texts: &[&str]| texts.iter().map(|text| addr(text).into()).collect::<Vec<SockAddr>>();
        let reachable = v4_only.reachable(peers(&["[2001:db8::1]:1", "10.9.9.9:1"]));
        assert_eq!(reachable, peers(&["10.9.9.9:1"]));
        assert_eq!(all.reachable(peers(&["[fe80::9]:1"])), peers(&["[fe80::9%7]:1"]));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_loopback_interface_has_an_address_and_nonsense_has_none() {
        let loopback = InterfaceAddrs::of("lo").unwrap().unwrap();
        assert_eq!(loopback.toward(&addr("127.0.0.2:1")), Some(addr("127.0.0.1:0")));
        assert_eq!(InterfaceAddrs::of("no-such-if0").unwrap(), None);
    }
}
