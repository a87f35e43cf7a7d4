//! What a server accepts, and the reason why not.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use qwormhole_proto::handshake::json::JsonObject;
use qwormhole_proto::handshake::{
    ClientHandshake, Coherence, Handshake, HandshakeFault, HandshakeInfo, HandshakeMode, HandshakePolicy,
    HandshakeSigner, HandshakeVerifier, Judgement, NegentropicSigner, ReplayGuard, ReplayWindow,
    SigningMoment, Tag, TlsSnapshot, TransportFacts, Verdict, Verifier, neg_hash,
};
use qwormhole_proto::{PeerAddr, PeerInfo};

const NOW: u64 = 1_700_000_000_000;

fn judge_at(policy: &HandshakePolicy, payload: &[u8], unix_ms: u64) -> Judgement {
    policy.judge(payload, &TransportFacts::default(), &PeerInfo::new(PeerAddr::Unknown), unix_ms)
}

fn accepted(judgement: Judgement) -> HandshakeInfo {
    match judgement {
        Judgement::Accept(info) => *info,
        other => panic!("not accepted: {other:?}"),
    }
}

fn rejected(judgement: Judgement) -> HandshakeFault {
    match judgement {
        Judgement::Reject(fault) => fault,
        other => panic!("not rejected: {other:?}"),
    }
}

fn asked(judgement: Judgement) -> Verdict {
    match judgement {
        Judgement::Ask(verdict, _) => verdict,
        other => panic!("not asked: {other:?}"),
    }
}

fn poll(verdict: &mut Verdict) -> Poll<Result<(), HandshakeFault>> {
    verdict.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

fn signed(seed: u8, random: u8) -> Vec<u8> {
    let signer = NegentropicSigner::from_seed(&[seed; 32]).expect("valid");
    ClientHandshake::new("1.0.0")
        .tag("device", "alpha")
        .signer(signer)
        .encode(&[], NOW, [random; 16])
        .expect("valid")
}

fn tampered() -> Vec<u8> {
    let text = String::from_utf8(signed(1, 0)).expect("valid");
    text.replace("alpha", "omega").into_bytes()
}

fn guarded(capacity: usize) -> HandshakePolicy {
    let mut bounds = ReplayWindow::default();
    bounds.capacity = capacity;
    HandshakePolicy::new("1.0.0").replay(ReplayGuard::new(bounds).expect("valid"))
}

#[test]
fn a_plain_handshake_is_accepted_and_described() {
    let policy = HandshakePolicy::new("1.0.0");
    let info = accepted(judge_at(&policy, br#"{"type":"handshake","version":"1.0.0"}"#, NOW));
    assert_eq!(info.version.as_deref(), Some("1.0.0"));
    assert_eq!((info.entropy_metrics.entropy, info.entropy_metrics.neg_index), (Some(4.0), Some(0.5)));
    assert_eq!((info.policy.mode, info.policy.batch_size), (HandshakeMode::Immune, 8));
    assert!(
        info.tags.is_empty() && info.public_key.is_none() && info.tls.is_none() && !info.peer_is_native()
    );
    let missing = accepted(judge_at(&policy, br#"{"type":"handshake"}"#, NOW));
    assert_eq!(missing.version, None);
}

#[test]
fn metrics_of_the_peer_win_over_its_index() {
    let policy = HandshakePolicy::new("1");
    let info = |keys: &str| {
        let payload = format!("{{\"type\":\"handshake\",\"nIndex\":0.9{keys}}}");
        accepted(judge_at(&policy, payload.as_bytes(), NOW))
    };
    assert!(info("").peer_is_native());
    let low = info(",\"entropyMetrics\":{\"negIndex\":0.2}");
    assert_eq!((low.policy.mode, low.entropy_metrics.entropy), (HandshakeMode::Paranoia, None));
    let label = info(",\"entropyMetrics\":{\"coherence\":\"high\"}");
    assert_eq!(label.policy.mode, HandshakeMode::Immune);
    assert_eq!(label.entropy_metrics.coherence, Some(Coherence::High));
    assert_eq!((label.entropy_metrics.neg_index, label.n_index), (None, Some(0.9)));
}

#[test]
fn each_fault_has_its_name() {
    let policy = HandshakePolicy::new("1.0.0");
    let version = br#"{"type":"handshake","version":"1.0.1"}"#;
    let deep = [b"{\"type\":\"handshake\",\"x\":".to_vec(), vec![b'['; 60_000]].concat();
    for (payload, name, code) in [
        (&b"hello"[..], "not-json", Some("E_INVALID_HANDSHAKE_SIGNATURE")),
        (b"", "not-json", Some("E_INVALID_HANDSHAKE_SIGNATURE")),
        (b"{\"a\":1}", "payload", Some("E_INVALID_HANDSHAKE_PAYLOAD")),
        (version, "version-mismatch", None),
        (&deep, "too-deep", Some("E_INVALID_HANDSHAKE_PAYLOAD")),
        (&vec![b' '; 1 << 20], "too-large", Some("E_INVALID_HANDSHAKE_PAYLOAD")),
        (&tampered(), "signature", Some("E_INVALID_HANDSHAKE_SIGNATURE")),
    ] {
        let fault = rejected(judge_at(&policy, payload, NOW));
        assert_eq!((fault.name(), fault.code()), (name, code));
    }
    let signed_only = policy.require_signed();
    let plain = br#"{"type":"handshake","version":"1.0.0"}"#;
    assert_eq!(rejected(judge_at(&signed_only, plain, NOW)), HandshakeFault::Unsigned);
    assert!(accepted(judge_at(&signed_only, &signed(1, 0), NOW)).public_key.is_some());
}

#[test]
fn a_policy_without_a_version_accepts_any() {
    let policy = HandshakePolicy::default();
    let info = accepted(judge_at(&policy, br#"{"type":"handshake","version":"x"}"#, NOW));
    assert_eq!(info.version.as_deref(), Some("x"));
}

#[test]
fn the_signature_is_checked_first_also_when_a_verifier_would_accept() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let verifier = Verifier::sync(move |_, _| {
        counted.fetch_add(1, Ordering::Relaxed);
        true
    });
    let policy = HandshakePolicy::new("9").verifier(verifier);
    assert_eq!(rejected(judge_at(&policy, &tampered(), NOW)), HandshakeFault::Signature);
    assert_eq!(rejected(judge_at(&policy, &signed(1, 0), NOW)), HandshakeFault::VersionMismatch);
    assert_eq!(calls.load(Ordering::Relaxed), 0);
}

#[test]
fn a_verifier_sees_the_handshake_and_the_peer_and_has_the_last_word() {
    let verifier = Verifier::sync(|handshake: &Handshake, peer: &PeerInfo| {
        handshake.tags().get("device") == Some(Tag::Text("alpha".into())) && peer.addr == PeerAddr::Unknown
    });
    let policy = HandshakePolicy::new("1.0.0").verifier(verifier);
    accepted(judge_at(&policy, &signed(1, 0), NOW));
    let plain = br#"{"type":"handshake","version":"1.0.0"}"#;
    assert_eq!(rejected(judge_at(&policy, plain, NOW)), HandshakeFault::Rejected);
    let rules = HandshakeVerifier::new().allowed_versions(["1.0.0"]).required_tags(["device=alpha"]);
    let policy = HandshakePolicy::new("1.0.0").verifier(rules.build());
    accepted(judge_at(&policy, &signed(1, 0), NOW));
    assert_eq!(rejected(judge_at(&policy, br#"{"type":"handshake"}"#, NOW)), HandshakeFault::Rejected);
}

/// Signs with a real key, but says something else about it.
struct Misstating(NegentropicSigner, &'static str, String);

impl HandshakeSigner for Misstating {
    fn keys(&self, moment: &SigningMoment) -> JsonObject {
        let mut keys = self.0.keys(moment);
        keys.insert(self.1, self.2.as_str());
        keys
    }

    fn seal(&self, handshake: &Handshake) -> JsonObject {
        self.0.seal(handshake)
    }
}

#[test]
fn a_hash_that_is_not_the_keys_is_refused_although_it_is_signed() {
    let policy = HandshakePolicy::new("1.0.0");
    let judge = |hash: String| {
        let signer = Misstating(NegentropicSigner::from_seed(&[1; 32]).unwrap(), "negHash", hash);
        let payload = ClientHandshake::new("1.0.0").signer(signer).encode(&[], NOW, [0; 16]).unwrap();
        judge_at(&policy, &payload, NOW)
    };
    let info = accepted(judge_at(&policy, &signed(1, 0), NOW));
    let hash = info.neg_hash.unwrap();
    assert_eq!(rejected(judge("0".repeat(64))), HandshakeFault::Signature);
    assert_eq!(rejected(judge(hash.to_uppercase())), HandshakeFault::Signature);
    accepted(judge(hash));
}

#[test]
fn a_raw_public_key_is_accepted() {
    let key = NegentropicSigner::from_seed(&[1; 32]).unwrap();
    // Twelve bytes of DER are sixteen digits of base64.
    let raw = key.public_key()[16..].to_string();
    let public_key =
        accepted(judge_at(&HandshakePolicy::new("1.0.0"), &signed(1, 0), NOW)).public_key.unwrap();
    let hashed = Misstating(key, "negHash", neg_hash(&public_key));
    let signer = Rekeyed(hashed, raw);
    let payload = ClientHandshake::new("1.0.0").signer(signer).encode(&[], NOW, [0; 16]).unwrap();
    let info = accepted(judge_at(&HandshakePolicy::new("1.0.0"), &payload, NOW));
    assert_eq!(info.public_key, Some(public_key));
}

/// The same with another spelling of the public key.
struct Rekeyed(Misstating, String);

impl HandshakeSigner for Rekeyed {
    fn keys(&self, moment: &SigningMoment) -> JsonObject {
        let mut keys = self.0.keys(moment);
        keys.insert("publicKey", self.1.as_str());
        keys
    }

    fn seal(&self, handshake: &Handshake) -> JsonObject {
        self.0.seal(handshake)
    }
}

/// Pending once, then the answer.
struct Later(bool, bool);

impl Future for Later {
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<bool> {
        let waited = std::mem::replace(&mut self.0, true);
        if waited { Poll::Ready(self.1) } else { Poll::Pending }
    }
}

#[test]
fn an_asynchronous_verifier_is_waited_for() {
    for answer in [true, false] {
        let policy =
            HandshakePolicy::new("1.0.0").verifier(Verifier::future(move |_, _| Later(false, answer)));
        let mut verdict = asked(judge_at(&policy, &signed(1, 0), NOW));
        assert_eq!(poll(&mut verdict), Poll::Pending);
        let expected = if answer { Ok(()) } else { Err(HandshakeFault::Rejected) };
        assert_eq!(poll(&mut verdict), Poll::Ready(expected));
    }
}

struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

#[test]
fn a_panicking_verifier_refuses() {
    let panics = Verifier::sync(|_, _| panic!("asked"));
    let policy = HandshakePolicy::new("1.0.0").verifier(panics);
    assert_eq!(rejected(judge_at(&policy, &signed(1, 0), NOW)), HandshakeFault::VerifierPanicked);
    let at_once = Verifier::future(|_, _| -> Later { panic!("asked") });
    let policy = HandshakePolicy::new("1.0.0").verifier(at_once);
    assert_eq!(rejected(judge_at(&policy, &signed(1, 0), NOW)), HandshakeFault::VerifierPanicked);
    let polled = Verifier::future(|_, _| async { panic!("polled") });
    let mut verdict = asked(judge_at(&HandshakePolicy::new("1.0.0").verifier(polled), &signed(1, 0), NOW));
    assert_eq!(poll(&mut verdict), Poll::Ready(Err(HandshakeFault::VerifierPanicked)));
    let dropped = Verifier::future(|_, _| {
        let guard = PanicsOnDrop;
        std::future::poll_fn(move |_| {
            let _keep = &guard;
            Poll::Ready(true)
        })
    });
    let mut verdict = asked(judge_at(&HandshakePolicy::new("1.0.0").verifier(dropped), &signed(1, 0), NOW));
    assert_eq!(poll(&mut verdict), Poll::Ready(Ok(())));
}

#[test]
fn a_replayed_handshake_is_refused_by_every_clone_of_the_policy() {
    let policy = guarded(9);
    accepted(judge_at(&policy, &signed(1, 0), NOW));
    assert_eq!(rejected(judge_at(&policy.clone(), &signed(1, 0), NOW + 60_000)), HandshakeFault::Replayed);
    accepted(judge_at(&policy, &signed(1, 1), NOW));
    accepted(judge_at(&policy, &signed(2, 0), NOW));
    let stale = HandshakeFault::StaleTimestamp { off_ms: 60_001, window_ms: 60_000 };
    assert_eq!(rejected(judge_at(&policy, &signed(3, 0), NOW + 60_001)), stale);
}

#[test]
fn another_spelling_of_the_same_signature_is_a_replay() {
    let policy = guarded(9);
    accepted(judge_at(&policy, &signed(1, 0), NOW));
    let text = String::from_utf8(signed(1, 0)).expect("valid");
    for (from, to) in [("\"signature\":\"", "\"signature\":\" "), ("==\"}", "\"}"), ("==\"}", "==garbage\"}")]
    {
        let spelled = text.replace(from, to);
        assert_ne!(spelled, text);
        assert_eq!(
            rejected(judge_at(&policy, spelled.as_bytes(), NOW)),
            HandshakeFault::Replayed,
            "{spelled}"
        );
    }
}

#[test]
fn only_accepted_handshakes_take_room_in_the_replay_guard() {
    let policy = guarded(1);
    let refusing = policy.clone().verifier(Verifier::sync(|_, _| false));
    for seed in 1..9 {
        assert_eq!(rejected(judge_at(&refusing, &signed(seed, 0), NOW)), HandshakeFault::Rejected);
    }
    accepted(judge_at(&policy, &signed(1, 0), NOW));
    let full = HandshakeFault::ReplayGuardFull { capacity: 1 };
    assert_eq!(rejected(judge_at(&policy, &signed(2, 0), NOW)), full);
    accepted(judge_at(&policy, br#"{"type":"handshake"}"#, NOW));
}

#[test]
fn of_two_equal_handshakes_under_verification_one_is_accepted() {
    let policy = guarded(9).verifier(Verifier::future(|_, _| Later(false, true)));
    let mut verdicts = [0, 1].map(|_| asked(judge_at(&policy, &signed(1, 0), NOW)));
    for verdict in &mut verdicts {
        assert_eq!(poll(verdict), Poll::Pending);
    }
    let [first, second] = verdicts.each_mut().map(poll);
    assert_eq!(first, Poll::Ready(Ok(())));
    assert_eq!(second, Poll::Ready(Err(HandshakeFault::Replayed)));
}

#[test]
fn fingerprints_in_tags_must_be_those_of_the_presented_certificate() {
    let policy = HandshakePolicy::new("1");
    let peer = PeerInfo::new(PeerAddr::Unknown);
    let judge = |tags: &str, tls: Option<(Option<&str>, Option<&str>)>| {
        let snapshot = |(sha256, sha1): (Option<&str>, Option<&str>)| TlsSnapshot {
            peer_fingerprint256: sha256.map(Into::into),
            peer_fingerprint: sha1.map(Into::into),
            ..TlsSnapshot::default()
        };
        let transport = TransportFacts { tls: tls.map(snapshot), ..TransportFacts::default() };
        let payload = format!("{{\"type\":\"handshake\",\"tags\":{{{tags}}}}}");
        match policy.judge(payload.as_bytes(), &transport, &peer, NOW) {
            Judgement::Accept(_) => true,
            Judgement::Reject(HandshakeFault::TlsFingerprintMismatch) => false,
            other => panic!("{other:?}"),
        }
    };
    let certificate = Some((Some("AA"), Some("BB")));
    assert!(judge(r#""tlsFingerprint256":"AA","tlsFingerprint":"BB""#, certificate));
    assert!(judge("", certificate));
    assert!(judge("", Some((None, None))));
    assert!(!judge(r#""tlsFingerprint256":"AB""#, certificate));
    assert!(!judge(r#""tlsFingerprint256":"aa""#, certificate));
    assert!(!judge(r#""tlsFingerprint":"BC""#, certificate));
    assert!(!judge(r#""tlsFingerprint256":"AA""#, Some((None, None))));
    assert!(!judge(r#""tlsFingerprint":"\ud800""#, Some((None, None))));
    assert!(judge(r#""tlsFingerprint256":1"#, certificate), "only strings are claims");
    assert!(judge(r#""tlsFingerprint256":"AB""#, None), "a plain stream has no certificate to compare");
}

#[test]
fn the_session_key_is_bound_to_the_key_hash() {
    let policy = HandshakePolicy::new("1.0.0");
    let transport = TransportFacts { tls: Some(TlsSnapshot::default()), exported_key: Some(b"abc".to_vec()) };
    let key = |payload: &[u8]| {
        let judgement = policy.judge(payload, &transport, &PeerInfo::new(PeerAddr::Unknown), NOW);
        accepted(judgement).tls.expect("valid").session_key.expect("valid")
    };
    assert_eq!(key(br#"{"type":"handshake"}"#), "YWJj");
    // base64(SHA-256("abcdef"))
    assert_eq!(
        key(br#"{"type":"handshake","negHash":"def"}"#),
        "vvV+x/U6bUC+tkCngKY5yDvCmsipgW8fxsXG3Nk8RyE="
    );
}

#[test]
fn tags_of_tls_are_under_the_signature() {
    let signer = NegentropicSigner::from_seed(&[5; 32]).expect("valid");
    let client = ClientHandshake::new("1.0.0").signer(signer).ask_ack();
    let payload = client
        .encode(&[("tlsAlpn", "h2".to_owned()), ("tlsSessionKey", "YWJj".to_owned())], NOW, [0; 16])
        .expect("valid");
    let info = accepted(judge_at(&HandshakePolicy::new("1.0.0").require_signed(), &payload, NOW));
    assert_eq!(info.tags.get("tlsAlpn"), Some(Tag::Text("h2".into())));
    assert!(info.wants_ack);
}

#[test]
fn options_that_cannot_work_are_named() {
    let fault = |change: fn(&mut HandshakePolicy)| {
        let mut policy = HandshakePolicy::new("1");
        change(&mut policy);
        policy.validate().map_err(|error| error.option)
    };
    assert_eq!(fault(|_| {}), Ok(()));
    assert_eq!(fault(|policy| policy.protocol_version = Some(String::new())), Err("protocol_version"));
    assert_eq!(fault(|policy| policy.bytes_max = 1 << 17), Err("handshake.bytes_max"));
    assert_eq!(fault(|policy| policy.bytes_max = 10), Err("handshake.bytes_max"));
}
