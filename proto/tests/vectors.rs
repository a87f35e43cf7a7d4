//! The framing vectors of the reference, both ways: every payload is encoded to the expected wire bytes, every
//! wire is decoded to the expected events, whatever the split. Where we differ on purpose is listed in docs/vectors.md.

use std::path::Path;
use std::sync::Arc;

use qwormhole_proto::{
    ChunkPool, Config, ConnId, Context, Decoder, Frame, Framing, Handler, Message, Owner, PeerAddr, PeerInfo,
    Session, ShardLocal,
};
use serde_json::Value;
use sha2::{Digest, Sha256};

#[path = "../../tests/support/vectors.rs"]
mod table;

#[test]
fn every_case_is_of_a_known_kind_and_every_deviation_is_one() {
    let cases = cases();
    assert_eq!(cases.len(), 43);
    for case in &cases {
        assert!(["encode", "encode-large", "decode"].contains(&text(case, "kind")), "{case}");
    }
    for (id, reason) in table::deviations("frames") {
        let case = cases.iter().find(|case| case["id"] == id).expect("a case");
        assert_ne!(recorded_events(case), until_error(case), "{id} is no deviation any more: {reason}");
    }
}

#[test]
fn payloads_are_encoded_to_the_expected_wire() {
    for case in of_kind("encode") {
        let payload = hex(text(&case, "payload_hex"));
        let wire = encode(&payload);
        assert_eq!(wire, hex(text(&case, "wire_hex")), "{}", case["name"]);
        assert_eq!(decode(&[&wire], u32::MAX), [message(&payload)], "{}", case["name"]);
    }
}

#[test]
fn large_payloads_are_encoded_to_the_expected_wire() {
    let cases = of_kind("encode-large");
    assert_eq!(cases.len(), 4);
    for case in cases {
        let len = case["payload_len"].as_u64().unwrap() as usize;
        let payload = vec![case["payload_fill"].as_u64().unwrap() as u8; len];
        let wire = encode(&payload);
        assert_eq!(wire.len() as u64, case["wire_len"].as_u64().unwrap());
        assert_eq!(wire[..4], hex(text(&case, "header_hex")));
        let digest: String = Sha256::digest(&wire).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, text(&case, "wire_sha256"), "{len} bytes");
        let chunks: Vec<&[u8]> = wire.chunks(1000).collect();
        assert!(decode(&chunks, 4 << 20) == [message(&payload)], "{len} bytes");
    }
}

#[test]
fn wires_are_decoded_to_the_expected_events() {
    let deviations = table::deviations("frames");
    for case in of_kind("decode") {
        let chunks: Vec<Vec<u8>> =
            list(&case, "chunks_hex").iter().map(|chunk| hex(chunk.as_str().unwrap())).collect();
        let limit = u32::try_from(case["max_frame_length"].as_u64().unwrap()).unwrap();
        let deviates = deviations.contains_key(text(&case, "id"));
        let expected = if deviates { until_error(&case) } else { recorded_events(&case) };
        let whole = chunks.concat();
        let given: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
        assert_eq!(decode(&given, limit), expected, "{}, as given", case["name"]);
        assert_eq!(decode(&[&whole], limit), expected, "{}, in one chunk", case["name"]);
        let bytes: Vec<&[u8]> = whole.chunks(1).collect();
        assert_eq!(decode(&bytes, limit), expected, "{}, byte by byte", case["name"]);
        assert_eq!(deliver(&given, limit), expected, "{}, through a session", case["name"]);
    }
}

#[test]
fn decoded_wires_encode_back_to_themselves() {
    let mut checked = 0;
    for case in of_kind("decode") {
        let wire = hex(&list(&case, "chunks_hex").iter().filter_map(Value::as_str).collect::<String>());
        let events = list(&case, "events");
        let payloads: Option<Vec<Vec<u8>>> =
            events.iter().map(|event| event["message_hex"].as_str().map(hex)).collect();
        let Some(payloads) = payloads else { continue };
        let encoded: Vec<u8> = payloads.iter().flat_map(|payload| encode(payload)).collect();
        assert_eq!(encoded, wire[..encoded.len()], "{}", case["name"]);
        checked += usize::from(!encoded.is_empty());
    }
    assert_eq!(checked, 14);
}

fn cases() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/frames.json");
    let vectors: Value = serde_json::from_str(&std::fs::read_to_string(path).expect("the fixture is there"))
        .expect("it is JSON");
    let mut cases = list(&vectors, "cases").clone();
    cases.iter_mut().enumerate().for_each(|(place, case)| case["id"] = format!("cases/{place}").into());
    cases
}

fn of_kind(kind: &str) -> Vec<Value> {
    let found: Vec<Value> = cases().into_iter().filter(|case| case["kind"] == kind).collect();
    assert!(!found.is_empty(), "no case of kind {kind}");
    found
}

fn text<'a>(case: &'a Value, key: &str) -> &'a str {
    case[key].as_str().unwrap_or_else(|| panic!("`{key}` is missing in {case}"))
}

fn list<'a>(case: &'a Value, key: &str) -> &'a Vec<Value> {
    case[key].as_array().unwrap_or_else(|| panic!("`{key}` is missing in {case}"))
}

fn hex(digits: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex digits");
    (0..digits.len()).step_by(2).map(byte).collect()
}

fn message(payload: &[u8]) -> String {
    let digits: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("message: {digits}")
}

fn recorded_events(case: &Value) -> Vec<String> {
    let event = |event: &Value| match (&event["message_hex"], &event["error"]) {
        (Value::String(digits), Value::Null) => format!("message: {digits}"),
        (Value::Null, Value::String(text)) => format!("error: {text}"),
        _ => panic!("neither a message nor an error: {event}"),
    };
    list(case, "events").iter().map(event).collect()
}

/// What is left of a case when its first error is its last event.
fn until_error(case: &Value) -> Vec<String> {
    let mut events = recorded_events(case);
    let error = events.iter().position(|event| event.starts_with("error"));
    events.truncate(error.map_or(usize::MAX, |at| at + 1));
    events
}

/// The plain decoder.
fn decode(chunks: &[&[u8]], limit: u32) -> Vec<String> {
    let mut decoder = Decoder::new(Framing::LengthPrefixed, limit);
    let mut pool = ChunkPool::default();
    let mut events = Vec::new();
    for mut chunk in chunks.iter().copied() {
        loop {
            match decoder.next(&mut chunk, &mut pool) {
                Ok(Some(Frame::Whole(payload))) => events.push(message(payload)),
                Ok(Some(Frame::Stitched(payload))) => events.push(message(&payload)),
                Ok(None) => break,
                Err(error) => {
                    events.push(format!("error: {error}"));
                    return events;
                }
            }
        }
    }
    events
}

fn session<H: Handler>(config: Config, handler: H) -> (Session<H>, ShardLocal) {
    let mut local = ShardLocal::default();
    let peer = PeerInfo::new(PeerAddr::Unknown);
    let mut session = Session::new(ConnId::new(0, 0, 0), peer, Arc::new(config), Owner::handler(handler));
    session.open(&mut local);
    (session, local)
}

/// Keeps what it received where the test finds it.
#[derive(Clone, Default)]
struct Keep(std::rc::Rc<std::cell::RefCell<Vec<String>>>);

impl Handler for Keep {
    fn on_message(&mut self, _conn: &mut Context<'_>, received: Message<'_>) {
        self.0.borrow_mut().push(message(&received));
    }
}

/// A session, as a driver feeds it; the reason of its close is its last event.
fn deliver(chunks: &[&[u8]], limit: u32) -> Vec<String> {
    let mut config = Config::default();
    config.limits.max_frame_len = limit;
    let keep = Keep::default();
    let (mut session, mut local) = session(config, keep.clone());
    for chunk in chunks {
        session.handle_bytes(&mut local, &Chunk(chunk));
    }
    let mut events = keep.0.take();
    events.extend(session.connection().close_reason().map(|reason| format!("error: {reason}")));
    events
}

/// Sends its payload when it opens.
struct SendOnce(Vec<u8>);

impl Handler for SendOnce {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        conn.send(std::mem::take(&mut self.0)).expect("an empty outbox accepts it");
    }

    fn on_message(&mut self, _conn: &mut Context<'_>, _message: Message<'_>) {}
}

/// What a session puts on the wire for `payload`.
fn encode(payload: &[u8]) -> Vec<u8> {
    let (mut session, mut local) = session(Config::default(), SendOnce(payload.to_vec()));
    let mut wire = Vec::new();
    while let Some(transmit) = session.poll_transmit(&mut local) {
        transmit.segments().iter().for_each(|segment| wire.extend_from_slice(segment.as_slice()));
        let len = transmit.len();
        session.handle_transmitted(&mut local, transmit, Ok(len));
    }
    wire
}

struct Chunk<'a>(&'a [u8]);

impl qwormhole_proto::RecvBuffer for Chunk<'_> {
    fn as_slice(&self) -> &[u8] {
        self.0
    }

    fn lease(&self, _range: std::ops::Range<usize>) -> Option<bytes::Bytes> {
        None
    }
}
