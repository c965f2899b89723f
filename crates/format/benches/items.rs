//! Items per second, encoded and decoded.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fastness_format::id::ChunkId;
use fastness_format::item::{ChunkRef, Item, ItemDecoder};
use std::hint::black_box;

const ITEMS: u32 = 20_000;

fn item(number: u32) -> Item {
    let mut id = [0x5a; 32];
    id.iter_mut()
        .zip(number.to_le_bytes())
        .for_each(|(to, from)| *to = from);
    let chunk = ChunkRef {
        id: ChunkId::new(id),
        size: 4000 + number % 100,
        csize: 3000,
    };
    Item {
        path: format!(
            "home/user/projects/directory-{}/file-{number}.txt",
            number / 50
        )
        .into_bytes(),
        mode: 0o100_644,
        uid: Some(1000),
        gid: Some(1000),
        user: Some(b"user".to_vec()),
        group: Some(b"user".to_vec()),
        mtime: Some(1_700_000_000_123_456_789),
        ctime: Some(1_700_000_000_123_456_789),
        size: Some(4000),
        chunks: Some(vec![chunk]),
        hardlink_master: Some(false),
        ..Item::default()
    }
}

fn items(criterion: &mut Criterion) {
    let items: Vec<Item> = (0..ITEMS).map(item).collect();
    let mut stream = Vec::new();
    items.iter().for_each(|item| item.encode(&mut stream));
    let mut group = criterion.benchmark_group("items");
    group.sample_size(20);
    group.throughput(Throughput::Elements(ITEMS.into()));
    group.bench_function("encode", |bench| {
        let mut out = Vec::new();
        bench.iter(|| {
            out.clear();
            items.iter().for_each(|item| item.encode(&mut out));
            black_box(out.len())
        });
    });
    group.bench_function("decode views", |bench| {
        bench.iter(|| {
            let mut decoder = ItemDecoder::new();
            let mut chunks = 0;
            for piece in stream.chunks(128 * 1024) {
                decoder.feed(piece);
                while let Some(Ok(item)) = decoder.next_ref() {
                    chunks += item.chunks.into_iter().flatten().count();
                }
            }
            black_box(chunks)
        });
    });
    group.bench_function("decode values", |bench| {
        bench.iter(|| {
            let mut decoder = ItemDecoder::new();
            let mut sum = 0;
            for piece in stream.chunks(128 * 1024) {
                decoder.feed(piece);
                sum += decoder
                    .by_ref()
                    .flatten()
                    .filter(|item| item.size.is_some())
                    .count();
            }
            black_box(sum)
        });
    });
    group.finish();
}

criterion_group!(benches, items);
criterion_main!(benches);
