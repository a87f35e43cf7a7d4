//! TLS between two ends of ours.

use qwormhole::{
    Client, CloseReason, ConnectError, Context, Handler, Message, PeerInfo, Server, TlsFault, TlsOptions,
};

use crate::support::certs::Authority;
use crate::support::{Bed, block_on, on_every_backend, scratch, transports};

on_every_backend!(
    messages_are_echoed_over_tls,
    a_wrong_authority_is_named_and_nothing_is_opened,
    a_certificate_is_reloaded_without_dropping_connections,
    a_plain_client_is_no_tls_client,
    a_hundred_megabytes_arrive_byte_for_byte,
);

struct Echo;

impl Handler for Echo {
    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        let _ = conn.reply(message);
    }
}

fn serve(bed: Bed, address: &str, options: TlsOptions) -> Server {
    let server = bed.server().bind(address).expect("bind").tls(options);
    server.start(|_: &PeerInfo| Echo).expect("start")
}

fn messages_are_echoed_over_tls(bed: Bed) {
    let authority = Authority::new("authority");
    let identity = authority.issue(&["localhost", "127.0.0.1", "::1"]);
    let folder = scratch();
    for address in transports(&folder) {
        let server = serve(bed, &address, TlsOptions::new().key(&*identity.key).cert(&*identity.cert));
        let client = Client::builder().backend(bed.backend).tls(TlsOptions::new().ca(authority.pem()));
        let client = client.build().expect("build");
        block_on(async {
            let mut conn = client.connect(&server.local_addrs()[0]).await.expect("connect");
            let facts = conn.peer().tls.clone().expect("TLS");
            assert!(facts.authorized, "{facts:?}");
            for len in [0, 1, 100, 16_384, 100_000, 4 << 20] {
                let message = vec![len as u8; len];
                conn.send(message.clone()).await.expect("send");
                assert_eq!(conn.recv().await.expect("open").expect("echo"), message);
            }
            assert_eq!(conn.close().await, CloseReason::Local);
        });
    }
}

fn a_wrong_authority_is_named_and_nothing_is_opened(bed: Bed) {
    let identity = Authority::new("one").issue(&["127.0.0.1"]);
    let server = serve(bed, "tls://127.0.0.1:0", TlsOptions::new().key(&*identity.key).cert(&*identity.cert));
    let other = Authority::new("another");
    let client = Client::builder().backend(bed.backend).tls(TlsOptions::new().ca(other.pem()));
    let refused = block_on(client.connect(&server.local_addrs()[0])).expect_err("not trusted");
    let ConnectError::Closed { reason, .. } = refused else { panic!("{refused}") };
    assert_eq!(reason, CloseReason::Tls(TlsFault::UnknownIssuer));
    let report = server.shutdown(crate::support::PATIENCE);
    assert_eq!((report.leaked_bytes, report.buffers_out), (0, 0));
}

fn a_certificate_is_reloaded_without_dropping_connections(bed: Bed) {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let (first, second) = (old.issue(&["127.0.0.1"]), new.issue(&["127.0.0.1"]));
    let server = serve(bed, "127.0.0.1:0", TlsOptions::new().key(&*first.key).cert(&*first.cert));
    let address = &server.local_addrs()[0];
    let client = |authority: &Authority| {
        Client::builder().backend(bed.backend).tls(TlsOptions::new().ca(authority.pem()))
    };
    block_on(async {
        let mut before = client(&old).connect(address).await.expect("the old certificate");
        let options = TlsOptions::new().key(&*second.key).cert(&*second.cert);
        server.reload_certificate(&options).expect("reload");
        let mut after = client(&new).connect(address).await.expect("the new certificate");
        for conn in [&mut before, &mut after] {
            conn.send("still here").await.expect("send");
            assert_eq!(conn.recv().await.expect("open").expect("echo"), "still here");
        }
    });
}

fn a_plain_client_is_no_tls_client(bed: Bed) {
    let identity = Authority::new("one").issue(&["127.0.0.1"]);
    let server = serve(bed, "127.0.0.1:0", TlsOptions::new().key(&*identity.key).cert(&*identity.cert));
    let port = server.local_addrs()[0].socket_addr().expect("numeric").port();
    block_on(async {
        let client = Client::builder().backend(bed.backend);
        let mut plain = client.connect(format!("tcp://127.0.0.1:{port}")).await.expect("TCP itself works");
        plain.send("hello").await.expect("accepted");
        while let Some(Ok(_)) = plain.recv().await {}
    });
    assert_eq!(server.stats().iter().map(|shard| shard.opened).sum::<u64>(), 0);
}

fn a_hundred_megabytes_arrive_byte_for_byte(bed: Bed) {
    const MESSAGES: u32 = 100;
    let authority = Authority::new("authority");
    let identity = authority.issue(&["127.0.0.1"]);
    let server = serve(bed, "127.0.0.1:0", TlsOptions::new().key(&*identity.key).cert(&*identity.cert));
    let message = |number: u32| -> Vec<u8> {
        (0..1u32 << 18).flat_map(|word| (word.wrapping_mul(0x9e37_79b9) ^ number).to_le_bytes()).collect()
    };
    let client = Client::builder().backend(bed.backend).tls(TlsOptions::new().ca(authority.pem()));
    block_on(async {
        let conn = client.connect(&server.local_addrs()[0]).await.expect("connect");
        let (mut receive, mut send) = conn.into_split();
        let sending = async {
            for number in 0..MESSAGES {
                send.send(message(number)).await.expect("send");
            }
        };
        let receiving = async {
            for number in 0..MESSAGES {
                let echoed = receive.recv().await.expect("open").expect("echo");
                assert!(echoed == message(number), "message {number}");
            }
        };
        futures_util::future::join(sending, receiving).await;
    });
}
