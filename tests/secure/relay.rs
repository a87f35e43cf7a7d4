//! TLS when the network does what it may: bytes one by one, ends without a word.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use qwormhole::handshake::{ClientHandshake, HandshakePolicy, NegentropicSigner};
use qwormhole::{Client, ClientBuilder, CloseReason, ConnectError, TlsFault, TlsOptions, TlsVersion};

use crate::support::certs::Authority;
use crate::support::{Bed, PATIENCE, block_on, on_every_backend};
use crate::watched::Watched;

on_every_backend!(
    a_connection_works_byte_by_byte,
    an_end_without_close_notify_is_a_truncation,
    an_end_during_the_handshake_is_named,
);

/// Forwards one connection to a server, byte by byte.
struct Relay {
    address: SocketAddr,
    pipes: Receiver<Cut>,
}

/// The relay's two sockets, to the client and to the server.
struct Cut {
    pipes: [TcpStream; 2],
    is_cut: Arc<AtomicBool>,
}

impl Relay {
    /// Forwards at most `limits` bytes of what the client and what the server says.
    fn to(server: &Watched, limits: [usize; 2]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("bound");
        let server = server.socket_addr();
        let (tell, pipes) = channel();
        thread::spawn(move || forward(&listener, &server, limits, &tell));
        Self { address, pipes }
    }

    fn cut(&self) -> Cut {
        self.pipes.recv_timeout(PATIENCE).expect("a connection")
    }
}

impl Cut {
    /// Ends both streams without a word of TLS.
    fn end(&self) {
        // First nothing is forwarded any more: what one end says about the cut must not reach the other.
        self.is_cut.store(true, Ordering::SeqCst);
        for pipe in &self.pipes {
            let _ = pipe.shutdown(Shutdown::Both);
        }
    }
}

fn forward(listener: &TcpListener, server: &str, limits: [usize; 2], tell: &Sender<Cut>) {
    let client = listener.accept().expect("a client").0;
    let server = TcpStream::connect(server).expect("the server listens");
    let clone = |stream: &TcpStream| stream.try_clone().expect("a descriptor");
    let (there, back) = ([clone(&client), clone(&server)], [clone(&server), clone(&client)]);
    let is_cut = Arc::<AtomicBool>::default();
    let _ = tell.send(Cut { pipes: [client, server], is_cut: is_cut.clone() });
    let [there_max, back_max] = limits;
    let also_cut = is_cut.clone();
    let there = thread::spawn(move || pump(there, there_max, &also_cut));
    pump(back, back_max, &is_cut);
    let _ = there.join();
}

/// Moves bytes from one stream to the other; each leaves at once, in a segment of its own. After `bytes_max` of them
/// both streams end without a word of TLS, and the rest is lost.
fn pump([mut from, mut to]: [TcpStream; 2], bytes_max: usize, is_cut: &AtomicBool) {
    to.set_nodelay(true).expect("no delay");
    let mut buffer = [0; 4096];
    let mut moved = 0;
    loop {
        let len = from.read(&mut buffer).unwrap_or(0);
        let len = if is_cut.load(Ordering::SeqCst) { 0 } else { len };
        for byte in &buffer[..len] {
            if moved < bytes_max && to.write_all(std::slice::from_ref(byte)).is_ok() {
                moved += 1;
            }
        }
        if moved == bytes_max {
            // What one end says about its cut must not reach the other.
            is_cut.store(true, Ordering::SeqCst);
        }
        if len == 0 || moved == bytes_max {
            let _ = to.shutdown(Shutdown::Write);
        }
        if len == 0 {
            return;
        }
        if moved == bytes_max {
            let _ = from.shutdown(Shutdown::Write);
        }
    }
}

/// A server with a certificate and what its clients need.
struct Scene {
    authority: Authority,
    bed: Bed,
}

impl Scene {
    fn new(bed: Bed) -> Self {
        Self { authority: Authority::new("authority"), bed }
    }

    fn serve(&self, version: TlsVersion, handshake: Option<HandshakePolicy>) -> Watched {
        let identity = self.authority.issue(&["127.0.0.1"]);
        let options = TlsOptions::new().cert(&*identity.cert).key(&*identity.key).versions([version]);
        Watched::start(self.bed, options.ca(self.authority.pem()).request_cert(true), handshake)
    }

    fn client(&self) -> ClientBuilder {
        let identity = self.authority.issue(&["client.test"]);
        let options = TlsOptions::new().cert(&*identity.cert).key(&*identity.key).ca(self.authority.pem());
        Client::builder().backend(self.bed.backend).tls(options)
    }
}

fn a_connection_works_byte_by_byte(bed: Bed) {
    let scene = Scene::new(bed);
    for version in VERSIONS {
        let server = scene.serve(version, Some(HandshakePolicy::new("1.0.0").require_signed()));
        let relay = Relay::to(&server, [usize::MAX; 2]);
        let signer = NegentropicSigner::from_seed(&[3; 32]).expect("a seed");
        let handshake = ClientHandshake::new("1.0.0").signer(signer).ask_ack();
        block_on(async {
            let client = scene.client().handshake(handshake);
            let mut conn = client.connect(relay.address).await.expect("connect");
            assert!(conn.peer().acknowledged);
            for message in ["", "hello", &"long ".repeat(1_000)] {
                conn.send(message.to_owned()).await.expect("send");
                assert_eq!(conn.recv().await.expect("open").expect("echo"), message);
            }
            assert_eq!(conn.close().await, CloseReason::Local);
        });
        assert!(server.shaken().public_key.is_some());
        let long = "long ".repeat(1_000);
        server.assert_ended(&[b"", b"hello", long.as_bytes()], &CloseReason::PeerClosed);
    }
}

fn an_end_without_close_notify_is_a_truncation(bed: Bed) {
    let scene = Scene::new(bed);
    for version in VERSIONS {
        let server = scene.serve(version, None);
        let relay = Relay::to(&server, [usize::MAX; 2]);
        block_on(async {
            let mut conn = scene.client().connect(relay.address).await.expect("connect");
            conn.send("whole").await.expect("send");
            assert_eq!(conn.recv().await.expect("open").expect("echo"), "whole");
            relay.cut().end();
            let end = conn.recv().await.expect("no clean end").expect_err("nothing is sent");
            assert_eq!(end.reason(), &CloseReason::Tls(TlsFault::Truncated));
            assert!(conn.recv().await.is_none(), "one end only");
        });
        server.assert_ended(&[b"whole"], &CloseReason::Tls(TlsFault::Truncated));
    }
}

fn an_end_during_the_handshake_is_named(bed: Bed) {
    let scene = Scene::new(bed);
    for version in VERSIONS {
        // In the middle of the client's first record; of what the server answers; of what the client adds.
        for limits in [[100, usize::MAX], [usize::MAX, 100], [600, usize::MAX]] {
            let server = scene.serve(version, None);
            let relay = Relay::to(&server, limits);
            let reason = block_on(async {
                match scene.client().connect(relay.address).await {
                    Ok(mut conn) => {
                        conn.recv().await.expect("no clean end").expect_err("an end").reason().clone()
                    }
                    Err(ConnectError::Closed { reason, .. }) => reason,
                    Err(error) => panic!("{error}"),
                }
            });
            // A client of TLS 1.3 is done when it has said its last word.
            let is_done = version == TlsVersion::Tls13 && limits[0] == 600;
            let fault = if is_done { TlsFault::Truncated } else { TlsFault::HandshakeTruncated };
            assert_eq!(reason, CloseReason::Tls(fault), "{version} {limits:?}");
            server.assert_rejected(&CloseReason::Tls(TlsFault::HandshakeTruncated));
        }
    }
}

const VERSIONS: [TlsVersion; 2] = [TlsVersion::Tls12, TlsVersion::Tls13];
