//! Time per message of every part: `cargo bench -p qwormhole-benches`, or `-- decode` for some of them.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use qwormhole_benches::PARTS;

fn parts(criterion: &mut Criterion) {
    for part in PARTS {
        let (group, load) = part.name.split_once('/').unwrap_or((part.name, "messages"));
        let mut group = criterion.benchmark_group(group);
        group.throughput(Throughput::Elements(part.messages));
        group.bench_function(load, |bencher| bencher.iter((part.prepare)()));
        group.finish();
    }
}

criterion_group!(benches, parts);
criterion_main!(benches);
