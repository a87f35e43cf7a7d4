//! What QWormhole does wrong around handshakes, done right: one test per defect, each over real sockets.

use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use qwormhole::handshake::{ClientHandshake, HandshakeFault, HandshakePolicy, NegentropicSigner, Verifier};
use qwormhole::{Client, CloseReason, Framing, Server, ServerBuilder, TlsOptions};

use crate::support::certs::Authority;
use crate::support::gate::Gate;
use crate::support::peer::Peer;
use crate::support::record::{Answer, Record, Seen, recorders};
use crate::support::{Bed, PATIENCE, block_on, frame, on_every_backend};

on_every_backend!(
    a_refused_handshake_is_never_delivered_as_a_message,
    a_handshake_refused_for_its_certificate_is_never_delivered_as_a_message,
    a_refusal_is_told_once,
    a_handshake_is_no_message_while_an_async_verifier_thinks,
    data_behind_a_handshake_waits_for_a_slow_async_verifier,
    tags_and_version_are_merged_before_signing,
    raw_data_in_the_chunk_of_a_handshake_is_data,
);

/// A server that records what its handlers see and whom it refuses.
struct Watched {
    server: Server,
    record: Record,
    refusals: Receiver<CloseReason>,
}

impl Watched {
    fn start(server: ServerBuilder) -> Self {
        let (service, record) = recorders(Answer::Nothing);
        let (refused, refusals) = channel();
        let server = server
            .on_reject(move |_, reason| refused.send(reason.clone()).expect("the test listens"))
            .start(service)
            .expect("start");
        Self { server, record, refusals }
    }

    fn connect(&self) -> Peer {
        Peer::connect(&self.server.local_addrs()[0])
    }

    /// Refused for `fault`, once, and nothing else was ever told.
    fn refused_once(self, fault: HandshakeFault) {
        let reason = self.refusals.recv_timeout(PATIENCE).expect("refused");
        assert_eq!(reason, CloseReason::Handshake(fault));
        self.server.shutdown(PATIENCE);
        assert_eq!(self.refusals.try_iter().count(), 0, "told twice");
        assert!(self.record.is_silent(), "something reached the application");
    }
}

fn serve(bed: Bed, policy: HandshakePolicy) -> ServerBuilder {
    bed.server().bind("127.0.0.1:0").expect("bind").handshake(policy)
}

fn signed(tag: &str) -> Vec<u8> {
    let signer = NegentropicSigner::from_seed(&[5; 32]).expect("a seed");
    let client = ClientHandshake::new("1.0.0").tag("a", tag).signer(signer);
    client.encode(&[], 1_700_000_000_000, [0; 16]).expect("valid")
}

fn a_refused_handshake_is_never_delivered_as_a_message(bed: Bed) {
    let tampered = String::from_utf8(signed("honest")).expect("UTF-8").replace("honest", "forged");
    let policy = HandshakePolicy::new("1.0.0");
    let refusing = policy.clone().verifier(Verifier::sync(|_, _| false));
    let lenient = policy.clone().verifier(Verifier::sync(|_, _| true));
    let panicking = policy.clone().verifier(Verifier::sync(|_, _| panic!("asked to panic")));
    for (policy, first, fault) in [
        (&policy, "hello", HandshakeFault::NotJson { at: 0 }),
        (&policy, tampered.as_str(), HandshakeFault::Signature),
        // A verifier does not replace the check of the signature.
        (&lenient, tampered.as_str(), HandshakeFault::Signature),
        (&refusing, r#"{"type":"handshake"}"#, HandshakeFault::Rejected),
        (&panicking, r#"{"type":"handshake"}"#, HandshakeFault::VerifierPanicked),
    ] {
        let watched = Watched::start(serve(bed, policy.clone()));
        let mut peer = watched.connect();
        peer.write_all(&[frame(first.as_bytes()), frame(b"more")].concat()).expect("send");
        assert_eq!(peer.read_to_end().expect("a clean end"), b"");
        watched.refused_once(fault);
    }
}

fn a_handshake_refused_for_its_certificate_is_never_delivered_as_a_message(bed: Bed) {
    let authority = Authority::new("authority");
    let identity = authority.issue(&["127.0.0.1"]);
    let tls = TlsOptions::new().key(&*identity.key).cert(&*identity.cert);
    let watched = Watched::start(serve(bed, HandshakePolicy::new("1")).tls(tls));
    let client = Client::builder().backend(bed.backend).tls(TlsOptions::new().ca(authority.pem()));
    // It presents no certificate.
    let client = client.handshake(ClientHandshake::new("1").tag("tlsFingerprint256", "AB:CD"));
    block_on(async {
        let mut conn = client.connect(&watched.server.local_addrs()[0]).await.expect("connect");
        // Refused already, perhaps.
        let _ = conn.send("more").await;
        let answer = conn.recv().await;
        assert!(!matches!(answer, Some(Ok(_))), "{answer:?}");
    });
    watched.refused_once(HandshakeFault::TlsFingerprintMismatch);
}

fn a_refusal_is_told_once(bed: Bed) {
    let watched = Watched::start(serve(bed, HandshakePolicy::new("1.0.0")));
    let mut peer = watched.connect();
    peer.send_frame(br#"{"type":"handshake","version":"2.0.0"}"#);
    assert_eq!(peer.read_to_end().expect("a clean end"), b"");
    drop(peer);
    watched.refused_once(HandshakeFault::VersionMismatch);
}

fn a_handshake_is_no_message_while_an_async_verifier_thinks(bed: Bed) {
    let policy = HandshakePolicy::new("1").verifier(Verifier::future(|_, _| async { true }));
    let watched = Watched::start(serve(bed, policy));
    let mut peer = watched.connect();
    peer.send_frame(br#"{"type":"handshake"}"#);
    assert_eq!(watched.record.next(), Seen::Open);
    peer.send_frame(b"data");
    assert_eq!(watched.record.next(), Seen::Message(b"data".to_vec()));
}

fn data_behind_a_handshake_waits_for_a_slow_async_verifier(bed: Bed) {
    let gate = Arc::new(Gate::default());
    let asked = gate.clone();
    let verifier = Verifier::future(move |_, _| asked.clone().opened());
    let watched = Watched::start(serve(bed, HandshakePolicy::new("1").verifier(verifier)));
    let mut peer = watched.connect();
    // In the same chunk, then in another one.
    peer.write_all(&[frame(br#"{"type":"handshake"}"#), frame(b"first")].concat()).expect("send");
    gate.wait_until_asked();
    peer.send_frame(b"second");
    assert!(watched.record.is_silent());
    gate.open();
    assert_eq!(watched.record.next(), Seen::Open);
    assert_eq!(watched.record.next(), Seen::Message(b"first".to_vec()));
    assert_eq!(watched.record.next(), Seen::Message(b"second".to_vec()));
    peer.end();
    assert_eq!(watched.record.next(), Seen::Close(CloseReason::PeerClosed));
}

fn tags_and_version_are_merged_before_signing(bed: Bed) {
    let watched = Watched::start(serve(bed, HandshakePolicy::new("1.0.0").require_signed()));
    let signer = NegentropicSigner::from_seed(&[6; 32]).expect("a seed");
    let client = Client::builder().backend(bed.backend);
    let client = client.handshake(ClientHandshake::new("1.0.0").tag("late", "tag").signer(signer));
    block_on(async {
        let mut conn = client.connect(&watched.server.local_addrs()[0]).await.expect("connect");
        conn.send("data").await.expect("send");
        assert_eq!(watched.record.next(), Seen::Open);
        assert_eq!(watched.record.next(), Seen::Message(b"data".to_vec()));
    });
}

fn raw_data_in_the_chunk_of_a_handshake_is_data(bed: Bed) {
    let watched = Watched::start(serve(bed, HandshakePolicy::new("1")).framing(Framing::None));
    let mut peer = watched.connect();
    peer.write_all(br#"{"type":"handshake"}raw"#).expect("send");
    assert_eq!(watched.record.next(), Seen::Open);
    assert_eq!(watched.record.next(), Seen::Message(b"raw".to_vec()));
}
