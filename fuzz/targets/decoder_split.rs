//! The decoder against a plain reference, whatever the split.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| qwormhole_sim::fuzzing::decoder_split(data));
