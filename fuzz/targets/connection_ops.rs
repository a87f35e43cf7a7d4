//! A session under an arbitrary sequence of events.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| qwormhole_sim::fuzzing::connection_ops(data));
