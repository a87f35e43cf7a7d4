//! What holds for every JSON value and every signed handshake.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use qwormhole_proto::handshake::json::{JsString, Json, JsonLimits, JsonObject, canonical, parse, stringify};
use qwormhole_proto::handshake::{
    ClientHandshake, HANDSHAKE_BYTES_MAX, Handshake, HandshakeFault, NegentropicSigner, verify,
};

const LIMITS: JsonLimits = JsonLimits { bytes_max: 1 << 20, depth_max: 32 };

/// Code units with more surrogates, digits and control characters than chance would give.
fn text() -> impl Strategy<Value = JsString> {
    let unit = prop_oneof![0x20_u16..0x7f, 0x30_u16..0x3a, 0xd800_u16..0xe000, any::<u16>(), 0_u16..0x20];
    prop::collection::vec(unit, 0..6).prop_map(JsString::from_units)
}

/// Finite ones: others are written as `null`. The two zeros are written alike.
fn number() -> impl Strategy<Value = f64> {
    let bits = any::<u64>().prop_map(f64::from_bits).prop_filter("finite", |number| number.is_finite());
    let whole = any::<i64>().prop_map(|number| number as f64);
    prop_oneof![bits, whole, (-1000_i32..1000).prop_map(f64::from)].prop_map(|number| number + 0.0)
}

fn value() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::Bool),
        number().prop_map(Json::Number),
        text().prop_map(Json::String),
    ];
    leaf.prop_recursive(6, 60, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Json::Array),
            prop::collection::vec((text(), inner), 0..8)
                .prop_map(|entries| Json::Object(JsonObject::from_entries(entries))),
        ]
    })
}

/// Random tags and an unknown key, to be signed.
fn signed() -> impl Strategy<Value = Vec<u8>> {
    let tags = prop::collection::vec(("[a-z0-9]{0,4}", "\\PC{0,4}"), 0..4);
    (any::<[u8; 32]>(), any::<[u8; 16]>(), 0_u64..1 << 53, tags).prop_map(|(seed, random, ts, tags)| {
        let mut client = ClientHandshake::new("1.0.0");
        tags.iter().for_each(|(name, tag)| client.tags.set(name.as_str(), tag.as_str()));
        let signer = NegentropicSigner::from_seed(&seed).expect("any seed is a key");
        client.signer(signer).encode(&[("tlsAlpn", "h2".into())], ts, random).expect("a valid handshake")
    })
}

proptest! {
    #[test]
    fn a_written_value_reads_as_itself(value in value()) {
        prop_assert_eq!(parse(stringify(&value).as_bytes(), LIMITS), Ok(value));
    }

    #[test]
    fn the_canonical_text_does_not_depend_on_the_order_of_keys(entries in prop::collection::vec((text(), value()), 0..8)) {
        let object = JsonObject::from_entries(entries);
        let mut entries: Vec<_> = object.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        let text = canonical(&Json::Object(object));
        entries.reverse();
        prop_assert_eq!(&canonical(&Json::Object(JsonObject::from_entries(entries))), &text);
        let again = parse(text.as_bytes(), LIMITS).expect("valid");
        prop_assert_eq!(canonical(&again), text);
    }

    #[test]
    fn inserting_one_by_one_makes_the_same_object(entries in prop::collection::vec((text(), number()), 0..12)) {
        let whole: JsonObject = entries.iter().cloned().collect();
        let mut inserted = JsonObject::new();
        entries.into_iter().for_each(|(key, value)| inserted.insert(key, value));
        prop_assert_eq!(whole, inserted);
    }

    #[test]
    fn what_we_sign_verifies_and_one_flipped_bit_does_not(payload in signed(), at in any::<prop::sample::Index>(), bit in 0_u32..8) {
        let handshake = Handshake::parse(&payload).expect("valid");
        let verified = verify(&handshake).expect("valid");
        prop_assert!(verified.is_some());
        let mut flipped = payload.clone();
        let at = at.index(flipped.len());
        flipped[at] ^= 1_u8 << bit;
        // A flip may hit what the signature does not depend on: the spelling of base64, or of the JSON.
        match Handshake::parse(&flipped).and_then(|handshake| Ok((verify(&handshake)?, handshake))) {
            Err(_) | Ok((None, _)) => {}
            Ok((still, other)) => {
                prop_assert_eq!(still, verified);
                prop_assert_eq!(other.canonical_unsigned(), handshake.canonical_unsigned());
            }
        }
    }

    #[test]
    fn one_flipped_bit_of_a_signature_or_a_key_is_noticed(seed in any::<[u8; 32]>(), bit in 0_usize..512) {
        let signer = NegentropicSigner::from_seed(&seed).expect("valid");
        let payload = ClientHandshake::new("1").signer(signer).encode(&[], 5, [0; 16]).expect("valid");
        let text = String::from_utf8(payload).expect("valid");
        let signature = text.split("\"signature\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("valid");
        let flipped = flip_base64(signature, bit);
        let forged = Handshake::parse(text.replace(signature, &flipped).as_bytes()).expect("valid");
        prop_assert_eq!(verify(&forged), Err(HandshakeFault::Signature));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(handshake) = Handshake::parse(&bytes) {
            prop_assert!(verify(&handshake).is_ok());
        }
    }
}

/// Flips one of the bits that base64 digits carry.
fn flip_base64(text: &str, bit: usize) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut digits = text.as_bytes().to_vec();
    let place = bit / 6;
    let value = DIGITS.iter().position(|digit| *digit == digits[place]).expect("valid");
    digits[place] = DIGITS[value ^ (32 >> (bit % 6))];
    String::from_utf8(digits).expect("valid")
}

#[test]
fn hostile_texts_are_refused_or_read_fast() {
    let mut hostile = vec![
        (vec![b'['; 1 << 20], false),
        (b"{\"type\":".repeat(8000), false),
        (format!("{{\"type\":\"handshake\",\"ts\":1{}}}", "0".repeat(60_000)).into_bytes(), false),
        (format!("{{\"type\":\"handshake\",\"x\":1e{}}}", "9".repeat(60_000)).into_bytes(), true),
        (format!("{{\"type\":\"handshake\",\"x\":0.{}1}}", "0".repeat(60_000)).into_bytes(), true),
        (format!("{{\"type\":\"handshake\"{}}}", ",\"\":0".repeat(13_000)).into_bytes(), true),
        (format!("{{\"type\":\"handshake\",\"x\":\"{}\"}}", "\\ud800".repeat(10_000)).into_bytes(), true),
        (vec![0xff; HANDSHAKE_BYTES_MAX], false),
    ];
    let keys: String = (0..7000).rev().map(|key| format!(",\"{key}\":0")).collect();
    hostile.push((format!("{{\"type\":\"handshake\"{keys}}}").into_bytes(), true));
    let json_of_a_megabyte = format!("{{\"type\":\"handshake\",\"x\":\"{}\"}}", "y".repeat(1 << 20));
    hostile.push((json_of_a_megabyte.into_bytes(), false));
    for (payload, valid) in hostile {
        let start = Instant::now();
        let parsed = Handshake::parse(&payload);
        let took = start.elapsed();
        let shown = String::from_utf8_lossy(&payload[..40]);
        assert_eq!(parsed.is_ok(), valid, "{shown}: {:?}", parsed.err());
        // Milliseconds in fact; quadratic work would take minutes.
        assert!(took < Duration::from_secs(2), "{shown}: {took:?}");
    }
}
