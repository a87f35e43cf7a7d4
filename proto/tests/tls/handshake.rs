//! What two ends agree on, and why they do not.

use qwormhole_proto::{TlsAlert, TlsFault, TlsFilter, TlsVersion};

use crate::certificates::{Authority, HOST, Leaf, NOW_S, YEAR_S, at, client, no_clock, options, server};
use crate::pair::{End, Pair};

const BOTH: [TlsVersion; 2] = [TlsVersion::Tls12, TlsVersion::Tls13];

fn alert(number: u8) -> Option<TlsFault> {
    Some(TlsFault::Alert(TlsAlert(number)))
}

#[test]
fn each_version_carries_bytes_and_tells_what_was_agreed() {
    let ca = Authority::new("ca");
    for (version, name, cipher) in [
        (TlsVersion::Tls12, "TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384"),
        (TlsVersion::Tls13, "TLSv1.3", "TLS_AES_256_GCM_SHA384"),
    ] {
        let mut pair = Pair::of(&ca.client().versions([version]), &ca.server());
        pair.assert_works();
        for end in [&pair.client, &pair.server] {
            let facts = end.facts();
            assert_eq!(facts.version, version);
            assert_eq!(facts.version.to_string(), name);
            assert_eq!(facts.cipher, cipher);
            assert_eq!(facts.alpn, None);
            assert_eq!(facts.server_name.as_deref(), Some(HOST));
            assert_eq!(facts.session_key(None), None);
        }
        assert!(pair.client.facts().authorized);
        assert!(!pair.server.facts().authorized, "nobody was asked for a certificate");
        assert!(pair.server.facts().peer_certificates.is_empty());
    }
}

#[test]
fn the_newest_common_version_wins() {
    let ca = Authority::new("ca");
    let pair = Pair::of(&ca.client(), &ca.server());
    assert_eq!(pair.client.facts().version, TlsVersion::Tls13);
    let pair = Pair::of(&ca.client(), &ca.server().versions([TlsVersion::Tls12]));
    assert_eq!(pair.client.facts().version, TlsVersion::Tls12);
}

#[test]
fn ends_without_a_common_version_say_so() {
    let ca = Authority::new("ca");
    let pair =
        Pair::of(&ca.client().versions([TlsVersion::Tls12]), &ca.server().versions([TlsVersion::Tls13]));
    assert_eq!(pair.faults(), (alert(70), Some(TlsFault::NoSharedVersion)));
    let pair =
        Pair::of(&ca.client().versions([TlsVersion::Tls13]), &ca.server().versions([TlsVersion::Tls12]));
    assert_eq!(pair.faults(), (alert(70), Some(TlsFault::NoSharedVersion)));
}

#[test]
fn both_ends_of_mutual_tls_know_each_others_certificate() {
    let ca = Authority::new("ca");
    let own = ca.sign_for_client();
    for version in BOTH {
        let client_options = ca.client().cert(own.cert.as_str()).key(own.key.as_str()).versions([version]);
        let server_options = ca.server().ca(ca.pem.as_str()).request_cert(true);
        let mut pair = Pair::of(&client_options, &server_options);
        pair.assert_works();
        let (seen_by_server, seen_by_client) = (pair.server.facts(), pair.client.facts());
        assert!(seen_by_server.authorized && seen_by_client.authorized);
        assert_eq!(seen_by_server.peer_certificate(), Some(&own.der[..]));
        assert_eq!(seen_by_server.peer_fingerprint256, seen_by_client.own_fingerprint256);
        assert_eq!(seen_by_server.peer_fingerprint, seen_by_client.own_fingerprint);
        assert_eq!(seen_by_server.own_fingerprint256, seen_by_client.peer_fingerprint256);
        let tags: Vec<&str> = seen_by_client.handshake_tags().map(|(name, _)| name).collect();
        assert_eq!(tags, ["tlsFingerprint256", "tlsFingerprint"]);
    }
}

#[test]
fn a_certificate_that_nobody_asked_for_is_not_claimed() {
    let ca = Authority::new("ca");
    let own = ca.sign_for_client();
    let pair = Pair::of(&ca.client().cert(own.cert.as_str()).key(own.key.as_str()), &ca.server());
    assert_eq!(pair.client.facts().own_fingerprint256, None);
    assert_eq!(pair.client.facts().handshake_tags().count(), 0);
}

#[test]
fn a_client_without_the_requested_certificate_is_refused() {
    let ca = Authority::new("ca");
    for (version, told) in [(TlsVersion::Tls12, 40), (TlsVersion::Tls13, 116)] {
        let server_options = ca.server().ca(ca.pem.as_str()).request_cert(true);
        let pair = Pair::of(&ca.client().versions([version]), &server_options);
        let (client_fault, server_fault) = pair.faults();
        assert_eq!(server_fault, Some(TlsFault::CertificateMissing));
        assert!(client_fault == alert(told) || client_fault == alert(116), "{client_fault:?}");
    }
}

#[test]
fn a_client_of_another_authority_is_refused_and_told_why() {
    let (ca, other) = (Authority::new("ca"), Authority::new("other"));
    let own = other.sign_for_client();
    for version in BOTH {
        let client_options = ca.client().cert(own.cert.as_str()).key(own.key.as_str()).versions([version]);
        let pair = Pair::of(&client_options, &ca.server().ca(ca.pem.as_str()).request_cert(true));
        assert_eq!(pair.faults(), (alert(48), Some(TlsFault::UnknownIssuer)));
        assert_eq!(pair.client.fault.unwrap().to_string(), "peer sent alert: unknown CA");
    }
}

#[test]
fn a_server_that_accepts_any_client_reports_what_is_wrong() {
    let (ca, other) = (Authority::new("ca"), Authority::new("other"));
    let stranger = other.sign_for_client();
    let server_options =
        ca.server().ca(ca.pem.as_str()).request_cert(true).dangerous().accept_any_certificate();
    for version in BOTH {
        let with = ca.client().cert(stranger.cert.as_str()).key(stranger.key.as_str()).versions([version]);
        let mut pair = Pair::of(&with, &server_options);
        pair.assert_works();
        assert!(!pair.server.facts().authorized);
        assert_eq!(pair.server.facts().authorization_fault, Some(TlsFault::UnknownIssuer));
        assert_eq!(pair.server.facts().peer_certificate(), Some(&stranger.der[..]));

        let mut pair = Pair::of(&ca.client().versions([version]), &server_options);
        pair.assert_works();
        assert_eq!(pair.server.facts().authorization_fault, Some(TlsFault::CertificateMissing));

        let known = ca.sign_for_client();
        let with = ca.client().cert(known.cert.as_str()).key(known.key.as_str()).versions([version]);
        assert!(Pair::of(&with, &server_options).server.facts().authorized);
    }
}

#[test]
fn a_server_of_another_authority_is_refused_unless_any_is_accepted() {
    let (ca, other) = (Authority::new("ca"), Authority::new("other"));
    for version in BOTH {
        let server_options = other.server().versions([version]);
        let pair = Pair::of(&ca.client(), &server_options);
        assert_eq!(pair.faults(), (Some(TlsFault::UnknownIssuer), alert(48)));

        let mut pair = Pair::of(&ca.client().dangerous().accept_any_certificate(), &server_options);
        pair.assert_works();
        assert!(!pair.client.facts().authorized);
        assert_eq!(pair.client.facts().authorization_fault, Some(TlsFault::UnknownIssuer));

        let mut pair = Pair::of(&other.client().dangerous().accept_any_certificate(), &server_options);
        pair.assert_works();
        assert!(
            pair.client.facts().authorized,
            "a valid certificate is valid, whatever else would be accepted"
        );
    }
}

#[test]
fn a_certificate_is_judged_by_the_given_clock() {
    let ca = Authority::new("ca");
    let late = Pair::of(&ca.client().clock(at(NOW_S + 5 * YEAR_S)), &ca.server());
    assert_eq!(late.faults(), (Some(TlsFault::CertificateExpired), alert(45)));
    let early = Pair::of(&ca.client().clock(at(NOW_S - 7 * YEAR_S)), &ca.server());
    assert_eq!(early.faults(), (Some(TlsFault::CertificateNotYetValid), alert(45)));
    let never = Pair::of(&ca.client().clock(no_clock()), &ca.server());
    assert!(matches!(never.client.fault, Some(TlsFault::Local(_))), "{:?}", never.client.fault);
}

#[test]
fn an_authority_of_the_same_name_with_another_key_is_another_authority() {
    let (ca, renewed) = (Authority::new("ca"), Authority::new("ca"));
    let pair = Pair::of(&renewed.client(), &ca.server());
    assert_eq!(pair.client.fault, Some(TlsFault::UnknownIssuer));
    assert_eq!(pair.server.fault, alert(48));
}

#[test]
fn a_certificate_for_another_name_is_refused_with_both_names() {
    let ca = Authority::new("ca");
    let pair = Pair::of(&ca.client(), &ca.sign(&["other.test", "third.test"]).options());
    let fault = pair.client.fault.unwrap();
    let TlsFault::NameMismatch { expected, presented } = &fault else { panic!("{fault:?}") };
    assert_eq!(expected, HOST);
    assert_eq!(presented, &["other.test", "third.test"]);
    assert!(fault.to_string().ends_with("not for `worm.test` but for other.test, third.test"), "{fault}");
    assert_eq!(pair.server.fault, alert(42));
}

#[test]
fn the_name_is_the_option_or_else_the_host() {
    let ca = Authority::new("ca");
    let mut pair = Pair::of(&ca.client().server_name("third.test"), &ca.sign(&["third.test"]).options());
    pair.assert_works();
    assert_eq!(pair.server.facts().server_name.as_deref(), Some("third.test"));

    let address = server(&ca.sign(&["::1"]).options());
    for host in ["::1", "[::1]"] {
        let tls = TlsFilter::client(&client(&ca.client()), host).unwrap();
        let mut pair = Pair { client: End::new(tls), server: End::new(TlsFilter::server(&address).unwrap()) };
        pair.assert_works();
        assert_eq!(pair.server.facts().server_name, None, "addresses are not sent as names");
    }
    let fault = TlsFilter::client(&client(&ca.client()), "no name").unwrap_err();
    assert_eq!(fault, TlsFault::InvalidServerName { name: "no name".into() });
}

#[test]
fn a_self_signed_certificate_that_is_listed_is_trusted() {
    for as_authority in [false, true] {
        let alone = Leaf::self_signed(as_authority);
        let client_options = options().ca(alone.cert.as_str());
        let mut pair = Pair::of(&client_options, &alone.options());
        pair.assert_works();
        assert!(pair.client.facts().authorized);

        let late = Pair::of(&client_options.clone().clock(at(NOW_S + 5 * YEAR_S)), &alone.options());
        assert_eq!(late.client.fault, Some(TlsFault::CertificateExpired));
        let other = Pair::of(&client_options.server_name("other.test"), &alone.options());
        assert!(
            matches!(other.client.fault, Some(TlsFault::NameMismatch { .. })),
            "{:?}",
            other.client.fault
        );

        let mutual = alone.options().ca(alone.cert.as_str()).request_cert(true);
        let mut pair = Pair::of(&mutual, &mutual);
        pair.assert_works();
        assert!(pair.server.facts().authorized);
    }
    let (ca, alone) = (Authority::new("ca"), Leaf::self_signed(true));
    assert!(Pair::of(&ca.client(), &alone.options()).client.fault.is_some());
}

#[test]
fn a_clients_certificate_does_not_make_a_server() {
    let ca = Authority::new("ca");
    let pair = Pair::of(&ca.client(), &ca.sign_for_client().options());
    assert_eq!(pair.client.fault, Some(TlsFault::CertificatePurpose));
}

#[test]
fn application_protocols_are_agreed_by_the_servers_preference() {
    let ca = Authority::new("ca");
    for version in BOTH {
        let client_options = ca.client().alpn_protocols(["b", "a"]).versions([version]);
        let mut pair = Pair::of(&client_options, &ca.server().alpn_protocols(["a", "b", "c"]));
        pair.assert_works();
        assert_eq!(pair.client.facts().alpn.as_deref(), Some("a"));
        assert_eq!(pair.server.facts().alpn.as_deref(), Some("a"));
        let tags: Vec<_> = pair.client.facts().handshake_tags().collect();
        assert_eq!(tags, [("tlsAlpn", "a".to_string())]);

        let pair = Pair::of(&client_options, &ca.server().alpn_protocols(["c"]));
        assert_eq!(pair.faults(), (alert(120), Some(TlsFault::NoSharedAlpn)));

        let mut pair = Pair::of(&client_options, &ca.server());
        pair.assert_works();
        assert_eq!(pair.client.facts().alpn, None, "a server without protocols does not mind");
    }
}
