use super::*;

use std::net::{TcpListener, TcpStream};

fn bind_all(texts: &[&str], shards: usize) -> Result<Bound, StartError> {
    let targets = texts.iter().map(|text| Target::Address(text.parse().unwrap())).collect();
    let (options, limits) = (SocketOptions::default(), Limits::default());
    Binding { shards, unix_mode: None, options: &options, limits: &limits }.bind(targets)
}

fn port(bound: &Bound) -> u16 {
    bound.addrs[0].socket_addr().unwrap().port()
}

fn kind(result: Result<Bound, StartError>) -> io::ErrorKind {
    io::Error::from(result.unwrap_err()).kind()
}

#[test]
#[cfg(target_os = "linux")]
fn every_shard_listens_on_the_port_the_first_was_given() {
    let bound = bind_all(&["127.0.0.1:0"], 3).unwrap();
    assert_eq!((bound.groups.len(), bound.groups[0].len()), (1, 3));
    for socket in &bound.groups[0] {
        assert_eq!(socket.local_addr().unwrap().as_socket().unwrap().port(), port(&bound));
    }
    TcpStream::connect(("127.0.0.1", port(&bound))).unwrap();
}

#[test]
fn a_second_server_on_the_port_is_told_so() {
    for (first, second) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
        let bound = bind_all(&["127.0.0.1:0"], first).unwrap();
        let text = format!("127.0.0.1:{}", port(&bound));
        assert_eq!(kind(bind_all(&[&text], second)), io::ErrorKind::AddrInUse, "{first} then {second}");
        drop(bound);
        bind_all(&[&text], second).unwrap();
    }
}

#[test]
#[cfg(target_os = "linux")]
fn servers_that_agree_on_it_share_a_port() {
    let (mut options, limits) = (SocketOptions::default(), Limits::default());
    options.reuse_port = true;
    let bind = |text: &str, options: &SocketOptions| {
        let targets = vec![Target::Address(text.parse().unwrap())];
        Binding { shards: 1, unix_mode: None, options, limits: &limits }.bind(targets)
    };
    let bound = bind("127.0.0.1:0", &options).unwrap();
    let text = format!("127.0.0.1:{}", port(&bound));
    let _second = bind(&text, &options).unwrap();
    assert_eq!(kind(bind(&text, &SocketOptions::default())), io::ErrorKind::AddrInUse, "one that does not");
}

#[test]
fn localhost_listens_on_all_its_addresses_with_one_port() {
    let bound = bind_all(&["localhost:0"], 2).unwrap();
    for address in &bound.addrs {
        let addr = address.socket_addr().unwrap();
        assert_eq!(addr.port(), port(&bound));
        TcpStream::connect(addr).unwrap();
    }
    assert_eq!(bound.addrs.len(), bound.groups.len());
}

#[test]
fn the_unspecified_ipv6_address_takes_ipv4_too() {
    let bound = bind_all(&["tcp://[::]:0"], 2).unwrap();
    TcpStream::connect(("127.0.0.1", port(&bound))).unwrap();
    TcpStream::connect(("::1", port(&bound))).unwrap();
}

#[test]
fn both_unspecified_addresses_share_a_port() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let bound = bind_all(&[&format!("0.0.0.0:{free}"), &format!("[::]:{free}")], 1).unwrap();
    assert_eq!(bound.groups.len(), 2);
}

#[test]
fn what_cannot_be_bound_is_named() {
    let text = bind_all(&["192.0.2.1:7"], 1).unwrap_err().to_string();
    assert!(text.starts_with("cannot listen on tcp://192.0.2.1:7: "), "{text}");
    assert!(matches!(bind_all(&[], 1), Err(StartError::NoAddress)));
}

#[test]
fn an_inherited_socket_keeps_its_address() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let (options, limits) = (SocketOptions::default(), Limits::default());
    let binding = Binding { shards: 2, unix_mode: None, options: &options, limits: &limits };
    let bound = binding.bind(vec![Target::Socket(listener.into())]).unwrap();
    assert_eq!(bound.addrs, [Address::from(addr)]);
    assert_eq!(bound.groups[0].len(), 1, "the first shard hands connections out");
}

#[test]
#[cfg(target_os = "linux")]
fn unix_sockets_are_one_per_address() {
    let dir = tempfile::tempdir().unwrap();
    let path = format!("unix:{}", dir.path().join("q").display());
    let abstract_name = format!("unix:@qwormhole-test-{}", std::process::id());
    let bound = bind_all(&[&path, &abstract_name], 4).unwrap();
    assert_eq!(bound.groups.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(bound.addrs.iter().map(Address::to_string).collect::<Vec<_>>(), [path.clone(), abstract_name]);
    assert_eq!(kind(bind_all(&[&path], 1)), io::ErrorKind::AddrInUse);
    drop(bound);
    assert!(!dir.path().join("q").exists());
}
