//! TLS as the environment and the address ask for it, in processes of their own.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::channel;

use qwormhole::{Backend, Client, CloseReason, ConnectError, PeerInfo, TlsFault, TlsOptions};

use crate::program::Program;
use crate::support::certs::Authority;
use crate::support::record::{Answer, recorders};
use crate::support::{Bed, PATIENCE, block_on, frame, on_every_backend, scratch};
use crate::watched::Watched;

on_every_backend!(
    servers_and_clients_get_tls_from_the_environment,
    mutual_tls_with_encrypted_keys_comes_from_the_environment,
    a_mistake_in_the_environment_is_named,
    an_option_wins_over_its_variable,
    an_address_alone_trusts_the_platform_and_nobody_else,
    a_plain_address_is_spoken_to_in_tls_nevertheless,
    a_plain_peer_is_refused_by_name,
);

/// A process with these variables in its environment; what it printed.
fn child(bed: Bed, variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args(["--exact", "environment::a_child_says_what_it_finds", "--nocapture"]);
    for (name, _) in std::env::vars_os() {
        let ours = name.to_string_lossy().starts_with("QWORMHOLE_TLS_");
        if ours || name == "SSL_CERT_FILE" || name == "SSL_CERT_DIR" {
            command.env_remove(name);
        }
    }
    command.env(CHILD, bed.backend.to_string()).envs(variables.iter().copied());
    let output = command.output().expect("the child runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// The part of a child: without options of its own it serves and calls itself, or calls whom it is told to.
#[test]
fn a_child_says_what_it_finds() {
    let Ok(backend) = std::env::var(CHILD) else { return };
    let bed = Bed::new(backend.parse::<Backend>().expect("a backend"));
    match std::env::var(DIAL) {
        Ok(address) => call(bed, &address),
        Err(_) => serve_and_call(bed),
    }
}

fn serve_and_call(bed: Bed) {
    let (mut service, _record) = recorders(Answer::Echo);
    let (tell, told) = channel();
    let service = move |peer: &PeerInfo| {
        let _ = tell.send(peer.tls.clone());
        service(peer)
    };
    let mut server = bed.server().bind("tcp://127.0.0.1:0").expect("bind");
    if std::env::var_os(OPTION).is_some() {
        server = server.tls(TlsOptions::new().alpn_protocols(["option"]));
    }
    match server.start(service) {
        Ok(server) => {
            let port = server.local_addrs()[0].socket_addr().expect("numeric").port();
            call(bed, &format!("tcp://127.0.0.1:{port}"));
            // A handler is made before its connection opens, if it ever does.
            server.shutdown(PATIENCE);
            println!("server: {:?}", told.try_iter().next().flatten());
        }
        Err(error) => println!("no server: {error}"),
    }
}

fn call(bed: Bed, address: &str) {
    let mut client = Client::builder().backend(bed.backend);
    if std::env::var_os(OPTION).is_some() {
        client = client.tls(TlsOptions::new().alpn_protocols(["option"]));
    }
    block_on(async {
        match client.connect(address).await {
            Ok(mut conn) => {
                println!("client: {:?}", conn.peer().tls);
                let _ = conn.send("hello").await;
                println!("echo: {:?}", conn.recv().await);
            }
            Err(error) => println!("no connection: {error}"),
        }
    });
}

/// Asserts that each of these is said.
#[track_caller]
fn assert_says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no `{word}` in: {text}");
    }
}

fn servers_and_clients_get_tls_from_the_environment(bed: Bed) {
    let (authority, files) = (Authority::new("authority"), scratch());
    let identity = authority.issue(&["worm.test"]);
    let path = |name: &str, content: &str| {
        let path = files.path().join(name);
        std::fs::write(&path, content).expect("a file");
        path.to_str().expect("text").to_owned()
    };
    let (key, ca) = (path("key", &identity.key), path("ca", authority.pem()));
    // As shells and service files write it: in one line.
    let cert = identity.cert.replace('\n', "\\n");
    let mut variables = vec![
        ("QWORMHOLE_TLS_ENABLED", "1"),
        ("QWORMHOLE_TLS_CERT", &*cert),
        ("QWORMHOLE_TLS_KEY_PATH", &*key),
        ("QWORMHOLE_TLS_CA_PATH", &*ca),
        ("QWORMHOLE_TLS_ALPN", "qw/2, qw/1"),
        ("QWORMHOLE_TLS_SERVERNAME", "worm.test"),
    ];
    let text = child(bed, &variables);
    assert_says(&text, &["client: Some(TlsFacts", "server: Some(TlsFacts", "echo: Some(Ok(b\"hello\"))"]);
    assert_says(&text, &["alpn: Some(\"qw/2\")", "server_name: Some(\"worm.test\")", "authorized: true"]);

    variables.truncate(5);
    let text = child(bed, &variables);
    assert_says(&text, &["no connection: ", "is not for `127.0.0.1` but for worm.test", "server: None"]);
    variables.push(("QWORMHOLE_TLS_REJECT_UNAUTHORIZED", "no"));
    let text = child(bed, &variables);
    assert_says(
        &text,
        &["client: Some(TlsFacts", "authorized: false", "authorization_fault: Some(NameMismatch"],
    );
    // Without its switch the rest of the environment is a default for those who ask for TLS.
    variables[0].1 = "0";
    assert_says(&child(bed, &variables), &["client: None", "server: None", "echo: Some(Ok(b\"hello\"))"]);
}

fn mutual_tls_with_encrypted_keys_comes_from_the_environment(bed: Bed) {
    if !Program::is_installed("openssl", "version") {
        return;
    }
    let (authority, files) = (Authority::new("authority"), scratch());
    let (host, own) = (authority.issue(&["127.0.0.1"]), authority.issue(&["client.test"]));
    let encrypted = |name: &str, key: &str, passphrase: &str| {
        let path = files.path().join(name);
        std::fs::write(&path, key).expect("a file");
        let convert = Command::new("openssl")
            .args(["pkcs8", "-topk8", "-passout", &format!("pass:{passphrase}"), "-in"])
            .arg(path)
            .output();
        String::from_utf8(convert.expect("openssl runs").stdout).expect("PEM")
    };
    let key = encrypted("key", &host.key, "one");
    let own_key = encrypted("own", &own.key, "two");
    let mut variables = [
        ("QWORMHOLE_TLS_ENABLED", "yes"),
        ("QWORMHOLE_TLS_CERT", &*host.cert),
        ("QWORMHOLE_TLS_KEY", &*key),
        ("QWORMHOLE_TLS_PASSPHRASE", "one"),
        ("QWORMHOLE_TLS_CLIENT_CERT", &*own.cert),
        ("QWORMHOLE_TLS_CLIENT_KEY", &*own_key),
        ("QWORMHOLE_TLS_CLIENT_PASSPHRASE", "two"),
        ("QWORMHOLE_TLS_CA", authority.pem()),
        ("QWORMHOLE_TLS_REQUEST_CERT", "true"),
    ];
    let text = child(bed, &variables);
    assert_says(&text, &["client: Some(TlsFacts", "echo: Some(Ok(b\"hello\"))"]);
    let server = text.split("server: Some(").nth(1).expect("the server's view");
    assert_says(server, &["authorized: true", "peer_fingerprint256: Some("]);
    variables[3].1 = "two";
    assert_says(&child(bed, &variables), &["no server: option `tls.passphrase`: "]);
    (variables[3].1, variables[6].1) = ("one", "one");
    assert_says(&child(bed, &variables), &["no connection: option `tls.passphrase`: "]);
}

fn a_mistake_in_the_environment_is_named(bed: Bed) {
    let text = child(bed, &[("QWORMHOLE_TLS_ENABLED", "perhaps")]);
    assert_says(
        &text,
        &["no server: environment variable QWORMHOLE_TLS_ENABLED=\"perhaps\": must be one of 1, true"],
    );
    assert_says(&child(bed, &[("QWORMHOLE_TLS_ENABLED", "1")]), &["no server: option `tls.cert`: "]);
    let missing = [("QWORMHOLE_TLS_ENABLED", "1"), ("QWORMHOLE_TLS_KEY_PATH", "/nowhere/key.pem")];
    let text = child(bed, &[&missing[..], &[("QWORMHOLE_TLS_CERT_PATH", "/nowhere/cert.pem")]].concat());
    assert_says(&text, &["no server: option `tls.cert`: /nowhere/cert.pem cannot be read: "]);
}

fn an_option_wins_over_its_variable(bed: Bed) {
    let authority = Authority::new("authority");
    let identity = authority.issue(&["127.0.0.1"]);
    let variables = [
        ("QWORMHOLE_TLS_CERT", &*identity.cert),
        ("QWORMHOLE_TLS_KEY", &*identity.key),
        ("QWORMHOLE_TLS_CA", authority.pem()),
        ("QWORMHOLE_TLS_ALPN", "variable"),
        (OPTION, "1"),
    ];
    let text = child(bed, &variables);
    assert_says(&text, &["alpn: Some(\"option\")", "authorized: true", "echo: Some(Ok(b\"hello\"))"]);
}

fn an_address_alone_trusts_the_platform_and_nobody_else(bed: Bed) {
    let (authority, files) = (Authority::new("authority"), scratch());
    let identity = authority.issue(&["127.0.0.1"]);
    let serve = || {
        let options = TlsOptions::new().cert(&*identity.cert).key(&*identity.key);
        let server = Watched::start(bed, options, None);
        let address = format!("tls://{}", server.socket_addr());
        (server, address)
    };
    let list = |name: &str, content: &str| {
        let path = files.path().join(name);
        std::fs::write(&path, content).expect("a file");
        path.to_str().expect("text").to_owned()
    };
    let unknown_ca = CloseReason::Tls(TlsFault::Alert(qwormhole::TlsAlert(48)));
    let refused = "no connection: cannot connect to tls://127.0.0.1";
    let unknown = "no authority in `tls.ca` (or of the platform, without it) signed the peer's certificate";

    // This machine's own list, where it has one.
    let (server, address) = serve();
    let text = child(bed, &[(DIAL, &address)]);
    if text.contains("option `tls.ca`: this computer's list of authorities is empty") {
        println!("not checked: this computer's authorities, it has none");
    } else {
        assert_says(&text, &[refused, unknown]);
        server.assert_rejected(&unknown_ca);
    }
    let (server, address) = serve();
    let other = list("other", Authority::new("other").pem());
    assert_says(&child(bed, &[(DIAL, &address), ("SSL_CERT_FILE", &other)]), &[refused, unknown]);
    server.assert_rejected(&unknown_ca);

    let (server, address) = serve();
    let ours = list("ours", authority.pem());
    let text = child(bed, &[(DIAL, &address), ("SSL_CERT_FILE", &ours)]);
    assert_says(&text, &["client: Some(TlsFacts", "authorized: true", "echo: Some(Ok(b\"hello\"))"]);
    drop(server);
}

fn a_plain_address_is_spoken_to_in_tls_nevertheless(bed: Bed) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("bound");
    let plain = std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().expect("a client");
        let mut head = [0; 3];
        peer.read_exact(&mut head).expect("the client speaks first");
        // Whatever a server without TLS would say.
        peer.write_all(&frame(b"welcome")).expect("the client listens");
        let mut alert = Vec::new();
        let _ = peer.read_to_end(&mut alert);
        head
    });
    let client =
        Client::builder().backend(bed.backend).tls(TlsOptions::new().ca(Authority::new("any").pem()));
    let refused = block_on(client.connect(format!("tcp://{address}"))).expect_err("it is not TLS");
    let ConnectError::Closed { reason, .. } = refused else { panic!("{refused}") };
    assert_eq!(reason, CloseReason::Tls(TlsFault::NotTls));
    assert_eq!(plain.join().expect("no panic"), [22, 3, 1], "a TLS handshake record");
}

fn a_plain_peer_is_refused_by_name(bed: Bed) {
    let identity = Authority::new("one").issue(&["127.0.0.1"]);
    let server = Watched::start(bed, TlsOptions::new().cert(&*identity.cert).key(&*identity.key), None);
    assert!(server.address().is_tls(), "bound as tcp://, and it is said what it is");
    let mut peer = TcpStream::connect(server.socket_addr()).expect("connect");
    peer.set_read_timeout(Some(PATIENCE)).expect("timeout");
    peer.write_all(&frame(b"in the clear")).expect("it listens");
    let mut answer = Vec::new();
    peer.read_to_end(&mut answer).expect("an end, no reset");
    drop(peer);
    server.assert_rejected(&CloseReason::Tls(TlsFault::NotTls));
}

const CHILD: &str = "QWORMHOLE_TEST_CHILD";
/// Whom the child calls instead of itself.
const DIAL: &str = "QWORMHOLE_TEST_DIAL";
/// Whether the child sets an option of its own.
const OPTION: &str = "QWORMHOLE_TEST_OPTION";
