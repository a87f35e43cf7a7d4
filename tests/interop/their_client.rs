//! The Python client against our servers.

use std::sync::mpsc::{Receiver, channel};

use qwormhole::handshake::{HandshakeFault, HandshakeInfo, HandshakePolicy};
use qwormhole::{CloseReason, Context, Handler, Message, PeerInfo, Server, ServerBuilder, TlsOptions};

use crate::python::{Certificates, script, verdict};
use crate::support::{Bed, PATIENCE, on_every_backend};

on_every_backend!(
    a_python_client_without_a_handshake_is_served,
    a_python_client_with_a_plain_handshake_is_served,
    a_python_client_with_a_signed_handshake_is_served,
    a_python_client_with_a_tampered_handshake_is_refused,
    a_python_client_is_served_over_tls,
);

#[test]
fn the_client_stays_short_and_needs_no_packages() {
    let source = include_str!("client.py");
    assert!(source.lines().count() <= 150, "{} lines", source.lines().count());
}

struct Echo;

impl Handler for Echo {
    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        conn.reply(message).expect("there is room");
    }
}

/// A server that echoes, the handshakes it accepted and the refusals.
struct Served {
    server: Server,
    opened: Receiver<Option<HandshakeInfo>>,
    refused: Receiver<CloseReason>,
}

impl Served {
    fn start(server: ServerBuilder) -> Self {
        let (told, opened) = channel();
        let (tell, refused) = channel();
        let server = server
            .on_reject(move |_, reason| tell.send(reason.clone()).expect("the test listens"))
            .start(move |peer: &PeerInfo| {
                told.send(peer.handshake.as_deref().cloned()).expect("the test listens");
                Echo
            })
            .expect("start");
        Self { server, opened, refused }
    }

    /// Runs the client; what it said and how it ended, unless there is no Python.
    fn visit(&self, options: &[&str]) -> Option<(String, Option<i32>)> {
        let port = self.server.local_addrs()[0].socket_addr().expect("numeric").port();
        let mut client = script("client.py")?;
        client.args(["127.0.0.1", &port.to_string()]).args(LENGTHS).args(options);
        Some(verdict(&client.output().expect("python3 runs")))
    }

    fn accepted(&self) -> Option<HandshakeInfo> {
        self.opened.recv_timeout(PATIENCE).expect("opened")
    }
}

fn bound(bed: Bed) -> ServerBuilder {
    bed.server().bind("127.0.0.1:0").expect("bind")
}

fn a_python_client_without_a_handshake_is_served(bed: Bed) {
    let served = Served::start(bound(bed));
    let Some(said) = served.visit(&[]) else { return };
    assert_eq!(said, all_echoed());
    assert_eq!(served.accepted(), None);
}

fn a_python_client_with_a_plain_handshake_is_served(bed: Bed) {
    let served = Served::start(bound(bed).handshake(HandshakePolicy::new("1.0.0")));
    let Some(said) = served.visit(&["--version", "1.0.0", "--tag", "name=schlange"]) else { return };
    assert_eq!(said, all_echoed());
    let info = served.accepted().expect("a handshake");
    assert_eq!(info.tags.get("name").expect("a tag").text(), "schlange");

    let said = served.visit(&["--version", "2.0.0"]).expect("as before");
    assert_eq!(said, ("refused".to_owned(), Some(3)));
    let reason = served.refused.recv_timeout(PATIENCE).expect("refused");
    assert_eq!(reason, CloseReason::Handshake(HandshakeFault::VersionMismatch));
}

fn a_python_client_with_a_signed_handshake_is_served(bed: Bed) {
    let served = Served::start(bound(bed).handshake(HandshakePolicy::new("1.0.0").require_signed()));
    let options = ["--version", "1.0.0", "--tag", "name=schläng\n\"e\"", "--seed", SEED];
    let Some(said) = served.visit(&options) else { return };
    assert_eq!(said, all_echoed());
    assert!(served.accepted().expect("a handshake").public_key.is_some());
}

fn a_python_client_with_a_tampered_handshake_is_refused(bed: Bed) {
    let served = Served::start(bound(bed).handshake(HandshakePolicy::new("1.0.0")));
    let Some(said) = served.visit(&["--version", "1.0.0", "--seed", SEED, "--tamper"]) else { return };
    assert_eq!(said, ("refused".to_owned(), Some(3)));
    let reason = served.refused.recv_timeout(PATIENCE).expect("refused");
    assert_eq!(reason, CloseReason::Handshake(HandshakeFault::Signature));
    served.server.shutdown(PATIENCE);
    assert!(served.opened.try_recv().is_err(), "opened nevertheless");
}

fn a_python_client_is_served_over_tls(bed: Bed) {
    let certificates = Certificates::new();
    let identity = &certificates.identity;
    let tls = TlsOptions::new().key(&*identity.key).cert(&*identity.cert);
    let served = Served::start(bound(bed).tls(tls).handshake(HandshakePolicy::new("1.0.0").require_signed()));
    let ca = certificates.file("ca.pem");
    let ca = ca.to_str().expect("UTF-8");
    let Some(said) = served.visit(&["--version", "1.0.0", "--seed", SEED, "--ca", ca]) else { return };
    assert_eq!(said, all_echoed());
    let info = served.accepted().expect("a handshake");
    assert!(info.public_key.is_some() && info.tls.is_some(), "{info:?}");

    let other = Certificates::new();
    let ca = other.file("ca.pem");
    let (_, code) = served.visit(&["--ca", ca.to_str().expect("UTF-8")]).expect("as before");
    assert_eq!(code, Some(1), "the client trusts another authority only");
}

fn all_echoed() -> (String, Option<i32>) {
    (format!("echoed {}", LENGTHS.len()), Some(0))
}

const LENGTHS: [&str; 5] = ["0", "1", "5", "1000", "1048576"];
const SEED: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
