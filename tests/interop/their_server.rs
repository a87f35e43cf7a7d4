//! Our clients against the Python server.

use std::process::Command;

use qwormhole::handshake::{ClientHandshake, NegentropicSigner};
use qwormhole::{Client, ClientBuilder, CloseReason, TlsOptions};

use crate::python::{Certificates, Running, script};
use crate::support::{Bed, block_on, on_every_backend};

on_every_backend!(
    a_python_server_serves_us_without_a_handshake,
    a_python_server_accepts_our_signed_handshake,
    a_python_server_refuses_our_unsigned_handshake,
    a_python_server_serves_us_over_tls,
);

fn client(bed: Bed) -> ClientBuilder {
    Client::builder().backend(bed.backend)
}

fn signed() -> ClientHandshake {
    let signer = NegentropicSigner::from_seed(&[9; 32]).expect("a seed");
    // What the canonical text must get right: order, escapes, numbers.
    let plain =
        ClientHandshake::new("1.0.0").tag("10", 1e21).tag("9", 0.1).tag("é", "\u{7f}\n\"").tag("z", -0.0);
    plain.tag("small", 1e-7).tag("a", 123_456_789_012_345_680_000.0).signer(signer)
}

/// Connects, has messages echoed and closes; what the server said at the end.
fn visit(client: ClientBuilder, server: Command) -> String {
    let mut server = Running::start(server);
    let port = server.line();
    block_on(async {
        let mut conn = client.connect(format!("127.0.0.1:{port}")).await.expect("connect");
        for len in LENGTHS {
            let message = vec![len as u8; len];
            conn.send(message.clone()).await.expect("send");
            assert_eq!(conn.recv().await.expect("open").expect("echo"), message);
        }
        assert_eq!(conn.close().await, CloseReason::Local);
    });
    let said = server.line();
    assert!(server.wait().success());
    said
}

fn a_python_server_serves_us_without_a_handshake(bed: Bed) {
    let Some(server) = script("server.py") else { return };
    assert_eq!(visit(client(bed), server), "echoed 4");
}

fn a_python_server_accepts_our_signed_handshake(bed: Bed) {
    let Some(mut server) = script("server.py") else { return };
    server.args(["--version", "1.0.0", "--signed"]);
    assert_eq!(visit(client(bed).handshake(signed()), server), "echoed 4");
}

fn a_python_server_refuses_our_unsigned_handshake(bed: Bed) {
    let Some(mut server) = script("server.py") else { return };
    server.args(["--version", "1.0.0", "--signed"]);
    let mut server = Running::start(server);
    let port = server.line();
    block_on(async {
        let client = client(bed).handshake(ClientHandshake::new("1.0.0"));
        let mut conn = client.connect(format!("127.0.0.1:{port}")).await.expect("connect");
        assert!(conn.recv().await.is_none(), "a clean end without a word");
    });
    assert_eq!(server.line(), "refused: not signed");
    assert!(server.wait().success());
}

fn a_python_server_serves_us_over_tls(bed: Bed) {
    let Some(mut server) = script("server.py") else { return };
    let certificates = Certificates::new();
    server.args(["--version", "1.0.0", "--signed"]);
    server.arg("--cert").arg(certificates.file("cert.pem")).arg("--key").arg(certificates.file("key.pem"));
    let client = client(bed).tls(TlsOptions::new().ca(certificates.authority.pem()));
    assert_eq!(visit(client.handshake(signed()), server), "echoed 4");
}

const LENGTHS: [usize; 4] = [0, 1, 5, 1 << 20];
