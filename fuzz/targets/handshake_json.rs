//! Handshakes of any bytes.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| qwormhole_sim::fuzzing::handshake_json(data));
