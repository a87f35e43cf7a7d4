//! Must fail: a fuzzer that does not find this within seconds would not find anything.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if data.len() > 4 && data[0] == b'q' && data[1] == b'w' && data[2] == b'o' && data[3] == b'r' {
        panic!("the canary is found");
    }
});
