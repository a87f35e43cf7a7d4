//! Connections on their way in.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| qwormhole_sim::fuzzing::endpoint_ops(data));
