//! The fuzzer's corpus of schedules on the stable toolchain; needs the feature `fake-ring`.

#![cfg(all(target_os = "linux", feature = "fake-ring"))]
#![forbid(unsafe_code)]

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use qwormhole_engine::schedule::fake_ring_schedule;

#[test]
fn no_schedule_of_the_corpus_breaks_a_rule() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/fake_ring_schedule");
    let mut inputs = 0;
    for entry in fs::read_dir(corpus).expect("the corpus is there") {
        let path = entry.expect("a readable entry").path();
        let data = fs::read(&path).expect("a readable input");
        assert!(catch_unwind(|| fake_ring_schedule(&data)).is_ok(), "{} breaks a rule", path.display());
        inputs += 1;
    }
    assert!(inputs >= 10, "the corpus has {inputs} inputs");
}
