//! `codecs.json`: what QWormhole's built-in serializers write and read. Every case is followed, there is no
//! deviation.

use qwormhole::codec::Text;
use qwormhole::codec::qwormhole::{Cbor, Json, Plain, Value};
use qwormhole::{Bytes, BytesMut, Codec};
use serde_json::Value as Vector;

fn vectors() -> Vector {
    serde_json::from_str(include_str!("../fixtures/codecs.json")).expect("valid JSON")
}

fn unhex(text: &Vector) -> Vec<u8> {
    let text = text.as_str().expect("hex");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
}

/// The value that a case's JavaScript expression stands for.
fn input(expression: &str) -> Value {
    let object = |entries: Vec<(&str, Value)>| {
        Value::Object(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    };
    match expression {
        "\"abc\"" => Value::from("abc"),
        "{\"b\":1,\"a\":[1,2]}" => object(vec![
            ("b", Value::from(1.0)),
            ("a", Value::Array(vec![Value::from(1.0), Value::from(2.0)])),
        ]),
        "Uint8Array[1,2]" => Value::Bytes(Bytes::from_static(&[1, 2])),
        "Buffer[1,2]" => Value::Buffer(Bytes::from_static(&[1, 2])),
        "{\"k\":\"é\"}" => object(vec![("k", Value::from("é"))]),
        "{n: 10n}" => object(vec![("n", Value::BigInt(10))]),
        other => panic!("a case with an unknown input: {other}"),
    }
}

fn encode(codec: &str, value: &Value) -> Vec<u8> {
    let mut out = BytesMut::new();
    match codec {
        "default" => Plain.encode(value, &mut out),
        "json" => Json.encode(value, &mut out),
        "cbor" => Cbor.encode(value, &mut out),
        other => panic!("a case with an unknown codec: {other}"),
    }
    .expect("every case has an encoded form");
    out.to_vec()
}

#[test]
fn values_are_written_as_the_vectors_say() {
    let vectors = vectors();
    let cases = vectors["cases"].as_array().expect("cases");
    for case in cases {
        let value = input(case["input"].as_str().expect("input"));
        assert_eq!(encode(case["codec"].as_str().expect("codec"), &value), unhex(&case["hex"]), "{case}");
    }
    assert_eq!(cases.len(), 16);
}

#[test]
fn bytes_are_read_as_the_vectors_say() {
    let vectors = vectors();
    let cases = vectors["deserialize"].as_array().expect("cases");
    for case in cases {
        let message = Bytes::from(unhex(&case["hex"]));
        match (case["codec"].as_str().expect("codec"), &case["result"]) {
            ("json", Vector::Null) => assert_eq!(Json.decode(message).expect("never an error"), Value::Null),
            ("text", Vector::String(text)) => assert_eq!(Text.decode(message).expect("text"), *text),
            _ => panic!("an unknown case: {case}"),
        }
    }
    assert_eq!(cases.len(), 2);
}

/// What was written is read as the same value, wherever the serializer keeps apart what it was given.
#[test]
fn written_values_are_read_back() {
    for case in vectors()["cases"].as_array().expect("cases") {
        let (codec, name) = (case["codec"].as_str().expect("codec"), case["name"].as_str().expect("name"));
        let value = input(case["input"].as_str().expect("input"));
        let message = Bytes::from(unhex(&case["hex"]));
        match (codec, name) {
            // Everything is received as bytes.
            ("default", _) => {
                assert_eq!(Plain.decode(message.clone()).expect("bytes"), Value::Buffer(message))
            }
            ("cbor", "buffer") => assert!(Cbor.decode(message).is_err(), "its bytes are two items, not one"),
            ("cbor", _) => assert_eq!(Cbor.decode(message).expect("CBOR"), value, "{case}"),
            ("json", "object" | "nested unicode") => assert_eq!(Json.decode(message).expect("JSON"), value),
            // Plain text is no JSON; bytes and big integers come back as objects and strings.
            ("json", "string") => assert_eq!(Json.decode(message).expect("null"), Value::Null),
            ("json", _) => assert!(matches!(Json.decode(message).expect("JSON"), Value::Object(_)), "{case}"),
            _ => panic!("an unknown case: {case}"),
        }
    }
}
