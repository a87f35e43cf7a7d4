//! Inside other people's programs: runtimes, names, addresses, mistakes.

use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use qwormhole::{Backend, Client, ConnectError, Context, Handler, Message, PeerAddr, PeerInfo, Server};

use crate::support::peer::Peer;
use crate::support::record::{Answer, recorders};
use crate::support::{Bed, block_on, on_every_backend, scratch};

on_every_backend!(
    it_works_inside_a_runtime,
    names_are_resolved_and_both_families_answer,
    a_refused_connect_says_so_and_a_silent_one_times_out,
    a_taken_address_is_a_clear_error,
    a_stale_unix_socket_is_replaced_and_a_live_one_is_not,
    shards_share_one_port,
    unix_peers_tell_who_they_are,
    max_connections_refuses_the_rest,
    a_client_may_bring_its_own_handler,
);

fn it_works_inside_a_runtime(bed: Bed) {
    for builder in
        [tokio::runtime::Builder::new_current_thread(), tokio::runtime::Builder::new_multi_thread()]
    {
        let mut builder = builder;
        let runtime = builder.enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut listener = bed.server().bind("127.0.0.1:0").expect("bind").listen().expect("listen");
            let address = listener.local_addrs()[0].to_string();
            let server = tokio::spawn(async move {
                let mut conn = listener.accept().await.expect("a connection");
                let message = conn.recv().await.expect("a message").expect("no error");
                conn.send(message).await.expect("accepted");
                conn.close().await;
            });
            let mut conn =
                Client::builder().backend(bed.backend).connect(address.as_str()).await.expect("connect");
            conn.send("hello").await.expect("accepted");
            assert_eq!(conn.recv().await.expect("a message").expect("no error"), "hello");
            conn.close().await;
            server.await.expect("the server ends");
        });
    }
}

fn names_are_resolved_and_both_families_answer(bed: Bed) {
    let (service, _record) = recorders(Answer::Echo);
    let server = bed.server().bind("tcp://[::]:0").expect("bind").start(service).expect("start");
    let text = server.local_addrs()[0].to_string();
    let port = text.rsplit(':').next().expect("a port");
    for host in ["localhost", "127.0.0.1", "[::1]"] {
        let address = format!("tcp://{host}:{port}");
        let mut conn =
            block_on(Client::builder().backend(bed.backend).connect(address.as_str())).expect("connect");
        block_on(conn.send("hi")).expect("accepted");
        assert_eq!(block_on(conn.recv()).expect("a message").expect("no error"), "hi", "{address}");
    }
}

fn a_refused_connect_says_so_and_a_silent_one_times_out(bed: Bed) {
    let free = TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("bound");
    let refused = block_on(Client::builder().backend(bed.backend).connect(free.to_string().as_str()))
        .expect_err("refused");
    assert!(refused.to_string().contains("refused"), "{refused}");
    assert!(refused.to_string().contains(&free.port().to_string()), "the address is named: {refused}");
    // A listener whose queue is full answers nobody.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("socket");
    full.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().expect("address").into()).expect("bind");
    full.listen(0).expect("listen");
    let address = full.local_addr().expect("bound").as_socket().expect("an IP address");
    let _fill: Vec<_> = (0..3)
        .map(|_| {
            let socket =
                socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("socket");
            socket.set_nonblocking(true).expect("mode");
            let _ = socket.connect(&address.into());
            socket
        })
        .collect();
    let start = Instant::now();
    let builder = Client::builder().backend(bed.backend).connect_timeout(Duration::from_millis(300));
    let error = block_on(builder.connect(address.to_string().as_str())).expect_err("nobody answers");
    assert!(matches!(error, ConnectError::TimedOut { .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(5));
}

fn a_taken_address_is_a_clear_error(bed: Bed) {
    let taken = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = taken.local_addr().expect("bound").to_string();
    let (service, _record) = recorders(Answer::Echo);
    let error =
        bed.server().bind(address.as_str()).expect("a valid address").start(service).expect_err("taken");
    assert!(error.to_string().contains(&address), "the address is named: {error}");
    for bad in ["tls:/x", "tcp://nohost", "unix:", "127.0.0.1:99999", "http://a:1"] {
        let error = Server::builder().bind(bad).expect_err("a mistake");
        assert!(error.to_string().contains(bad), "the mistake is quoted: {error}");
    }
}

fn a_stale_unix_socket_is_replaced_and_a_live_one_is_not(bed: Bed) {
    let folder = scratch();
    let path = folder.path().join("socket");
    let address = format!("unix:{}", path.display());
    // The file outlives its listener.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("bind"));
    let (service, _record) = recorders(Answer::Echo);
    let server =
        bed.server().bind(address.as_str()).expect("bind").start(service.clone()).expect("stale is replaced");
    let error =
        bed.server().bind(address.as_str()).expect("bind").start(service).expect_err("somebody listens");
    assert!(error.to_string().contains("socket"), "{error}");
    let mut peer = Peer::connect(&server.local_addrs()[0]);
    peer.send_frame(b"still here");
    assert_eq!(peer.recv_frame(), b"still here");
    server.shutdown(Duration::from_millis(100));
    assert!(!path.exists(), "the file is removed");
}

fn shards_share_one_port(bed: Bed) {
    let folder = scratch();
    for address in ["127.0.0.1:0".to_owned(), format!("unix:{}", folder.path().join("s").display())] {
        let (service, _record) = recorders(Answer::Echo);
        let server = Server::builder()
            .backend(bed.backend)
            .shards(2)
            .bind(address.as_str())
            .expect("bind")
            .start(service)
            .expect("start");
        assert_eq!(server.local_addrs().len(), 1);
        let mut peers: Vec<Peer> = (0..64).map(|_| Peer::connect(&server.local_addrs()[0])).collect();
        for peer in &mut peers {
            peer.send_frame(b"x");
            assert_eq!(peer.recv_frame(), b"x");
        }
        let opened: Vec<u64> = server.stats().iter().map(|shard| shard.opened).collect();
        assert!(opened.len() == 2 && opened.iter().all(|count| *count > 0), "{address}: {opened:?}");
    }
}

fn unix_peers_tell_who_they_are(bed: Bed) {
    let folder = scratch();
    let address = format!("unix:{}", folder.path().join("s").display());
    let (tell, peers) = std::sync::mpsc::channel();
    let service = move |peer: &PeerInfo| {
        tell.send(peer.clone()).expect("the test listens");
        Silent
    };
    let server = bed.server().bind(address.as_str()).expect("bind").start(service).expect("start");
    let _peer = Peer::connect(&server.local_addrs()[0]);
    let info = peers.recv_timeout(crate::support::PATIENCE).expect("a connection");
    assert!(matches!(info.addr, PeerAddr::Unix(_)), "{info:?}");
    let credentials = info.credentials.expect("linux tells");
    assert_eq!(credentials.pid, Some(i32::try_from(std::process::id()).expect("a pid")));
}

struct Silent;

impl Handler for Silent {
    fn on_message(&mut self, _conn: &mut Context<'_>, _message: Message<'_>) {}
}

fn max_connections_refuses_the_rest(bed: Bed) {
    let (service, _record) = recorders(Answer::Echo);
    let server =
        bed.server().bind("127.0.0.1:0").expect("bind").max_connections(2).start(service).expect("start");
    let mut admitted: Vec<Peer> = (0..2).map(|_| Peer::connect(&server.local_addrs()[0])).collect();
    for peer in &mut admitted {
        peer.send_frame(b"in");
        assert_eq!(peer.recv_frame(), b"in");
    }
    let mut refused = Peer::connect(&server.local_addrs()[0]);
    assert_eq!(refused.read_to_end().unwrap_or_default(), [0; 0]);
    drop(admitted);
    let start = Instant::now();
    while server.stats()[0].connections > 0 {
        assert!(start.elapsed() < crate::support::PATIENCE);
        std::thread::yield_now();
    }
    let mut again = Peer::connect(&server.local_addrs()[0]);
    again.send_frame(b"in");
    assert_eq!(again.recv_frame(), b"in");
    assert_eq!(server.stats()[0].refused, 1);
}

/// Sends a greeting and passes on what comes back.
struct Greet(std::sync::mpsc::Sender<Vec<u8>>);

impl Handler for Greet {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        conn.send("hello").expect("room");
    }

    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        self.0.send(message.to_vec()).expect("the test listens");
        conn.close();
    }
}

fn a_client_may_bring_its_own_handler(bed: Bed) {
    let (service, _record) = recorders(Answer::Echo);
    let server = bed.server().bind("127.0.0.1:0").expect("bind").start(service).expect("start");
    let (tell, messages) = std::sync::mpsc::channel();
    let address = server.local_addrs()[0].to_string();
    let sender = block_on(Client::builder().backend(bed.backend).open(address.as_str(), Greet(tell)))
        .expect("connect");
    assert_eq!(messages.recv_timeout(crate::support::PATIENCE).expect("an echo"), b"hello");
    block_on(sender.closed());
}

/// Run by the next test with an environment that asks for a backend.
#[test]
fn backend_of_a_child() {
    let (service, _record) = recorders(Answer::Echo);
    match Server::builder().bind("127.0.0.1:0").expect("bind").start(service) {
        Ok(server) => println!("kind={:?}", server.backend().kind),
        Err(error) => println!("error={error}"),
    }
}

#[test]
fn the_environment_chooses_the_backend_and_a_mistake_is_named() {
    let ask = |value: &str| {
        let output = Command::new(std::env::current_exe().expect("this binary"))
            .args(["--exact", "embedding::backend_of_a_child", "--nocapture"])
            .env("QWORMHOLE_BACKEND", value)
            .output()
            .expect("the child runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(ask("tokio").contains("kind=Tokio"));
    assert!(ask("io_uring").contains("kind=IoUring"));
    let mistake = ask("epoll");
    assert!(mistake.contains("QWORMHOLE_BACKEND") && mistake.contains("io_uring"), "{mistake}");
}

#[test]
fn an_option_wins_over_the_environment() {
    let bed = Bed { backend: Backend::Tokio };
    let (service, _record) = recorders(Answer::Echo);
    let server = bed.server().bind("127.0.0.1:0").expect("bind").start(service).expect("start");
    assert_eq!(server.backend().kind, qwormhole::BackendKind::Tokio);
}
