//! Handshakes between two ends of ours.

use std::sync::Arc;
use std::sync::mpsc::channel;

use qwormhole::handshake::json::JsonObject;
use qwormhole::handshake::{
    ClientHandshake, HandshakeFault, HandshakePolicy, NegentropicSigner, SigningMoment, Verifier,
};
use qwormhole::{Client, CloseReason, ConnectError, Context, Handler, Message, PeerInfo};

use crate::support::gate::Gate;
use crate::support::{Bed, PATIENCE, block_on, on_every_backend};

on_every_backend!(
    a_signed_handshake_is_accepted_and_seen,
    an_async_verifier_holds_what_follows,
    a_signer_that_panics_fails_its_connection_only,
);

struct Echo;

impl Handler for Echo {
    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        let _ = conn.reply(message);
    }
}

fn a_signed_handshake_is_accepted_and_seen(bed: Bed) {
    let (seen, see) = channel();
    let service = move |peer: &PeerInfo| {
        seen.send(peer.handshake.clone()).expect("the test listens");
        Echo
    };
    let (rejected, reject) = channel();
    let server = bed
        .server()
        .bind("127.0.0.1:0")
        .expect("bind")
        .handshake(HandshakePolicy::new("1.0.0").require_signed())
        .on_reject(move |_, reason| rejected.send(reason.clone()).expect("the test listens"))
        .start(service)
        .expect("start");
    let address = &server.local_addrs()[0];
    let signer = NegentropicSigner::from_seed(&[7; 32]).expect("a seed");
    let handshake = ClientHandshake::new("1.0.0").tag("service", "test").signer(signer);
    let client = |handshake| Client::builder().backend(bed.backend).handshake(handshake);
    block_on(async {
        let mut conn = client(handshake.clone()).connect(address).await.expect("connect");
        conn.send("hello").await.expect("send");
        assert_eq!(conn.recv().await.expect("open").expect("echo"), "hello");
        let info = see.recv_timeout(PATIENCE).expect("opened").expect("a handshake");
        assert!(info.public_key.is_some());
        assert_eq!(info.tags.get("service").map(|tag| tag.text()).as_deref(), Some("test"));

        let mut unsigned = client(ClientHandshake::new("1.0.0")).connect(address).await.expect("connect");
        // Refused already, perhaps.
        let _ = unsigned.send("lost").await;
        assert!(unsigned.recv().await.is_none_or(|end| end.is_err()));
        let reason = reject.recv_timeout(PATIENCE).expect("rejected");
        assert_eq!(reason, CloseReason::Handshake(HandshakeFault::Unsigned));

        let asking = client(handshake.clone().ask_ack()).connect(address).await;
        asking.expect("acknowledged");
        let asking = client(ClientHandshake::new("1.0.0").ask_ack()).connect(address).await;
        assert!(asking.is_err(), "not acknowledged");
    });
}

fn an_async_verifier_holds_what_follows(bed: Bed) {
    let gate = Arc::new(Gate::default());
    let asked = gate.clone();
    let verifier = Verifier::future(move |_, _| asked.clone().opened());
    let server = bed
        .server()
        .bind("127.0.0.1:0")
        .expect("bind")
        .handshake(HandshakePolicy::new("1").verifier(verifier))
        .start(|_: &PeerInfo| Echo)
        .expect("start");
    let client = Client::builder().backend(bed.backend).handshake(ClientHandshake::new("1"));
    block_on(async {
        let mut conn = client.connect(&server.local_addrs()[0]).await.expect("connect");
        for number in 0..100 {
            conn.send(format!("{number}")).await.expect("send");
        }
        conn.flush().await.expect("flush");
        gate.wait_until_asked();
        assert_eq!(server.stats()[0].opened, 0);
        gate.open();
        for number in 0..100 {
            assert_eq!(conn.recv().await.expect("open").expect("echo"), format!("{number}"));
        }
    });
}

fn a_signer_that_panics_fails_its_connection_only(bed: Bed) {
    let server = bed.server().bind("127.0.0.1:0").expect("bind").start(|_: &PeerInfo| Echo).expect("start");
    let address = &server.local_addrs()[0];
    let signer = |_: &SigningMoment| -> JsonObject { std::panic::resume_unwind(Box::new("a bad signer")) };
    let client = Client::builder().backend(bed.backend).handshake(ClientHandshake::new("1").signer(signer));
    let refused = block_on(client.connect(address)).expect_err("no handshake");
    assert!(
        matches!(refused, ConnectError::Closed { reason: CloseReason::HandlerPanicked, .. }),
        "{refused}"
    );
    block_on(async {
        let mut fine = Client::builder().backend(bed.backend).connect(address).await.expect("connect");
        fine.send("still here").await.expect("send");
        assert_eq!(fine.recv().await.expect("open").expect("echo"), "still here");
    });
}
