//! Bytes per second of the chunkers' inner loops.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fastness_format::chunker::{Buzhash, Scan, is_zero};
use std::hint::black_box;

fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

fn cut_all(chunker: &Buzhash, scan: &mut Scan, data: &[u8]) -> usize {
    scan.reset();
    let mut rest = data;
    let mut chunks = 0;
    while let Some(cut) = chunker.next_cut(scan, rest, true) {
        rest = rest.get(cut..).unwrap_or_default();
        chunks += 1;
    }
    chunks
}

fn chunkers(criterion: &mut Criterion) {
    let data = noise(64 << 20);
    let zeros = vec![0; 16 << 20];
    let mut group = criterion.benchmark_group("chunker");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(data.len() as u64));
    let mut scan = Scan::default();
    for (name, [min, max, bits]) in [("files", [19, 23, 21]), ("items", [15, 19, 17])] {
        let chunker = Buzhash::new(min, max, bits, 4095, 7);
        group.bench_function(name, |bench| {
            bench.iter(|| black_box(cut_all(&chunker, &mut scan, &data)));
        });
    }
    // No bytes are skipped and no cut is found: the bare hash.
    let bare = Buzhash::new(6, 30, 31, 4095, 7);
    group.bench_function("every byte", |bench| {
        bench.iter(|| black_box(cut_all(&bare, &mut scan, &data)));
    });
    group.throughput(Throughput::Bytes(zeros.len() as u64));
    group.bench_function("is_zero", |bench| bench.iter(|| is_zero(black_box(&zeros))));
    group.finish();
}

criterion_group!(benches, chunkers);
criterion_main!(benches);
