//! Kernels of the data path: ids, seals, opens and compression, per mode and size of chunk.
//!
//! Compare with the ceilings of one core: BLAKE2b about 0.93 GB/s for one input and 2 GB/s for
//! four, HMAC-SHA256 1.5, AES-CTR 4.9, lz4 0.7.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use fastness_format::compress::{CompressionSpec, Compressor, Decompressor};
use fastness_format::crypto::{Crypto, KeyMaterial, KeyType, Sealed};
use fastness_format::id::RepositoryId;

const SIZES: [(usize, usize); 2] = [(4, 2 << 20), (64, 4096)];

fn crypto(key_type: KeyType) -> Crypto {
    let random: [u8; KeyMaterial::RANDOM_BYTES] = std::array::from_fn(|n| (n * 7 + 1) as u8);
    let repository_id = RepositoryId::new([3; 32]);
    Crypto::new(
        key_type,
        KeyMaterial::generate(key_type, repository_id, &random),
    )
}

/// Text of pseudo-random words: compresses about as well as source code does.
fn text(len: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    let words: Vec<Vec<u8>> = (0..4000)
        .map(|_| {
            (0..3 + next() % 8)
                .map(|_| b'a' + (next() % 26) as u8)
                .collect()
        })
        .collect();
    let mut out = Vec::with_capacity(len + 16);
    while out.len() < len {
        // A quarter of the words comes from a small set, as in real text.
        let word = next() % if next() % 4 == 0 { 30 } else { words.len() };
        out.extend(words.get(word).into_iter().flatten());
        out.push(b' ');
    }
    out.truncate(len);
    out
}

fn ids(criterion: &mut Criterion) {
    for key_type in [KeyType::RepokeyBlake2, KeyType::Repokey] {
        let crypto = crypto(key_type);
        for (count, len) in SIZES {
            let data: Vec<Vec<u8>> = (0..count).map(|_| text(len)).collect();
            let inputs: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
            let mut group = criterion.benchmark_group(format!("id/{}", key_type.argument()));
            group.throughput(Throughput::Bytes((count * len) as u64));
            group.bench_function(format!("one by one, {len}"), |bencher| {
                bencher.iter(|| {
                    inputs
                        .iter()
                        .map(|data| crypto.id(data))
                        .collect::<Vec<_>>()
                });
            });
            group.bench_function(format!("{count} at once, {len}"), |bencher| {
                let mut out = Vec::new();
                bencher.iter(|| {
                    out.clear();
                    crypto.ids(&inputs, &mut out);
                    black_box(out.last().copied())
                });
            });
        }
    }
}

fn envelope(criterion: &mut Criterion) {
    for key_type in [KeyType::RepokeyBlake2, KeyType::Repokey] {
        let crypto = crypto(key_type);
        for (count, len) in SIZES {
            let mut group = criterion.benchmark_group(format!("seal/{}", key_type.argument()));
            group.throughput(Throughput::Bytes((count * len) as u64));
            group.bench_function(format!("{count} at once, {len}"), |bencher| {
                let mut buffers: Vec<(Vec<u8>, u64)> =
                    (0..count).map(|n| (vec![n as u8; len], n as u64)).collect();
                bencher.iter(|| {
                    let sealed = crypto.seal_many(std::mem::take(&mut buffers));
                    buffers = sealed.into_iter().map(|s| (s.into_vec(), 7)).collect();
                });
            });
            let stored: Vec<Vec<u8>> = (0..count)
                .map(|n| crypto.seal(vec![n as u8; len], n as u64))
                .map(Sealed::into_vec)
                .collect();
            group.bench_function(format!("open {count} at once, {len}"), |bencher| {
                bencher.iter_batched_ref(
                    || stored.clone(),
                    |stored| black_box(crypto.open_many(stored).len()),
                    BatchSize::LargeInput,
                );
            });
            group.bench_function(format!("open one by one, {len}"), |bencher| {
                let mut payload = Vec::new();
                bencher.iter(|| {
                    for object in &stored {
                        crypto
                            .open_into(object, &mut payload)
                            .expect("sealed above");
                    }
                    black_box(payload.last().copied())
                });
            });
        }
    }
}

fn compression(criterion: &mut Criterion) {
    for spec in ["lz4", "zstd,3"] {
        let parsed: CompressionSpec = spec.parse().expect("a specification");
        for (_, len) in SIZES {
            let data = text(len);
            let mut compressor = Compressor::new(&parsed);
            let mut out = Vec::new();
            let mut group = criterion.benchmark_group(format!("compress/{spec}"));
            group.throughput(Throughput::Bytes(len as u64));
            group.bench_function(len.to_string(), |bencher| {
                bencher.iter(|| {
                    out.clear();
                    compressor.compress(&data, &mut out, 0.0);
                    black_box(out.len())
                });
            });
            println!("{spec} {len}: ratio {:.3}", out.len() as f64 / len as f64);
            let mut decompressor = Decompressor::new();
            let mut plain = Vec::new();
            for (name, size) in [("size known", Some(len)), ("size unknown", None)] {
                group.bench_function(format!("back, {name}, {len}"), |bencher| {
                    bencher.iter(|| {
                        decompressor
                            .decompress(&out, size, 1 << 24, &mut plain)
                            .expect("compressed above");
                        black_box(plain.len())
                    });
                });
            }
        }
    }
}

criterion_group!(benches, ids, envelope, compression);
criterion_main!(benches);
