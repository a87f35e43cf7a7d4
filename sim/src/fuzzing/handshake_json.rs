//! Handshakes of any bytes.

use qwormhole_proto::handshake::json::{Json, JsonLimits, canonical, parse, stringify};
use qwormhole_proto::handshake::{
    HANDSHAKE_BYTES_MAX, HANDSHAKE_DEPTH_MAX, Handshake, HandshakeAck, HandshakeFault, HandshakePolicy,
    Judgement, ObjectScanner, ReplayGuard, ReplayWindow, TlsSnapshot, TransportFacts, verify,
};
use qwormhole_proto::{PeerAddr, PeerInfo};

/// Input: the payload of a first frame.
///
/// # Panics
///
/// When reading and writing do not agree, when what a scanner finds depends on the chunks or differs from what
/// the parser finds, or when a policy accepts what verification refuses.
pub fn handshake_json(data: &[u8]) {
    let limits = JsonLimits { bytes_max: HANDSHAKE_BYTES_MAX, depth_max: HANDSHAKE_DEPTH_MAX };
    let value = parse(data, limits);
    if let Ok(value) = &value {
        check_text(value, limits);
    }
    check_scanner(data, value.as_ref().ok());
    let _ack = HandshakeAck::parse(data);
    let handshake = Handshake::parse(data);
    if let Ok(handshake) = &handshake {
        let again = Handshake::parse(&handshake.encode()).expect("what we write keeps the schema");
        assert_eq!(again.encode(), handshake.encode());
        assert_eq!(again.canonical_unsigned(), handshake.canonical_unsigned());
        assert_eq!(verify(&again), verify(handshake));
    }
    check_policies(data, handshake);
}

fn check_text(value: &Json, limits: JsonLimits) {
    let limits = JsonLimits { bytes_max: usize::MAX, ..limits };
    let text = stringify(value);
    let again = parse(text.as_bytes(), limits).expect("what we write is JSON");
    assert_eq!(stringify(&again), text);
    let sorted = canonical(value);
    let again = parse(sorted.as_bytes(), limits).expect("what we write is JSON");
    assert_eq!(canonical(&again), sorted);
}

/// The scanner gives the same answer for every size of chunks, and the parser's where there is one.
fn check_scanner(data: &[u8], value: Option<&Json>) {
    let whole = ObjectScanner::new(HANDSHAKE_BYTES_MAX).feed(data);
    for size in [1, 2, 7] {
        assert_eq!(scan(data, size), whole, "chunks of {size}");
    }
    if let Some(Json::Object(_)) = value {
        let end = whole.expect("an object is no fault").expect("an object ends");
        assert!(data[end..].iter().all(u8::is_ascii_whitespace), "the object ends at {end}");
    }
}

fn scan(data: &[u8], size: usize) -> Result<Option<usize>, HandshakeFault> {
    let mut scanner = ObjectScanner::new(HANDSHAKE_BYTES_MAX);
    for (number, chunk) in data.chunks(size).enumerate() {
        if let Some(end) = scanner.feed(chunk)? {
            return Ok(Some(number * size + end));
        }
    }
    Ok(None)
}

fn check_policies(data: &[u8], handshake: Result<Handshake, HandshakeFault>) {
    let tls = Some(TlsSnapshot::default());
    let transport = TransportFacts { tls, exported_key: Some(vec![1]) };
    let peer = PeerInfo::new(PeerAddr::Unknown);
    let guard = ReplayGuard::new(ReplayWindow::default()).expect("valid bounds");
    let any = HandshakePolicy::default();
    let strict = HandshakePolicy::new("1.0.0").require_signed().replay(guard);
    let verified = handshake.and_then(|handshake| verify(&handshake));
    match any.judge(data, &transport, &peer, NOW) {
        Judgement::Accept(info) => {
            let verified = verified.expect("nothing else is accepted");
            assert_eq!(info.public_key, verified.map(|verified| verified.public_key));
        }
        Judgement::Reject(HandshakeFault::TlsFingerprintMismatch) => assert!(verified.is_ok()),
        Judgement::Reject(fault) => assert_eq!(verified.err(), Some(fault)),
        Judgement::Ask(..) => panic!("nobody to ask"),
    }
    if let Judgement::Accept(info) = strict.judge(data, &transport, &peer, NOW) {
        assert!(info.public_key.is_some());
        let second = strict.judge(data, &transport, &peer, NOW);
        assert!(matches!(second, Judgement::Reject(HandshakeFault::Replayed)), "{second:?}");
    }
}

/// The time of the signed seeds.
const NOW: u64 = 1_700_000_000_000;
