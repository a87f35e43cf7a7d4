//! TLS with OpenSSL at the other end, over sockets and both drivers.

use qwormhole::{
    Client, ClientBuilder, CloseReason, ConnectError, Framing, Server, StartError, TlsAlert, TlsExporter,
    TlsFault, TlsOptions, TlsVersion,
};

use crate::program::Program;
use crate::support::certs::{Authority, Identity};
use crate::support::{Bed, block_on, frame, on_every_backend, scratch};
use crate::watched::Watched;

on_every_backend!(
    s_client_talks_to_our_server,
    our_client_talks_to_s_server,
    a_goodbye_of_s_server_is_a_clean_end_and_its_leaving_without_is_not,
    what_s_client_objects_to_is_named,
    what_our_server_objects_to_is_named_at_s_client,
    what_our_client_objects_to_is_named_at_s_server,
    what_s_server_objects_to_is_named,
    an_encrypted_key_works_with_its_passphrase_only,
);

/// What openssl reads from files.
struct Files(tempfile::TempDir);

impl Files {
    fn put(&self, name: &str, content: &str) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).expect("a file");
        path.to_str().expect("text").to_owned()
    }

    /// Arguments that present this certificate.
    fn identity(&self, name: &str, identity: &Identity) -> [String; 4] {
        let cert = self.put(&format!("{name}.cert"), &identity.cert);
        let key = self.put(&format!("{name}.key"), &identity.key);
        ["-cert".into(), cert, "-key".into(), key]
    }
}

fn is_installed() -> bool {
    Program::is_installed("openssl", "version")
}

fn openssl(command: &str, arguments: &[&[&str]]) -> Program {
    let mut all = vec![command];
    all.extend(arguments.iter().copied().flatten());
    Program::start("openssl", &all)
}

/// `openssl s_client`; it checks our certificate for the name that it asks for.
fn s_client(address: &str, arguments: &[&[&str]]) -> Program {
    let own = ["-connect", address, "-nocommands", "-verify_return_error"];
    openssl("s_client", &[&own, &*arguments.concat()])
}

/// `openssl s_server`, and where it listens.
fn s_server(arguments: &[&[&str]]) -> (Program, String) {
    let own = ["-accept", "127.0.0.1:0", "-naccept", "1"];
    let program = openssl("s_server", &[&own, &*arguments.concat()]);
    let address = program.after("ACCEPT ");
    (program, address)
}

fn texts(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

fn presenting(identity: &Identity) -> TlsOptions {
    TlsOptions::new().cert(&*identity.cert).key(&*identity.key)
}

fn our_client(bed: Bed, options: TlsOptions) -> ClientBuilder {
    Client::builder().backend(bed.backend).tls(options.server_name(HOST))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn alert(number: u8) -> CloseReason {
    CloseReason::Tls(TlsFault::Alert(TlsAlert(number)))
}

/// Why our client could not connect, or, as TLS 1.3 tells a client later, why it was cut then.
fn refusal(bed: Bed, options: TlsOptions, address: &str) -> CloseReason {
    block_on(async {
        match our_client(bed, options).connect(format!("tls://{address}")).await {
            Ok(mut conn) => {
                let end = conn.recv().await.expect("not a clean end").expect_err("nothing is sent");
                assert!(conn.recv().await.is_none(), "one end only");
                end.reason().clone()
            }
            Err(ConnectError::Closed { reason, .. }) => reason,
            Err(error) => panic!("{error}"),
        }
    })
}

fn s_client_talks_to_our_server(bed: Bed) {
    if !is_installed() {
        return;
    }
    let (authority, files) = (Authority::new("authority"), Files(scratch()));
    let own = files.identity("client", &authority.issue(&["client.test"]));
    let ca = files.put("ca", authority.pem());
    for (version, flag) in VERSIONS {
        let options = presenting(&authority.issue(&[HOST])).ca(authority.pem()).request_cert(true);
        let options = options.alpn_protocols(["qw/2", "qw/1"]).export_keying_material(exporter());
        let server = Watched::start(bed, options, None);
        let names = ["-servername", HOST, "-verify_hostname", HOST, "-CAfile", &ca, "-alpn", "qw/1,qw/2"];
        let mut peer = s_client(&server.socket_addr(), &[&[flag], &names, &texts(&own), &EXPORT]);
        let facts = server.accepted();
        assert_eq!((facts.version, facts.authorized), (version, true));
        assert_eq!((facts.server_name.as_deref(), facts.alpn.as_deref()), (Some(HOST), Some("qw/2")));
        assert_eq!(peer.after("ALPN protocol: "), "qw/2");
        let material = peer.after("Keying material: ");
        // It passes no context, which only TLS 1.3 takes for an empty one.
        let ours = hex(facts.keying_material.as_ref().expect("exported"));
        assert_eq!(ours == material, version == TlsVersion::Tls13, "{ours} and {material}");
        peer.write(&frame(b"question"));
        peer.expect(&frame(b"question"));
        // It says goodbye.
        peer.end();
        peer.finish();
        server.assert_ended(&[b"question"], &CloseReason::PeerClosed);
    }
}

fn our_client_talks_to_s_server(bed: Bed) {
    if !is_installed() {
        return;
    }
    let (authority, files) = (Authority::new("authority"), Files(scratch()));
    let host = files.identity("host", &authority.issue(&[HOST]));
    let ca = files.put("ca", authority.pem());
    let demands = ["-CAfile", &ca, "-Verify", "1", "-verify_return_error", "-alpn", "qw/2,qw/1"];
    for (version, flag) in VERSIONS {
        let (mut peer, address) = s_server(&[&[flag], &demands, &texts(&host), &EXPORT]);
        let options = presenting(&authority.issue(&["client.test"])).ca(authority.pem());
        let options = options.alpn_protocols(["qw/1", "qw/2"]).export_keying_material(exporter());
        block_on(async {
            let client = our_client(bed, options);
            let mut conn = client.connect(format!("tls://{address}")).await.expect("connect");
            let facts = conn.peer().tls.clone().expect("TLS");
            assert_eq!((facts.version, facts.authorized), (version, true));
            assert_eq!(facts.alpn.as_deref(), Some("qw/2"));
            assert!(facts.own_fingerprint256.is_some(), "it asked for our certificate");
            let ours = hex(facts.keying_material.as_ref().expect("exported"));
            let material = peer.after("Keying material: ");
            assert_eq!(ours == material, version == TlsVersion::Tls13, "{ours} and {material}");
            conn.send("question").await.expect("send");
            peer.expect(&frame(b"question"));
            peer.write(&frame(b"answer"));
            assert_eq!(conn.recv().await.expect("open").expect("an answer"), "answer");
            assert_eq!(conn.close().await, CloseReason::Local);
        });
        let printed = peer.finish();
        assert!(!printed.contains("unexpected eof"), "it was told of the end: {printed}");
        assert!(!printed.contains("error:"), "{printed}");
    }
}

fn a_goodbye_of_s_server_is_a_clean_end_and_its_leaving_without_is_not(bed: Bed) {
    if !is_installed() {
        return;
    }
    let (authority, files) = (Authority::new("authority"), Files(scratch()));
    let host = files.identity("host", &authority.issue(&[HOST]));
    let trusting = || our_client(bed, TlsOptions::new().ca(authority.pem())).framing(Framing::None);
    for (_, flag) in VERSIONS {
        // It answers lines, turned around, until it is told to close.
        let (_peer, address) = s_server(&[&[flag, "-rev"], &texts(&host)]);
        block_on(async {
            let mut conn = trusting().connect(format!("tls://{address}")).await.expect("connect");
            conn.send("abc\n").await.expect("send");
            assert_eq!(conn.recv().await.expect("open").expect("an answer"), "cba\n");
            conn.send("CLOSE\n").await.expect("send");
            assert_eq!(conn.recv().await, None, "a clean end");
        });
        let (mut peer, address) = s_server(&[&[flag], &texts(&host)]);
        block_on(async {
            let mut conn = trusting().connect(format!("tls://{address}")).await.expect("connect");
            peer.write(b"Q\n");
            let end = conn.recv().await.expect("no clean end").expect_err("nothing was sent");
            assert_eq!(end.reason(), &CloseReason::Tls(TlsFault::Truncated));
        });
    }
}

fn what_s_client_objects_to_is_named(bed: Bed) {
    if !is_installed() {
        return;
    }
    let (authority, files) = (Authority::new("authority"), Files(scratch()));
    let (ca, stranger) =
        (files.put("ca", authority.pem()), files.put("other", Authority::new("other").pem()));
    let good = authority.issue(&[HOST]);
    let expired = authority.issue_expired(&[HOST]);
    let cases = [
        (&good, &stranger, HOST, 48, "unable to get local issuer certificate"),
        (&good, &ca, "other.test", 42, "hostname mismatch"),
        (&expired, &ca, HOST, 45, "certificate has expired"),
    ];
    for (_, flag) in VERSIONS {
        for (identity, trusted, name, number, said) in cases {
            let server = Watched::start(bed, presenting(identity), None);
            let names = [flag, "-servername", name, "-verify_hostname", name, "-CAfile", trusted];
            let mut peer = s_client(&server.socket_addr(), &[&names]);
            peer.expect_complaint(said);
            peer.end();
            peer.finish();
            server.assert_rejected(&alert(number));
        }
    }
}

fn what_our_server_objects_to_is_named_at_s_client(bed: Bed) {
    if !is_installed() {
        return;
    }
    let (authority, files) = (Authority::new("authority"), Files(scratch()));
    let ca = files.put("ca", authority.pem());
    let stranger = files.identity("stranger", &Authority::new("authority").issue(&["client.test"]));
    let expired = files.identity("expired", &authority.issue_expired(&["client.test"]));
    let known = files.identity("known", &authority.issue(&["client.test"]));
    let cases: [(&[String], &[&str], TlsFault, &str); 4] = [
        (&[], &[], TlsFault::CertificateMissing, "certificate required"),
        (&stranger, &[], TlsFault::UnknownIssuer, "unknown ca"),
        (&expired, &[], TlsFault::CertificateExpired, "certificate expired"),
        (&known, &["-alpn", "other"], TlsFault::NoSharedAlpn, "no application protocol"),
    ];
    for (_, flag) in VERSIONS {
        for (identity, more, fault, name) in &cases {
            let options = presenting(&authority.issue(&[HOST])).ca(authority.pem()).request_cert(true);
            let server = Watched::start(bed, options.alpn_protocols(["qw"]), None);
            let mut peer = s_client(
                &server.socket_addr(),
                &[&[flag, "-servername", HOST, "-CAfile", &ca], &texts(identity), more],
            );
            peer.expect_complaint(&format!("alert {name}"));
            peer.end();
            let printed = peer.finish();
            assert!(!printed.contains("unexpected eof"), "{printed}");
            server.assert_rejected(&CloseReason::Tls(fault.clone()));
        }
    }
    for (ours, flag) in [(TlsVersion::Tls12, "-tls1_3"), (TlsVersion::Tls13, "-tls1_2")] {
        let options = presenting(&authority.issue(&[HOST])).versions([ours]);
        let server = Watched::start(bed, options, None);
        let peer = s_client(&server.socket_addr(), &[&[flag, "-CAfile", &ca]]);
        peer.expect_complaint("alert protocol version");
        peer.finish();
        server.assert_rejected(&CloseReason::Tls(TlsFault::NoSharedVersion));
    }
}

fn what_our_client_objects_to_is_named_at_s_server(bed: Bed) {
    if !is_installed() {
        return;
    }
    let (authority, files) = (Authority::new("authority"), Files(scratch()));
    let other = Authority::new("authority");
    let good = files.identity("good", &authority.issue(&[HOST]));
    let elsewhere = files.identity("elsewhere", &authority.issue(&["elsewhere.test"]));
    let expired = files.identity("expired", &authority.issue_expired(&[HOST]));
    let mismatch = TlsFault::NameMismatch { expected: HOST.into(), presented: vec!["elsewhere.test".into()] };
    let cases = [
        (&good, &other, TlsFault::UnknownIssuer, "unknown ca"),
        (&elsewhere, &authority, mismatch, "bad certificate"),
        (&expired, &authority, TlsFault::CertificateExpired, "certificate expired"),
    ];
    for (_, flag) in VERSIONS {
        for (identity, trusted, fault, name) in &cases {
            let (peer, address) = s_server(&[&[flag], &texts(*identity)]);
            let reason = refusal(bed, TlsOptions::new().ca(trusted.pem()), &address);
            assert_eq!(reason, CloseReason::Tls(fault.clone()));
            peer.expect_complaint(&format!("alert {name}"));
            peer.finish();
        }
    }
}

fn what_s_server_objects_to_is_named(bed: Bed) {
    if !is_installed() {
        return;
    }
    let (authority, files) = (Authority::new("authority"), Files(scratch()));
    let host = files.identity("host", &authority.issue(&[HOST]));
    let ca = files.put("ca", authority.pem());
    let demands = ["-CAfile", &ca, "-Verify", "1", "-verify_return_error"];
    let trusting = || TlsOptions::new().ca(authority.pem());
    let stranger = Authority::new("other").issue(&["client.test"]);
    for (version, flag) in VERSIONS {
        let missing = if version == TlsVersion::Tls12 { 40 } else { 116 };
        let cases = [
            (trusting(), missing, "peer did not return a certificate"),
            (trusting().cert(&*stranger.cert).key(&*stranger.key), 48, "certificate verify failed"),
            (trusting().alpn_protocols(["other"]), 120, "no application protocol"),
        ];
        for (options, number, said) in cases {
            let (peer, address) = s_server(&[&[flag, "-alpn", "qw"], &demands, &texts(&host)]);
            assert_eq!(refusal(bed, options, &address), alert(number), "{flag} {said}");
            peer.expect_complaint(said);
            peer.finish();
        }
    }
    for (ours, flag) in [(TlsVersion::Tls12, "-tls1_3"), (TlsVersion::Tls13, "-tls1_2")] {
        let (peer, address) = s_server(&[&[flag], &texts(&host)]);
        assert_eq!(refusal(bed, trusting().versions([ours]), &address), alert(70));
        peer.finish();
    }
}

fn an_encrypted_key_works_with_its_passphrase_only(bed: Bed) {
    if !is_installed() {
        return;
    }
    let (authority, files) = (Authority::new("authority"), Files(scratch()));
    let identity = authority.issue(&[HOST]);
    let (key, ca) = (files.put("key", &identity.key), files.put("ca", authority.pem()));
    let convert = ["pkcs8", "-topk8", "-in", &key, "-passout", "pass:open sesame"];
    let encrypted = std::process::Command::new("openssl").args(convert).output().expect("it runs").stdout;
    let options =
        |passphrase| TlsOptions::new().cert(&*identity.cert).key(encrypted.clone()).passphrase(passphrase);
    let server = Watched::start(bed, options("open sesame"), None);
    let arguments = ["-servername", HOST, "-verify_hostname", HOST, "-CAfile", &ca];
    let mut peer = s_client(&server.socket_addr(), &[&arguments]);
    peer.write(&frame(b"sesame"));
    peer.expect(&frame(b"sesame"));
    peer.end();
    server.assert_ended(&[b"sesame"], &CloseReason::PeerClosed);

    let server = bed.server().bind("127.0.0.1:0").expect("bind").tls(options("abracadabra"));
    let (service, _record) = crate::support::record::recorders(crate::support::record::Answer::Echo);
    let refused: Result<Server, StartError> = server.start(service);
    let StartError::Tls(error) = refused.expect_err("the passphrase is wrong") else {
        panic!("another error")
    };
    assert_eq!(error.option, "tls.passphrase");
    let refused = our_client(bed, options("abracadabra")).build().expect_err("the passphrase is wrong");
    assert!(refused.to_string().contains("tls.passphrase"), "{refused}");
}

fn exporter() -> TlsExporter {
    TlsExporter { label: LABEL.into(), length: 40, context: Vec::new() }
}

const HOST: &str = "worm.test";
const LABEL: &str = "EXPERIMENTAL test";
const EXPORT: [&str; 4] = ["-keymatexport", LABEL, "-keymatexportlen", "40"];
const VERSIONS: [(TlsVersion, &str); 2] = [(TlsVersion::Tls12, "-tls1_2"), (TlsVersion::Tls13, "-tls1_3")];
