//! The handshake vectors of the reference: every case is followed, or listed in docs/vectors.md with
//! the reason why not.

use std::path::Path;
use std::sync::Arc;

use qwormhole_proto::frame_header;
use qwormhole_proto::handshake::json::{Json, JsonLimits, JsonObject, parse};
use qwormhole_proto::handshake::{
    ClientHandshake, Coherence, EntropyMetrics, EntropyPolicy, EntropyVelocity, Handshake, HandshakeFault,
    HandshakeSigner, MessageTypes, NegentropicSigner, NegentropicSnapshot, SigningMoment, Tag, Typed,
    message_type, n_index, n_index_of_base64, neg_hash, nonce, verify,
};

#[path = "../../tests/support/vectors.rs"]
mod table;

#[test]
fn client_frames_are_the_expected_bytes() {
    let cases = fixture("handshake-frames", "cases");
    assert_eq!(cases.len(), 18);
    let deviations = table::deviations("handshake-frames");
    for (place, case) in cases.iter().enumerate() {
        let name = text(case, "name");
        let options = field(case, "options");
        let expected = unhex(text(case, "wire_hex"));
        let wire = client_wire(options);
        if deviations.contains_key(&*format!("cases/{place}")) {
            assert_ne!(wire.as_ref(), Ok(&expected), "`{name}` is no deviation any more");
            continue;
        }
        match (wire, get(case, "connect_error")) {
            (Err(HandshakeFault::Payload { path, .. }), Some(error)) => {
                let error = error.as_string().expect("valid").as_str().expect("valid");
                let issues = parse_text(error);
                let expected = array(field(&array(&issues)[0], "path"));
                let keys: Vec<&str> = expected.iter().filter_map(|key| key.as_string()?.as_str()).collect();
                assert_eq!(path, keys.join("."), "{name}");
            }
            (Ok(wire), None) => {
                let expected = expected.strip_suffix(b"\0\0\0\x02hi").unwrap_or(&expected);
                assert_eq!(String::from_utf8_lossy(&wire), String::from_utf8_lossy(expected), "{name}");
            }
            (wire, error) => panic!("{name}: {wire:?} but {error:?}"),
        }
    }
}

/// What a client with these options sends first; nothing without a version.
fn client_wire(options: &Json) -> Result<Vec<u8>, HandshakeFault> {
    let Some(version) = get(options, "protocolVersion") else { return Ok(Vec::new()) };
    let mut client = ClientHandshake::new(version.as_string().expect("valid").as_str().expect("valid"));
    client.tags = get(options, "handshakeTags").map_or_else(Default::default, tags);
    if let Some(Json::Object(keys)) = get(options, "handshakeSigner_returns").cloned() {
        client.signer = Some(Arc::new(move |_: &SigningMoment| keys.clone()));
    }
    let payload = client.encode(&[], TS, [0; 16])?;
    let header = frame_header(payload.len() as u32);
    let framed = get(options, "framing").is_none();
    Ok(if framed { [&header[..], &payload].concat() } else { payload })
}

fn tags(object: &Json) -> qwormhole_proto::handshake::Tags {
    let tag = |value: &Json| match value {
        Json::Number(number) => Tag::Number(*number),
        Json::String(text) => Tag::Text(text.clone()),
        other => panic!("no tag: {other:?}"),
    };
    object.as_object().expect("valid").iter().map(|(key, value)| (key.clone(), tag(value))).collect()
}

#[test]
fn indices_of_keys_are_the_expected_doubles() {
    let cases = fixture("negentropic", "compute_nindex");
    assert_eq!(cases.len(), 12);
    for case in &cases {
        let expected = number(case, "nIndex");
        assert_eq!(n_index_of_base64(text(case, "input_b64")).to_bits(), expected.to_bits(), "{case:?}");
        assert_eq!(n_index(&unhex(text(case, "decoded_hex"))).to_bits(), expected.to_bits(), "{case:?}");
    }
}

#[test]
fn signed_handshakes_are_the_expected_bytes_and_verify() {
    let cases = fixture("negentropic", "cases");
    assert_eq!(cases.len(), 6);
    for case in &cases {
        let key = unhex(text(case, "spki_der_hex"));
        assert_eq!(n_index(&key).to_bits(), number(case, "nIndex").to_bits());
        assert_eq!((n_index(&key) * 255.0).floor(), number(case, "mask"));
        assert_eq!(neg_hash(&key), text(case, "negHash"));
        assert_eq!(nonce(&key), text(case, "nonce_b64"));
        let seed: [u8; 32] = unhex(text(case, "seed_hex")).try_into().expect("valid");
        assert_eq!(NegentropicSigner::pkcs8_base64(&seed), text(case, "pkcs8_b64"));
        for signer in [
            NegentropicSigner::from_seed(&seed).expect("valid"),
            NegentropicSigner::from_pkcs8_base64(text(case, "pkcs8_b64")).expect("valid"),
        ] {
            assert_eq!(signer.public_key(), text(case, "publicKey_b64"));
            let client = ClientHandshake::new("1.0.0").tag("device", "alpha").tag("n", 1.5);
            let payload = client.signer(signer.without_salt()).encode(&[], TS, [9; 16]).expect("valid");
            assert_eq!(String::from_utf8(payload.clone()).expect("valid"), text(case, "handshake_json"));
            let handshake = Handshake::parse(&payload).expect("valid");
            assert_eq!(handshake.canonical_unsigned(), text(case, "canonical_unsigned"));
            assert_eq!(handshake.get("signature"), get(case, "signature_b64"));
            let verified = verify(&handshake).expect("valid").expect("valid");
            assert_eq!(verified.public_key, key[12..]);
            assert_eq!(field(case, "verifies"), &Json::Bool(true));
        }
    }
}

#[test]
fn verification_follows_every_case() {
    let cases = fixture("negentropic", "verify_cases");
    assert_eq!(cases.len(), 11);
    for case in &cases {
        let Json::Object(payload) = field(case, "payload").clone() else { panic!("{case:?}") };
        let flag = |key: &str| field(case, key) == &Json::Bool(true);
        let verdict = Handshake::from_object(payload).and_then(|handshake| verify(&handshake));
        let expected = match (flag("looks_negentropic"), flag("verifies")) {
            (true, true) => matches!(verdict, Ok(Some(_))),
            (true, false) => verdict == Err(HandshakeFault::Signature),
            // A negative time fails the schema already, before anybody asks for a signature.
            (false, _) => matches!(verdict, Ok(None) | Err(HandshakeFault::Payload { .. })),
        };
        assert!(expected, "{}: {verdict:?}", text(case, "name"));
    }
}

#[test]
fn whatever_is_merged_is_under_the_signature() {
    let cases = fixture("negentropic", "client_server_merge_effects");
    assert_eq!(cases.len(), 3);
    let deviations = table::deviations("negentropic");
    for (place, case) in cases.iter().enumerate() {
        let name = text(case, "name");
        let signer = NegentropicSigner::from_seed(&[3; 32]).expect("valid");
        let client = ClientHandshake::new("1.0.0").signer(signer);
        let client = if name.contains("handshakeTags option") { client.tag("a", "b") } else { client };
        let payload = client.encode(&[], TS, [0; 16]).expect("valid");
        let accepted = verify(&Handshake::parse(&payload).expect("valid")).expect("valid").is_some();
        assert!(accepted, "{name}");
        let followed = field(case, "accepted") == &Json::Bool(accepted);
        let deviates = deviations.contains_key(&*format!("client_server_merge_effects/{place}"));
        assert_eq!(followed, !deviates, "{name}");
    }
}

#[test]
fn policies_follow_every_case() {
    for key in ["default_without_negIndex", "only_coherence_given"] {
        assert_eq!(policy(EntropyPolicy::derive(None, None)), sorted(field(&whole("entropy-policy"), key)));
    }
    let cases = fixture("entropy-policy", "cases");
    assert_eq!(cases.len(), 19);
    for case in &cases {
        let index = number(case, "negIndex");
        let derived = EntropyPolicy::derive(Some(index), None);
        assert_eq!(derived.mode.name(), text(case, "mode"), "{index}");
        assert_eq!(Coherence::of(index).name(), text(case, "coherence"), "{index}");
        assert_eq!(policy(derived), sorted(field(case, "policy")), "{index}");
        assert_eq!(metrics(EntropyMetrics::compute(index)), sorted(field(case, "metrics")), "{index}");
    }
    let cases = fixture("entropy-policy", "velocity_cases");
    assert_eq!(cases.len(), 13);
    for case in &cases {
        let [previous, current, delta] = ["previous", "current", "deltaMs"].map(|key| number(case, key));
        assert_eq!(EntropyVelocity::between(previous, current, delta).name(), text(case, "velocity"));
        let computed = EntropyMetrics::compute_moving(current, previous, delta);
        assert_eq!(metrics(computed), sorted(field(case, "metrics")), "{case:?}");
    }
    let cases = fixture("entropy-policy", "merge_cases");
    assert_eq!(cases.len(), 5);
    for case in &cases {
        let [local, peer] = ["local", "peer"].map(|key| field(case, key).as_number());
        assert_eq!(
            policy(EntropyPolicy::merged(local, peer, None)),
            sorted(field(case, "policy")),
            "{case:?}"
        );
    }
}

fn policy(policy: EntropyPolicy) -> String {
    let mut object: JsonObject =
        [("mode", policy.mode.name()), ("framing", policy.framing.name()), ("codec", policy.codec.name())]
            .into_iter()
            .collect();
    object.insert("batchSize", policy.batch_size);
    object.insert("requireAck", policy.require_ack);
    object.insert("requireChecksum", policy.require_checksum);
    object.insert("trustLevel", policy.trust_level);
    sorted(&object.into())
}

fn metrics(metrics: EntropyMetrics) -> String {
    let mut object = JsonObject::new();
    object.insert("entropy", metrics.entropy.expect("valid"));
    object.insert("entropyVelocity", metrics.entropy_velocity.expect("valid").name());
    object.insert("coherence", metrics.coherence.expect("valid").name());
    object.insert("negIndex", metrics.neg_index.expect("valid"));
    sorted(&object.into())
}

#[test]
fn histograms_follow_every_case_to_the_bit() {
    let cases = fixture("negentropic-diagnostics", "cases");
    assert_eq!(cases.len(), 5);
    for case in &cases {
        let mut types = MessageTypes::default();
        let names = array(field(case, "types"))
            .iter()
            .map(|name| name.as_string().expect("valid").as_str().expect("valid"));
        for (name, expected) in names.zip(array(field(case, "snapshots"))) {
            assert_eq!(snapshot(&types.record(name)), sorted(expected), "{case:?}");
        }
    }
}

fn snapshot(snapshot: &NegentropicSnapshot) -> String {
    let histogram: JsonObject =
        snapshot.histogram.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    let mut object = JsonObject::new();
    object.insert("histogram", histogram);
    object.insert("entropy", snapshot.entropy);
    object.insert("negentropy", snapshot.negentropy);
    object.insert("neganticIndex", snapshot.negentropy);
    object.insert("entropyVelocity", snapshot.entropy_velocity);
    object.insert("coherence", snapshot.coherence.name());
    object.insert("velocity", snapshot.velocity.name());
    object.insert("sampleCount", snapshot.sample_count);
    sorted(&object.into())
}

#[test]
fn message_types_follow_every_case() {
    let cases = fixture("negentropic-diagnostics", "infer");
    assert_eq!(cases.len(), 12);
    for case in &cases {
        // The inputs are JavaScript source: objects with bare keys and single quotes.
        let source = text(case, "input").replace('\'', "\"");
        let quoted = ["type", "event", "action"].iter().fold(source.clone(), |source, key| {
            source.replace(&format!("{{{key}:"), &format!("{{\"{key}\":"))
        });
        let value;
        let message = match source.as_str() {
            "Buffer" => Typed::Buffer,
            "Uint8Array" => Typed::Bytes,
            "undefined" => Typed::Undefined,
            _ => {
                value = parse_text(&quoted);
                Typed::Value(&value)
            }
        };
        assert_eq!(message_type(message), text(case, "type"), "{}", text(case, "name"));
    }
}

#[test]
fn a_signer_sees_the_moment_it_is_given() {
    let signer = |moment: &SigningMoment| [("ts", moment.unix_ms as f64)].into_iter().collect::<JsonObject>();
    let keys = HandshakeSigner::keys(&signer, &SigningMoment { unix_ms: TS, random: [0; 16] });
    assert_eq!(keys.get("ts"), Some(&Json::Number(TS as f64)));
}

fn whole(file: &str) -> Json {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/fixtures/{file}.json"));
    parse_text(&std::fs::read_to_string(path).expect("the fixture is there"))
}

fn fixture(file: &str, key: &str) -> Vec<Json> {
    array(field(&whole(file), key)).to_vec()
}

fn parse_text(text: &str) -> Json {
    parse(text.as_bytes(), JsonLimits { bytes_max: 1 << 20, depth_max: 32 }).expect("it is JSON")
}

fn get<'a>(value: &'a Json, key: &str) -> Option<&'a Json> {
    value.as_object().expect("an object").get(key)
}

fn field<'a>(value: &'a Json, key: &str) -> &'a Json {
    get(value, key).unwrap_or_else(|| panic!("`{key}` is missing in {value:?}"))
}

fn text<'a>(value: &'a Json, key: &str) -> &'a str {
    field(value, key).as_string().and_then(|text| text.as_str()).expect("a string")
}

fn number(value: &Json, key: &str) -> f64 {
    field(value, key).as_number().expect("a number")
}

fn array(value: &Json) -> &[Json] {
    if let Json::Array(items) = value { items } else { panic!("no array: {value:?}") }
}

/// A text that is equal for equal values, whatever the order of keys.
fn sorted(value: &Json) -> String {
    qwormhole_proto::handshake::json::canonical(value)
}

fn unhex(digits: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex digits");
    (0..digits.len()).step_by(2).map(byte).collect()
}

/// The time of the recorded handshakes.
const TS: u64 = 1_700_000_000_000;
