//! Ending one's own half of the stream and going on receiving.

use qwormhole::{Client, CloseReason, Context, Handler, Message, PeerInfo, SendErrorKind, TlsOptions};

use crate::support::certs::Authority;
use crate::support::{Bed, PATIENCE, block_on, on_every_backend};

on_every_backend!(
    a_finished_side_goes_on_receiving,
    what_was_accepted_leaves_before_the_end,
    nothing_is_accepted_after_the_end,
    two_finished_sides_have_closed,
    a_side_that_finishes_and_closes_is_over,
);

/// Collects what arrives; answers with its length once the peer has ended.
#[derive(Default)]
struct Tally(usize);

impl Handler for Tally {
    fn on_message(&mut self, _conn: &mut Context<'_>, message: Message<'_>) {
        self.0 += message.len();
    }

    fn on_peer_end(&mut self, conn: &mut Context<'_>) {
        conn.send(self.0.to_string()).expect("the other half is open");
        conn.sender().finish();
    }
}

/// A server with tallies, with or without TLS, and a client that knows it.
fn beds(bed: Bed, secure: &[bool], check: impl Fn(&Client, &qwormhole::Server)) {
    let authority = Authority::new("authority");
    let identity = authority.issue(&["127.0.0.1"]);
    for secure in secure.iter().copied() {
        let server = bed.server().allow_half_open(true).bind("127.0.0.1:0").expect("bind");
        let client = Client::builder().backend(bed.backend);
        let (server, client) = if secure {
            let tls = TlsOptions::new().key(&*identity.key).cert(&*identity.cert);
            (server.tls(tls), client.tls(TlsOptions::new().ca(authority.pem())))
        } else {
            (server, client)
        };
        let server = server.start(|_: &PeerInfo| Tally::default()).expect("start");
        check(&client.build().expect("build"), &server);
        server.shutdown(PATIENCE);
    }
}

fn a_finished_side_goes_on_receiving(bed: Bed) {
    beds(bed, PLAIN, |client, server| {
        block_on(async {
            let mut conn = client.connect(&server.local_addrs()[0]).await.expect("connect");
            conn.send("four").await.expect("send");
            conn.sender().finish();
            assert_eq!(conn.recv().await.expect("an answer").expect("no error"), "4");
            assert!(conn.recv().await.is_none(), "a clean end");
        });
    });
}

fn what_was_accepted_leaves_before_the_end(bed: Bed) {
    beds(bed, PLAIN, |client, server| {
        block_on(async {
            let mut conn = client.connect(&server.local_addrs()[0]).await.expect("connect");
            for _ in 0..64 {
                conn.send(vec![7; 100_000]).await.expect("send");
            }
            conn.sender().finish();
            assert_eq!(conn.recv().await.expect("an answer").expect("no error"), "6400000");
        });
    });
}

fn nothing_is_accepted_after_the_end(bed: Bed) {
    beds(bed, PLAIN, |client, server| {
        block_on(async {
            let mut conn = client.connect(&server.local_addrs()[0]).await.expect("connect");
            let sender = conn.sender();
            sender.finish();
            sender.finish();
            let refused = sender.try_send("late").expect_err("the half has ended");
            assert_eq!(refused.kind, SendErrorKind::Closed(CloseReason::Local));
            assert_eq!(conn.recv().await.expect("an answer").expect("no error"), "0");
            assert!(conn.recv().await.is_none());
        });
    });
}

fn two_finished_sides_have_closed(bed: Bed) {
    beds(bed, &[false, true], |client, server| {
        block_on(async {
            let conn = client.connect(&server.local_addrs()[0]).await.expect("connect");
            let sender = conn.sender();
            sender.finish();
            assert!(!sender.closed().await.had_error());
        });
        while server.connection_count() > 0 {
            std::thread::yield_now();
        }
    });
}

fn a_side_that_finishes_and_closes_is_over(bed: Bed) {
    let authority = bed.server().bind("127.0.0.1:0").expect("bind");
    let mut listener = authority.listen().expect("listen");
    block_on(async {
        let client = Client::builder().backend(bed.backend).build().expect("build");
        let mut conn = client.connect(&listener.local_addrs()[0]).await.expect("connect");
        let mut accepted = listener.accept().await.expect("one");
        accepted.sender().finish();
        assert_eq!(accepted.close().await, CloseReason::Local);
        assert!(conn.recv().await.is_none());
    });
}

/// With TLS nothing is received after one's own end.
const PLAIN: &[bool] = &[false];
