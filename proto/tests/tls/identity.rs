//! Keys and certificates in files of every kind.

use std::io;
use std::path::Path;

use qwormhole_proto::{NoFiles, Pem, ServerTls, TlsFiles, TlsOptionError, TlsOptions};

use crate::certificates::{Authority, options};
use crate::pair::Pair;

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(name);
    std::fs::read_to_string(path).unwrap()
}

fn with_key(name: &str) -> TlsOptions {
    options().cert(fixture("cert.pem")).key(fixture(name))
}

fn error(options: &TlsOptions) -> TlsOptionError {
    ServerTls::new(options, &NoFiles).unwrap_err()
}

fn works(server_options: &TlsOptions) {
    let client_options = TlsOptions::new()
        .clock(crate::certificates::at(1_800_000_000))
        .ca(fixture("cert.pem"))
        .server_name("fixture.test");
    Pair::of(&client_options, server_options).assert_works();
}

#[test]
fn keys_are_read_in_every_form_that_openssl_writes() {
    for name in ["key.pem", "key-sec1.pem"] {
        works(&with_key(name));
        works(&with_key(name).passphrase("ignored"));
    }
    for name in ["key-encrypted.pem", "key-scrypt.pem"] {
        works(&with_key(name).passphrase("open sesame"));
    }
    let windows = fixture("key-encrypted.pem").replace('\n', "\r\n");
    works(&with_key("key.pem").key(windows).passphrase("open sesame"));
    let with_preamble = format!("subject: me\n{}", fixture("key-encrypted.pem"));
    works(&with_key("key.pem").key(with_preamble).passphrase("open sesame"));
}

#[test]
fn an_encrypted_key_needs_its_passphrase() {
    let none = error(&with_key("key-encrypted.pem"));
    assert_eq!(none.option, "tls.passphrase");
    assert!(none.problem.contains("encrypted"), "{none}");
    for name in ["key-encrypted.pem", "key-scrypt.pem"] {
        let wrong = error(&with_key(name).passphrase("open barley"));
        assert_eq!(wrong.option, "tls.passphrase");
        assert!(!wrong.problem.contains("barley"), "{wrong}");
    }
}

#[test]
fn a_key_encrypted_in_the_old_way_says_how_to_convert_it() {
    let old = error(&with_key("key-legacy.pem").passphrase("open sesame"));
    assert_eq!(old.option, "tls.key");
    assert!(old.problem.contains("openssl pkcs8 -topk8"), "{old}");
}

#[test]
fn what_is_no_key_or_certificate_names_its_option() {
    let good = || with_key("key.pem");
    let damaged = fixture("key-encrypted.pem").replace("MIHs", "AAAA");
    let cut: String = fixture("cert.pem").lines().take(4).map(|line| format!("{line}\n")).collect();
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let ssh = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n";
    let foreign = Authority::new("ca").sign(&["x.test"]);
    let cases: Vec<(TlsOptions, &str, &str)> = vec![
        (options(), "tls.cert", "a server needs"),
        (options().key(fixture("key.pem")), "tls.cert", "is missing"),
        (options().cert(fixture("cert.pem")), "tls.key", "is missing"),
        (good().key(fixture("cert.pem")), "tls.key", "it has `CERTIFICATE`"),
        (good().cert(fixture("key.pem")), "tls.cert", "it has `PRIVATE KEY`"),
        (good().key(""), "tls.key", "it is empty"),
        (good().cert(&[0x30, 0x82][..]), "tls.cert", "the text form"),
        (good().key(ssh), "tls.key", "it has `OPENSSH PRIVATE KEY`"),
        (good().key(damaged).passphrase("open sesame"), "tls.key", "damaged"),
        (good().cert(cut), "tls.cert", "the end of `CERTIFICATE` is missing"),
        (good().cert(nonsense), "tls.cert", "X.509"),
        (good().key(foreign.key), "tls.key", "not the key of"),
        (good().ca(nonsense).request_cert(true), "tls.ca", "certificate 1"),
        (good().ca("").request_cert(true), "tls.ca", "BEGIN CERTIFICATE"),
        (good().request_cert(true), "tls.ca", "give the certificate of the peer's authority"),
        (good().cert(Pem::file("cert.pem")), "tls.cert", "cert.pem cannot be read: there are no files here"),
    ];
    for (options, option, words) in cases {
        let error = error(&options);
        assert_eq!(error.option, option, "{error}");
        assert!(error.problem.contains(words), "{error}");
    }
}

struct Fixtures;

impl TlsFiles for Fixtures {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        Ok(fixture(path.to_str().unwrap()).into_bytes())
    }

    fn platform_roots(&self) -> io::Result<Vec<Vec<u8>>> {
        // One of the platform's own is damaged, as they sometimes are.
        let pair = ServerTls::new(&with_key("key.pem"), &NoFiles).unwrap();
        let pair = Pair::shaken(
            &crate::certificates::client(
                &options()
                    .ca(fixture("cert.pem"))
                    .server_name("fixture.test")
                    .clock(crate::certificates::at(1_800_000_000)),
            ),
            &pair,
        );
        Ok(vec![vec![0x30], pair.client.facts().peer_certificates[0].clone()])
    }
}

#[test]
fn files_and_the_platforms_authorities_come_from_the_caller() {
    let server_options =
        options().cert(Pem::file("cert.pem")).key(Pem::file("key-encrypted.pem")).passphrase("open sesame");
    let server = ServerTls::new(&server_options, &Fixtures).unwrap();
    let client_options =
        TlsOptions::new().clock(crate::certificates::at(1_800_000_000)).server_name("fixture.test");
    let client = qwormhole_proto::ClientTls::new(&client_options, &Fixtures).unwrap();
    Pair::shaken(&client, &server).assert_works();
}

#[test]
fn fingerprints_are_what_openssl_prints() {
    let client_options = TlsOptions::new()
        .clock(crate::certificates::at(1_800_000_000))
        .ca(fixture("cert.pem"))
        .server_name("fixture.test");
    let pair = Pair::of(&client_options, &with_key("key.pem"));
    let printed = |name: &str| fixture(name).trim().split_once('=').unwrap().1.to_string();
    let facts = pair.client.facts();
    assert_eq!(facts.peer_fingerprint256, Some(printed("fingerprint-sha256.txt")));
    assert_eq!(facts.peer_fingerprint, Some(printed("fingerprint-sha1.txt")));
    assert_eq!(pair.server.facts().own_fingerprint256, Some(printed("fingerprint-sha256.txt")));
}
