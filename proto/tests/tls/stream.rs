//! Bytes in any quantity and any pieces, and how a stream ends.

use qwormhole_proto::{TlsAlert, TlsFault, TlsFilter, TlsVersion};

use crate::certificates::{Authority, client, server};
use crate::pair::{End, Pair};

const BOTH: [TlsVersion; 2] = [TlsVersion::Tls12, TlsVersion::Tls13];

/// Bytes that differ everywhere.
fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn handshake_and_data_pass_in_pieces_of_one_byte() {
    let ca = Authority::new("ca");
    let own = ca.sign_for_client();
    for version in BOTH {
        let client_options = ca.client().cert(own.cert.as_str()).key(own.key.as_str()).versions([version]);
        let server_options = ca.server().ca(ca.pem.as_str()).request_cert(true);
        let mut pair = Pair::new(&client(&client_options), &server(&server_options));
        pair.run(1);
        let (up, down) = (pattern(40_000, 1), pattern(40_000, 2));
        assert_eq!(pair.client.tls.write(&up), up.len());
        assert_eq!(pair.server.tls.write(&down), down.len());
        pair.run(1);
        assert!(pair.server.received == up && pair.client.received == down, "{:?}", pair.faults());
    }
}

#[test]
fn what_is_written_during_the_handshake_is_sent_after_it() {
    let ca = Authority::new("ca");
    for version in BOTH {
        let mut pair = Pair::new(&client(&ca.client().versions([version])), &server(&ca.server()));
        assert_eq!(pair.client.tls.write(b"early"), 5);
        assert_eq!(pair.server.tls.write(b"bird"), 4);
        let hello = pair.client.output();
        assert!(!hello.windows(5).any(|window| window == b"early"), "plaintext left in the clear");
        pair.server.take(&hello);
        pair.run(usize::MAX);
        assert_eq!(pair.server.received, b"early");
        assert_eq!(pair.client.received, b"bird");
    }
}

#[test]
fn nothing_reaches_a_server_whose_certificate_is_refused() {
    let (ca, other) = (Authority::new("ca"), Authority::new("other"));
    for version in BOTH {
        let mut pair = Pair::new(&client(&ca.client().versions([version])), &server(&other.server()));
        pair.client.tls.write(b"secret");
        pair.run(usize::MAX);
        assert_eq!(pair.client.fault, Some(TlsFault::UnknownIssuer));
        assert!(pair.server.received.is_empty());
        assert_eq!(pair.client.tls.write(b"more"), 0);
    }
}

#[test]
fn a_hundred_megabytes_pass_unchanged_in_bounded_memory() {
    let total = if cfg!(debug_assertions) { 8 << 20 } else { 100 << 20 };
    let ca = Authority::new("ca");
    for version in BOTH {
        let mut pair = Pair::of(&ca.client().versions([version]), &ca.server());
        let block = pattern(251 * 1021, 3);
        let (mut sent, mut checked) = (0, 0);
        while checked < total {
            let piece = &block[sent % block.len()..];
            sent += pair.client.tls.write(&piece[..piece.len().min(total - sent)]);
            let out = pair.client.output();
            assert!(out.len() <= 66 * 1024, "{} bytes wait to be sent", out.len());
            out.chunks(7919).for_each(|bytes| pair.server.take(bytes));
            for byte_run in pair.server.received.chunks(4096) {
                let at = checked % block.len();
                let (first, wrapped) = byte_run.split_at(byte_run.len().min(block.len() - at));
                assert!(
                    block[at..].starts_with(first) && block.starts_with(wrapped),
                    "differs near {checked}"
                );
                checked += byte_run.len();
            }
            pair.server.received.clear();
        }
        assert_eq!(sent, checked);
    }
}

#[test]
fn unread_plaintext_stops_the_input_and_is_bounded() {
    let ca = Authority::new("ca");
    let mut pair = Pair::of(&ca.client(), &ca.server());
    let data = pattern(60_000, 4);
    let mut wire = Vec::new();
    for _ in 0..10 {
        assert_eq!(pair.client.tls.write(&data), data.len());
        wire.extend(pair.client.output());
    }
    let mut input = &wire[..];
    pair.server.tls.read_tls(&mut input).unwrap();
    let taken = wire.len() - input.len();
    assert!(taken <= 36 * 1024, "{taken} bytes were taken");
    pair.server.tls.read_tls(&mut input).unwrap();
    assert_eq!(wire.len() - input.len(), taken, "nothing is taken until plaintext is");
    pair.server.take(input);
    assert_eq!(pair.server.received, data.repeat(10));
}

#[test]
fn unsent_bytes_stop_the_writer() {
    let ca = Authority::new("ca");
    let mut pair = Pair::of(&ca.client(), &ca.server());
    let taken = pair.client.tls.write(&vec![0; 1 << 20]);
    assert_eq!(taken, 64 * 1024);
    assert_eq!(pair.client.tls.write(b"x"), 0);
    assert!(pair.client.output().len() > taken);
    assert_eq!(pair.client.tls.write(b"x"), 1);
    let mut early = Pair::new(&client(&ca.client()), &server(&ca.server()));
    assert_eq!(early.client.tls.write(&vec![0; 1 << 20]), 64 * 1024, "during the handshake too");
}

#[test]
fn a_close_notification_comes_after_the_last_words_and_lets_the_peer_finish() {
    let ca = Authority::new("ca");
    for version in BOTH {
        let mut pair = Pair::of(&ca.client().versions([version]), &ca.server());
        pair.client.tls.write(b"last words");
        pair.client.tls.close_notify();
        pair.client.tls.close_notify();
        assert_eq!(pair.client.tls.write(b"ignored"), 0);
        let mut out = pair.client.output();
        out.extend(b"trailing garbage");
        pair.server.take(&out);
        assert_eq!(pair.server.received, b"last words");
        assert!(pair.server.tls.peer_has_closed() && pair.server.fault.is_none());
        assert_eq!(pair.server.tls.handle_eof(), Ok(()));
        assert_eq!(pair.server.tls.write(b"reply"), 5);
        pair.server.tls.close_notify();
        assert!(pair.server.tls.wants_write());
    }
}

#[test]
fn after_its_own_close_notification_an_end_ignores_what_arrives() {
    let ca = Authority::new("ca");
    for bad in [false, true] {
        let mut pair = Pair::of(&ca.client(), &ca.server());
        pair.client.tls.close_notify();
        pair.server.tls.write(b"too late");
        let mut out = pair.server.output();
        if bad {
            out.fill(0xff);
        }
        pair.client.take(&out);
        assert!(pair.client.received.is_empty() && pair.client.fault.is_none());
        assert_eq!(pair.client.tls.handle_eof(), Ok(()));
        assert!(pair.client.tls.wants_write(), "the notification");
    }
}

#[test]
fn a_stream_that_ends_without_saying_so_is_truncated() {
    let ca = Authority::new("ca");
    let mut pair = Pair::of(&ca.client(), &ca.server());
    assert_eq!(pair.client.tls.handle_eof(), Err(TlsFault::Truncated));
    assert_eq!(pair.client.tls.write(b"x"), 1, "the other direction may go on");
    let mut early = Pair::new(&client(&ca.client()), &server(&ca.server()));
    let hello = early.client.output();
    early.server.take(&hello[..hello.len() / 2]);
    assert_eq!(early.server.tls.handle_eof(), Err(TlsFault::HandshakeTruncated));
}

#[test]
fn plain_bytes_are_told_from_bad_tls() {
    let ca = Authority::new("ca");
    let (connect, tls) = (client(&ca.client()), server(&ca.server()));
    let plain: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00\x00\x00\x26{\"type\":\"handshake\",\"version\":\"1.0.0\"}",
        &[0xff; 300],
        &[22, 9, 9, 9, 9, 9],
    ];
    for bytes in plain {
        let mut at_server = End::new(TlsFilter::server(&tls).unwrap());
        at_server.take(bytes);
        assert_eq!(at_server.fault, Some(TlsFault::NotTls), "{bytes:?}");
        let mut at_client = End::new(TlsFilter::client(&connect, "worm.test").unwrap());
        bytes.iter().for_each(|byte| at_client.take(&[*byte]));
        assert_eq!(at_client.fault, Some(TlsFault::NotTls), "{bytes:?}");
    }
    let mut bad = End::new(TlsFilter::server(&tls).unwrap());
    bad.take(&[22, 3, 1, 0, 4, 1, 0, 0, 0]);
    assert!(matches!(bad.fault, Some(TlsFault::Protocol(_))), "{:?}", bad.fault);
    assert!(!bad.output().is_empty(), "the alert is there to be sent");
    let again = bad.tls.read_tls(&mut &b"more"[..]);
    assert_eq!(again.err(), bad.fault, "the first fault stays");
}

#[test]
fn a_changed_record_is_found_and_the_peer_is_told() {
    let ca = Authority::new("ca");
    for version in BOTH {
        let mut pair = Pair::of(&ca.client().versions([version]), &ca.server());
        pair.client.tls.write(b"genuine");
        let first = pair.client.output();
        pair.client.tls.write(b"forged!");
        let mut second = pair.client.output();
        *second.last_mut().unwrap() ^= 1;
        pair.server.take(&[first, second].concat());
        assert_eq!(pair.server.received, b"genuine", "what came before is genuine");
        assert_eq!(pair.server.fault, Some(TlsFault::Corrupted));
        pair.server.tls.close_notify();
        pair.run(usize::MAX);
        assert_eq!(pair.client.fault, Some(TlsFault::Alert(TlsAlert(20))));
    }
}

/// Encrypts 17 million records, half a minute with optimisation, and therefore only when `scripts/flood` asks for it;
/// the rule itself is tested with a smaller limit in `src/secure_tests.rs`.
#[test]
fn used_up_keys_of_tls_1_2_end_the_connection_without_losing_anything() {
    if std::env::var_os("QWORMHOLE_FLOOD_FRAMES").is_none() {
        return;
    }
    let ca = Authority::new("ca");
    let mut pair = Pair::of(&ca.client().versions([TlsVersion::Tls12]), &ca.server());
    let mut sent = 0_u64;
    let mut arrived = 0;
    while pair.client.tls.fault().is_none() {
        sent += pair.client.tls.write(b"x") as u64;
        let out = pair.client.output();
        pair.server.take(&out);
        arrived += pair.server.received.len() as u64;
        pair.server.received.clear();
        assert!(sent < 1 << 25 && sent == arrived, "{sent} sent, {arrived} arrived");
    }
    assert_eq!(pair.client.tls.fault(), Some(&TlsFault::KeysUsedUp));
    assert!(sent > (1 << 24) - 2000, "after {sent} records");
    assert_eq!(pair.client.tls.write(b"x"), 0);
    assert!(pair.server.tls.peer_has_closed() && pair.server.fault.is_none());
}

#[test]
fn an_endless_handshake_is_refused_before_it_takes_more_than_its_bound() {
    let ca = Authority::new("ca");
    let mut end = End::new(TlsFilter::server(&server(&ca.server())).unwrap());
    // A message that announces 16 MiB, then its fragments.
    end.take(&[22, 3, 1, 0, 4, 1, 255, 255, 255]);
    let mut fed = 0;
    while end.fault.is_none() {
        end.take(&[22, 3, 1, 0, 1, 0]);
        fed += 6;
        assert!(fed < 128 * 1024, "{fed} bytes were taken");
    }
    assert_eq!(end.fault, Some(TlsFault::HandshakeTooLarge));
}

#[test]
fn a_handshake_in_records_of_one_byte_is_understood() {
    let ca = Authority::new("ca");
    let mut pair = Pair::new(&client(&ca.client()), &server(&ca.server()));
    let hello = pair.client.output();
    for byte in &hello[5..] {
        pair.server.take(&[22, 3, 1, 0, 1, *byte]);
    }
    pair.assert_works();
}
