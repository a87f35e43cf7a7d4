//! Writes the seed inputs of the fuzzers: `cargo run -p qwormhole-sim --example seed_corpus`.
//!
//! The same inputs come out every time. What a fuzzer finds on top is kept beside them, under the names that
//! libFuzzer gives.

use std::path::Path;
use std::{fs, io};

use fastrand::Rng;
use qwormhole_proto::handshake::{ClientHandshake, NegentropicSigner};

fn main() -> io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    write(&corpus.join("decoder_split"), decoder_split)?;
    write(&corpus.join("connection_ops"), connection_ops)?;
    write(&corpus.join("handshake_json"), handshake_json)?;
    write(&corpus.join("fake_ring_schedule"), decisions)?;
    write(&corpus.join("tls_bytes"), tampering)
}

fn write(folder: &Path, input: fn(&mut Rng) -> Vec<u8>) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for seed in 0..INPUTS {
        fs::write(folder.join(format!("seed-{seed:02}")), input(&mut Rng::with_seed(seed)))?;
    }
    println!("{INPUTS} inputs in {}", folder.display());
    Ok(())
}

/// A limit, some cuts and a stream of frames, every fourth time with a frame above the limit at the end.
fn decoder_split(rng: &mut Rng) -> Vec<u8> {
    let cuts = rng.u8(0..16);
    let mut input = vec![rng.u8(0..7), cuts];
    input.extend((0..usize::from(cuts) * 2).map(|_| rng.u8(..)));
    for _ in 0..rng.usize(0..8) {
        let len = rng.u32(0..40);
        input.extend(len.to_be_bytes());
        input.extend((0..len).map(|_| rng.u8(..)));
    }
    if rng.u8(0..4) == 0 {
        input.extend(rng.u32(..).to_be_bytes());
    }
    input
}

/// A configuration and operations, with the quiet ones (the end of the list) thinned out.
fn connection_ops(rng: &mut Rng) -> Vec<u8> {
    let mut input: Vec<u8> = (0..10).map(|_| rng.u8(..)).collect();
    input.extend((0..rng.usize(20..250)).map(|_| if rng.bool() { rng.u8(0..23) } else { rng.u8(..) }));
    input
}

/// Decisions of a schedule, one a byte; zero is the harmless one, and half of them are.
fn decisions(rng: &mut Rng) -> Vec<u8> {
    (0..rng.usize(50..1000)).map(|_| if rng.bool() { 0 } else { rng.u8(..) }).collect()
}

/// Handshakes, every other one signed, every fourth with a byte changed; keys with all kinds of values.
fn handshake_json(rng: &mut Rng) -> Vec<u8> {
    const KEYS: &[&str] = &[
        r#""sid":"s""#,
        r#""caps":{"ack":true,"x":[1,"2",{"y":false}]}"#,
        r#""nv":{"hash":"h","entropy":0.5,"vector":[1,-2e3]}"#,
        r#""nv":"v""#,
        r#""ts":1700000000000"#,
        r#""tags":{"2":1,"b":"\ud83c\udf0d","10":-0.5,"tlsFingerprint256":"AA"}"#,
        r#""nIndex":0.9"#,
        r#""entropyMetrics":{"entropy":0.8,"entropyVelocity":"low","coherence":"high","negIndex":0.9}"#,
        r#""x":[null,1e999,"\ud800","é"]"#,
        r#""x":{"a":[[[[]]]]}"#,
        r#""version":"2""#,
    ];
    let mut payload = if rng.bool() {
        let client = ClientHandshake::new("1.0.0").tag("a", rng.u32(..)).tag("10", "b").ask_ack();
        let signer = NegentropicSigner::from_seed(&[rng.u8(..); 32]).expect("any seed is a key");
        client.signer(signer).encode(&[], 1_700_000_000_000, [rng.u8(..); 16]).expect("a valid handshake")
    } else {
        let keys: String =
            (0..rng.u8(0..6)).map(|_| format!(",{}", KEYS[rng.usize(0..KEYS.len())])).collect();
        format!("{{\"type\":\"handshake\"{keys}}}").into_bytes()
    };
    if rng.u8(0..4) == 0 {
        let at = rng.usize(0..payload.len());
        payload[at] = rng.u8(..);
    }
    payload
}

/// A configuration, then a handshake that gets through, data, and in most inputs a change to it.
fn tampering(rng: &mut Rng) -> Vec<u8> {
    let mut input = vec![rng.u8(..)];
    for _ in 0..6 {
        // Both ends receive all there is: a length of 4,095 in two bytes.
        input.extend([0, 0xef, 0xff, 1, 0xef, 0xff]);
    }
    for _ in 0..rng.usize(0..8) {
        input.extend([8 + rng.u8(0..2), rng.u8(0..15), rng.u8(0..2), rng.u8(0..128), rng.u8(..)]);
    }
    input.extend((0..rng.usize(0..60)).map(|_| rng.u8(..)));
    input
}

const INPUTS: u64 = 24;
