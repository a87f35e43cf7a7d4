//! The fuzzers' functions on the stable toolchain: their corpora, and random inputs from printed seeds.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

use fastrand::Rng;
use qwormhole_sim::fuzzing;

/// Replays the corpus of `target`, then as many random inputs as `seeds` says. `QWORMHOLE_SIM_SEED=n` runs the input of
/// one seed only.
fn replay(target: &str, run: fn(&[u8]), seeds: u64) {
    if let Ok(seed) = std::env::var("QWORMHOLE_SIM_SEED") {
        return run_seed(target, run, seed.parse().expect("QWORMHOLE_SIM_SEED is a number"));
    }
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut inputs = 0;
    for entry in std::fs::read_dir(&corpus).expect("the corpus is there") {
        let path = entry.expect("a readable entry").path();
        let data = std::fs::read(&path).expect("a readable input");
        attempt(&format!("{} failed", path.display()), || run(&data));
        inputs += 1;
    }
    assert!(inputs >= 10, "the corpus of {target} has {inputs} inputs");
    let seeds =
        std::env::var("QWORMHOLE_SIM_SEEDS").ok().map_or(seeds, |text| text.parse().expect("a number"));
    for seed in 0..seeds {
        run_seed(target, run, seed);
    }
}

fn run_seed(target: &str, run: fn(&[u8]), seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let mut data = vec![0; rng.usize(0..1500)];
    rng.fill(&mut data);
    let replay = format!("QWORMHOLE_SIM_SEED={seed} cargo test --test simulation fuzzing::{target}");
    attempt(&format!("seed {seed} failed; replay: {replay}"), || run(&data));
}

fn attempt(what: &str, run: impl Fn()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
        eprintln!("{what}");
        resume_unwind(panic);
    }
}

#[test]
fn decoder_split() {
    replay("decoder_split", fuzzing::decoder_split, SEEDS);
}

#[test]
fn connection_ops() {
    replay("connection_ops", fuzzing::connection_ops, SEEDS);
}

/// Fewer, because every input makes two handshakes' keys.
#[test]
fn tls_bytes() {
    replay("tls_bytes", fuzzing::tls_bytes, SEEDS / 10);
}

#[test]
fn endpoint_ops() {
    replay("endpoint_ops", fuzzing::endpoint_ops, SEEDS / 10);
}

#[test]
fn differential() {
    replay("differential", fuzzing::differential, SEEDS / 10);
}

#[test]
fn handshake_json() {
    replay("handshake_json", fuzzing::handshake_json, 2_000);
}

const SEEDS: u64 = 20_000;
