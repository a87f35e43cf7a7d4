//! Options that cannot work.

use qwormhole_proto::{ClientTls, NoFiles, ServerTls, TlsExporter, TlsOptions};

use crate::certificates::Authority;

#[test]
fn a_client_names_the_option_that_cannot_work() {
    let ca = Authority::new("ca");
    let good = || ca.client();
    let long = "p".repeat(256);
    let many: Vec<String> = (0..65).map(|n| n.to_string()).collect();
    let cases: Vec<(TlsOptions, &str)> = vec![
        (good().alpn_protocols([""]), "tls.alpn_protocols"),
        (good().alpn_protocols([long]), "tls.alpn_protocols"),
        (good().alpn_protocols(many), "tls.alpn_protocols"),
        (good().server_name("a b"), "tls.server_name"),
        (good().versions([]), "tls.versions"),
        (good().pinned_fingerprints(["AB"]), "tls.pinned_fingerprints"),
        (
            good().export_keying_material(TlsExporter { length: 0, ..Default::default() }),
            "tls.export_keying_material",
        ),
        (good().key("x"), "tls.cert"),
        (TlsOptions::new(), "tls.ca"),
    ];
    ClientTls::new(&good(), &NoFiles).unwrap();
    for (options, option) in cases {
        let error = ClientTls::new(&options, &NoFiles).unwrap_err();
        assert_eq!(error.option, option, "{error}");
        assert!(error.to_string().starts_with(&format!("option `{option}`: ")), "{error}");
    }
}

#[test]
fn pins_on_a_server_need_a_requested_certificate() {
    let ca = Authority::new("ca");
    let error = ServerTls::new(&ca.server().pinned_fingerprints(["00".repeat(32)]), &NoFiles).unwrap_err();
    assert_eq!(error.option, "tls.pinned_fingerprints");
}

#[test]
fn accepting_any_certificate_needs_no_authorities() {
    let options = TlsOptions::new().dangerous().accept_any_certificate();
    ClientTls::new(&options, &NoFiles).unwrap();
}

#[test]
fn configurations_print_without_their_keys() {
    let ca = Authority::new("ca");
    let leaf = ca.sign(&["a.test"]);
    let secret = leaf.key.lines().nth(1).unwrap();
    let options = leaf.options().ca(ca.pem.as_str()).export_keying_material(TlsExporter::default());
    let pair = crate::pair::Pair::of(&options.clone().server_name("a.test"), &options);
    let client = ClientTls::new(&options, &NoFiles).unwrap();
    let server = ServerTls::new(&options, &NoFiles).unwrap();
    let shown = format!("{options:?} {client:?} {server:?} {:?} {:?}", pair.client.tls, pair.server.facts());
    assert!(!shown.contains(secret), "{shown}");
    assert!(
        !shown.contains(&format!("{:?}", pair.server.facts().keying_material.as_ref().unwrap())),
        "{shown}"
    );
    assert!(shown.contains("fingerprint256"), "{shown}");
}
