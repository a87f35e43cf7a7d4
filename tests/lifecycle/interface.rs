//! Clients that come from a network interface, shown across a pair of virtual interfaces into another network
//! namespace. Needs the right to make one; without it, says so and passes.

use std::process::Command;
use std::sync::mpsc::channel;

use qwormhole::{
    Backend, Client, ConnectError, Context, Handler, Message, PeerAddr, PeerInfo, SocketOptions,
};

use crate::support::{Bed, PATIENCE, block_on, on_every_backend};

on_every_backend!(
    a_client_comes_from_the_address_of_its_interface,
    an_unknown_interface_is_named,
    loopback_is_an_interface_and_a_local_address_wins,
);

fn sockets(interface: &str) -> SocketOptions {
    let mut sockets = SocketOptions::default();
    sockets.interface = Some(interface.to_owned());
    sockets
}

/// Tells where its peer comes from.
struct Reporter(std::sync::mpsc::Sender<PeerInfo>);

impl Handler for Reporter {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        let _ = self.0.send(conn.peer().clone());
    }

    fn on_message(&mut self, _conn: &mut Context<'_>, _message: Message<'_>) {}
}

/// A namespace with two ways out of which only one would be taken by itself; gone with the value.
struct Namespace(String);

impl Namespace {
    /// `None`, with a word about it, when the system does not let us.
    fn new(bed: Bed) -> Option<Self> {
        // Interface names have 15 characters at most; processes and backends must not meet.
        let letter = if bed.backend == Backend::Tokio { 't' } else { 'u' };
        let tag = format!("{letter}{}", std::process::id());
        let namespace = Self(tag.clone());
        let ip = |arguments: String| {
            let done = Command::new("ip").args(arguments.split_whitespace()).output();
            done.is_ok_and(|output| output.status.success())
        };
        let (net, outside) = (if letter == 't' { 81 } else { 82 }, format!("qo{tag}"));
        let commands = [
            format!("netns add qw{tag}"),
            format!("link add {outside} type veth peer name inside netns qw{tag}"),
            format!("addr add 10.{net}.0.1/24 dev {outside}"),
            format!("addr add fd00:{net}::1/64 dev {outside} nodad"),
            format!("link set {outside} up"),
            format!("-n qw{tag} link set lo up"),
            format!("-n qw{tag} addr add 10.{net}.0.2/24 dev inside"),
            format!("-n qw{tag} addr add fd00:{net}::2/64 dev inside nodad"),
            format!("-n qw{tag} link set inside up"),
            // Neighbours are asked for on the interface of an address only, unlike with IPv4.
            format!("route add fd00:{net}::77/128 via fd00:{net}::2 dev {outside}"),
            // What a client would never use unasked: addresses of an interface that leads nowhere.
            format!("-n qw{tag} link add other type veth peer name nowhere"),
            format!("-n qw{tag} addr add 10.{net}.0.77/32 dev other"),
            format!("-n qw{tag} addr add fd00:{net}::77/128 dev other nodad"),
            format!("-n qw{tag} addr add fd00::99/128 dev nowhere nodad"),
            format!("-n qw{tag} link set nowhere up"),
            format!("-n qw{tag} link set other up"),
        ];
        match commands.into_iter().find(|command| !ip(command.clone())) {
            None => Some(namespace),
            Some(command) => {
                println!("not checked: interface binding across namespaces (`ip {command}` is refused here)");
                None
            }
        }
    }

    fn server_addrs(bed: Bed) -> [String; 2] {
        let net = if bed.backend == Backend::Tokio { 81 } else { 82 };
        [format!("tcp://10.{net}.0.1:0"), format!("tcp://[fd00:{net}::1]:0")]
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &format!("qw{}", self.0)]).status();
        let _ = Command::new("ip").args(["link", "del", &format!("qo{}", self.0)]).output();
    }
}

fn a_client_comes_from_the_address_of_its_interface(bed: Bed) {
    let Some(namespace) = Namespace::new(bed) else { return };
    for address in Namespace::server_addrs(bed) {
        let (tell, told) = channel();
        let service = move |_: &PeerInfo| Reporter(tell.clone());
        let server = bed.server().bind(address.as_str()).expect("bind").start(service).expect("start");
        for (interface, ending) in [("inside", "2"), ("other", "77")] {
            let output = Command::new("ip")
                .args(["netns", "exec", &format!("qw{}", namespace.0)])
                .arg(std::env::current_exe().expect("this binary"))
                .args(["--exact", "interface::client_process", "--nocapture"])
                .env("QWORMHOLE_TEST_INTERFACE", interface)
                .env("QWORMHOLE_TEST_ADDRESS", server.local_addrs()[0].to_string())
                .env("QWORMHOLE_BACKEND", bed.backend.to_string())
                .output()
                .expect("the client runs");
            let said = [output.stdout, output.stderr].concat();
            assert!(output.status.success(), "{interface} to {address}: {}", String::from_utf8_lossy(&said));
            let PeerAddr::Ip(peer) = told.recv_timeout(PATIENCE).expect("it has connected").addr else {
                panic!("a TCP peer");
            };
            let expected = address.rsplit_once(':').expect("a port").0.replace("tcp://", "");
            let prefix = expected.trim_matches(['[', ']']).strip_suffix('1').expect("ends in 1");
            assert_eq!(peer.ip().to_string(), format!("{prefix}{ending}"), "{interface}");
        }
    }
}

/// The process in the namespace; does nothing unless it was told where to connect.
#[test]
fn client_process() {
    let Ok(interface) = std::env::var("QWORMHOLE_TEST_INTERFACE") else { return };
    let address = std::env::var("QWORMHOLE_TEST_ADDRESS").expect("an address");
    let client = Client::builder().sockets(sockets(&interface)).build().expect("a client");
    let mut conn = block_on(client.connect(address.as_str())).expect("connected");
    block_on(conn.close());
    if !address.contains('[') {
        let client = Client::builder().sockets(sockets("nowhere")).build().expect("a client");
        let error = block_on(client.connect(address.as_str())).expect_err("it has IPv6 only");
        assert!(matches!(error, ConnectError::Interface { .. }));
        assert!(error.to_string().ends_with("it has no address of the peer's family"), "{error}");
    }
}

fn an_unknown_interface_is_named(bed: Bed) {
    let client =
        Client::builder().backend(bed.backend).sockets(sockets("no-such-if0")).build().expect("build");
    let error = block_on(client.connect("tcp://127.0.0.1:9")).expect_err("there is none");
    assert!(matches!(&error, ConnectError::Interface { interface, .. } if interface == "no-such-if0"));
    assert!(error.to_string().contains("Interface no-such-if0 not found"), "{error}");
    assert!(error.is_retryable(), "it may come up");
}

fn loopback_is_an_interface_and_a_local_address_wins(bed: Bed) {
    let (tell, told) = channel();
    let service = move |_: &PeerInfo| Reporter(tell.clone());
    let server = bed.server().bind("127.0.0.1:0").expect("bind").start(service).expect("start");
    let client = Client::builder().backend(bed.backend).sockets(sockets("lo")).build().expect("build");
    let mut conn = block_on(client.connect(&server.local_addrs()[0])).expect("loopback counts");
    let PeerAddr::Ip(peer) = told.recv_timeout(PATIENCE).expect("it has connected").addr else {
        panic!("a TCP peer");
    };
    assert!(peer.ip().is_loopback());
    block_on(conn.close());
    // `local_addr` wins, even over an interface that is not there.
    let mut sockets = sockets("no-such-if0");
    sockets.local_addr = Some(([127, 0, 0, 3], 0).into());
    let client = Client::builder().backend(bed.backend).sockets(sockets).build().expect("build");
    let mut conn = block_on(client.connect(&server.local_addrs()[0])).expect("connected");
    let PeerAddr::Ip(peer) = told.recv_timeout(PATIENCE).expect("it has connected").addr else {
        panic!("a TCP peer");
    };
    assert_eq!(peer.ip().to_string(), "127.0.0.3");
    block_on(conn.close());
}
