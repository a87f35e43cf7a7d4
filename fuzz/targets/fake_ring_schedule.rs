//! A shard of the engine over a scripted ring.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| qwormhole_engine::schedule::fake_ring_schedule(data));
