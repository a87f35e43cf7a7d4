//! What outlives one connection: certificates, pins, sessions and keying material.

use qwormhole_proto::{NoFiles, TlsExporter, TlsFault, TlsVersion};

use crate::certificates::{Authority, client, server};
use crate::pair::Pair;

const BOTH: [TlsVersion; 2] = [TlsVersion::Tls12, TlsVersion::Tls13];

#[test]
fn a_new_certificate_serves_new_connections_and_leaves_the_old_ones_alone() {
    let ca = Authority::new("ca");
    let (tls, connect) = (server(&ca.server()), client(&ca.client().resumption(false)));
    let mut before = Pair::shaken(&connect, &tls);
    let mut half_way = Pair::new(&connect, &tls);
    let hello = half_way.client.output();
    half_way.server.take(&hello);

    tls.reload(&ca.server(), &NoFiles).unwrap();
    let mut after = Pair::shaken(&connect, &tls);
    let prints = |pair: &Pair| pair.client.facts().peer_fingerprint256.clone();
    assert_ne!(prints(&before), prints(&after));
    before.assert_works();
    after.assert_works();
    half_way.assert_works();
    assert_eq!(prints(&before), prints(&half_way));
    for pair in [&before, &half_way, &after] {
        assert_eq!(pair.server.facts().own_fingerprint256, prints(pair));
    }

    let error = tls.reload(&ca.server().key("nonsense"), &NoFiles).unwrap_err();
    assert_eq!(error.option, "tls.key");
    assert_eq!(prints(&Pair::shaken(&connect, &tls)), prints(&after), "a bad reload changes nothing");
}

#[test]
fn sessions_are_resumed_unless_the_client_has_a_certificate_or_does_not_want_to() {
    let ca = Authority::new("ca");
    let own = ca.sign_for_client();
    for version in BOTH {
        let resumed = |client_options, server_options| {
            let (connect, tls) = (client(&client_options), server(&server_options));
            Pair::shaken(&connect, &tls).assert_works();
            let mut second = Pair::shaken(&connect, &tls);
            second.assert_works();
            assert!(second.client.facts().authorized);
            assert!(second.client.facts().peer_fingerprint256.is_some());
            assert_eq!(second.client.facts().resumed, second.server.facts().resumed);
            (second.client.facts().resumed, second.client.facts().own_fingerprint256.is_some())
        };
        let plain = || ca.client().versions([version]);
        let mutual = || plain().cert(own.cert.as_str()).key(own.key.as_str());
        assert_eq!(resumed(plain(), ca.server()), (true, false));
        assert_eq!(resumed(plain().resumption(false), ca.server()), (false, false));
        assert_eq!(resumed(plain(), ca.server().resumption(false)), (false, false));
        let asking = ca.server().ca(ca.pem.as_str()).request_cert(true);
        assert_eq!(resumed(mutual(), asking), (false, true));
    }
}

#[test]
fn a_resumed_session_is_judged_again_where_any_certificate_is_accepted() {
    let (ca, other) = (Authority::new("ca"), Authority::new("other"));
    for version in BOTH {
        let connect = client(&ca.client().versions([version]).dangerous().accept_any_certificate());
        let tls = server(&other.server());
        for resumed in [false, true] {
            let mut pair = Pair::shaken(&connect, &tls);
            pair.assert_works();
            assert_eq!(pair.client.facts().resumed, resumed);
            assert_eq!(pair.client.facts().authorization_fault, Some(TlsFault::UnknownIssuer));
        }
    }
}

#[test]
fn only_a_pinned_certificate_is_accepted_by_either_side() {
    let ca = Authority::new("ca");
    let own = ca.sign_for_client();
    let server_options = ca.server().ca(ca.pem.as_str()).request_cert(true);
    for version in BOTH {
        let client_options = ca.client().cert(own.cert.as_str()).key(own.key.as_str()).versions([version]);
        let pair = Pair::of(&client_options, &server_options);
        let server_print = pair.client.facts().peer_fingerprint256.clone().unwrap();
        let client_print = pair.server.facts().peer_fingerprint256.clone().unwrap();

        let pinned = client_options.clone().pinned_fingerprints(["00".repeat(32), server_print.clone()]);
        Pair::of(&pinned, &server_options).assert_works();
        let pinned = client_options.clone().pinned_fingerprints([client_print.clone()]);
        let pair = Pair::of(&pinned, &server_options);
        let mismatch = TlsFault::FingerprintMismatch { presented: server_print.clone() };
        assert_eq!(pair.client.fault, Some(mismatch.clone()));
        assert!(mismatch.to_string().starts_with("TLS fingerprint mismatch"), "{mismatch}");
        let any = pinned.dangerous().accept_any_certificate();
        assert_eq!(Pair::of(&any, &server_options).client.fault, Some(mismatch), "pins always hold");

        Pair::of(&client_options, &server_options.clone().pinned_fingerprints([client_print.clone()]))
            .assert_works();
        let pinned = server_options.clone().pinned_fingerprints([server_print]);
        let mismatch = TlsFault::FingerprintMismatch { presented: client_print };
        assert_eq!(Pair::of(&client_options, &pinned).server.fault, Some(mismatch.clone()));
        let any = pinned.dangerous().accept_any_certificate();
        assert_eq!(Pair::of(&client_options, &any).server.fault, Some(mismatch));
        let none = Pair::of(&ca.client().versions([version]), &any);
        assert_eq!(none.server.fault, Some(TlsFault::CertificateMissing));
    }
}

#[test]
fn both_ends_export_the_same_material_and_only_for_the_same_parameters() {
    let ca = Authority::new("ca");
    for version in BOTH {
        let key = |exporter: TlsExporter, other: TlsExporter| {
            let client_options = ca.client().versions([version]).export_keying_material(exporter);
            let pair = Pair::of(&client_options, &ca.server().export_keying_material(other));
            let (ours, theirs) = (pair.client.facts().clone(), pair.server.facts().clone());
            assert_eq!(ours.session_key(None).is_some(), ours.handshake_tags().count() == 1);
            (ours, theirs)
        };
        let (ours, theirs) = key(TlsExporter::default(), TlsExporter::default());
        assert_eq!(ours.keying_material.as_ref().unwrap().len(), 32);
        assert_eq!(ours.session_key(None), theirs.session_key(None));
        assert_eq!(ours.session_key(Some("ab")), theirs.session_key(Some("ab")));
        assert_ne!(ours.session_key(None), ours.session_key(Some("")), "an empty hash is hashed too");
        assert_eq!(ours.handshake_tags().last(), ours.session_key(None).map(|key| ("tlsSessionKey", key)));

        let variants = [
            TlsExporter { label: "other".into(), ..Default::default() },
            TlsExporter { context: b"c".to_vec(), ..Default::default() },
        ];
        for variant in variants {
            let (ours, theirs) = key(TlsExporter::default(), variant);
            assert_ne!(ours.keying_material, theirs.keying_material);
        }
        let longest = TlsExporter { length: 8160, ..Default::default() };
        let (ours, theirs) = key(longest.clone(), longest);
        assert_eq!(ours.keying_material, theirs.keying_material);
    }
}
