//! A session and the reference decoder on the same bytes.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| qwormhole_sim::fuzzing::differential(data));
