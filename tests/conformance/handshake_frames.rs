//! `handshake-frames.json`: what clients of QWormhole send first, sent by real clients of ours to a plain listener.

use std::io::Read;
use std::net::TcpListener;
use std::thread::{self, JoinHandle};

use qwormhole::handshake::json::{Json, JsonLimits, parse};
use qwormhole::handshake::{ClientHandshake, HandshakeFault, SigningMoment, Tag};
use qwormhole::{Client, CloseReason, ConnectError, Framing};

use crate::support::vectors::deviations;
use crate::support::{Bed, PATIENCE, block_on, on_every_backend};

on_every_backend!(clients_send_the_bytes_of_the_vectors);

fn clients_send_the_bytes_of_the_vectors(bed: Bed) {
    let limits = JsonLimits { bytes_max: 1 << 20, depth_max: 32 };
    let vectors = parse(include_bytes!("../fixtures/handshake-frames.json"), limits).expect("valid JSON");
    let Some(Json::Array(cases)) = get(&vectors, "cases") else { panic!("no cases") };
    assert_eq!(cases.len(), 18);
    let deviations = deviations("handshake-frames");
    for (place, case) in cases.iter().enumerate() {
        let (address, sink) = sink();
        let refused = block_on(visit(bed, &address, case));
        let sent = sink.join().expect("the sink ends");
        let name = text(case, "name");
        assert_eq!(refused, get(case, "connect_error").is_some(), "{name}");
        let recorded = unhex(text(case, "wire_hex"));
        let same = String::from_utf8_lossy(&sent) == String::from_utf8_lossy(&recorded);
        assert_eq!(same, !deviations.contains_key(&*format!("cases/{place}")), "{name}: {sent:?}");
        if name.contains("cbor") {
            assert_eq!(sent[4..], *b"{\"type\":\"handshake\",\"version\":\"1.0.0\"}");
        }
    }
}

/// Connects with the options of a case, says what the case says, and leaves; whether the options were refused
/// instead.
async fn visit(bed: Bed, address: &str, case: &Json) -> bool {
    let options = get(case, "options").expect("options");
    let mut client = Client::builder().backend(bed.backend);
    if let Some(version) = get(options, "protocolVersion") {
        let version = version.as_string().and_then(|version| version.as_str()).expect("text");
        client = client.handshake(handshake(version, options));
    }
    if get(options, "framing").is_some() {
        client = client.framing(Framing::None);
    }
    match client.connect(address).await {
        Ok(mut conn) => {
            if text(case, "name") == "followed by application message" {
                conn.send("hi").await.expect("send");
            }
            assert_eq!(conn.close().await, CloseReason::Local);
            false
        }
        Err(ConnectError::Closed {
            reason: CloseReason::Handshake(HandshakeFault::Payload { .. }), ..
        }) => true,
        Err(error) => panic!("{error}"),
    }
}

fn handshake(version: &str, options: &Json) -> ClientHandshake {
    let mut handshake = ClientHandshake::new(version);
    for (name, value) in
        get(options, "handshakeTags").and_then(Json::as_object).into_iter().flat_map(|tags| tags.iter())
    {
        let tag = match value {
            Json::Number(number) => Tag::Number(*number),
            Json::String(text) => Tag::Text(text.clone()),
            other => panic!("no tag: {other:?}"),
        };
        handshake.tags.set(name.clone(), tag);
    }
    match get(options, "handshakeSigner_returns").and_then(Json::as_object).cloned() {
        Some(keys) => handshake.signer(move |_: &SigningMoment| keys.clone()),
        None => handshake,
    }
}

/// A listener that takes one connection and everything it says.
fn sink() -> (String, JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = format!("tcp://{}", listener.local_addr().expect("bound"));
    let taking = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        let mut sent = Vec::new();
        stream.read_to_end(&mut sent).expect("a clean end");
        sent
    });
    (address, taking)
}

fn get<'a>(value: &'a Json, key: &str) -> Option<&'a Json> {
    value.as_object().expect("an object").get(key)
}

fn text<'a>(value: &'a Json, key: &str) -> &'a str {
    get(value, key).and_then(Json::as_string).and_then(|text| text.as_str()).expect("text")
}

fn unhex(digits: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex");
    (0..digits.len()).step_by(2).map(byte).collect()
}
