//! A TLS client and server with tampering in between.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| qwormhole_sim::fuzzing::tls_bytes(data));
