//! Payloads written by real Borg, the writer's rules, and payloads made to do harm.

use data_encoding::HEXLOWER;
use proptest::prelude::*;
use serde_json::Value as Json;

use super::*;

const KNOWN: &str = include_str!("../../../../testdata/compression/payloads.json");
const ALL: [&str; 12] = [
    "none",
    "lz4",
    "zlib,0",
    "zlib,6",
    "zlib,9",
    "lzma,0",
    "zstd,1",
    "zstd,3",
    "auto,zstd,3",
    "auto,lzma,6",
    "obfuscate,2,lz4",
    "obfuscate,250,auto,zlib,6",
];

fn compressed(spec: &str, data: &[u8], random: f64) -> Vec<u8> {
    let mut out = Vec::new();
    Compressor::new(&spec.parse().unwrap()).compress(data, &mut out, random);
    out
}

fn plain(payload: &[u8], limit: usize) -> Result<Vec<u8>, DecompressError> {
    let mut out = b"left from before".to_vec();
    decompress(payload, limit, &mut out).map(|()| out)
}

fn unhex(value: &Json) -> Vec<u8> {
    HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

#[test]
fn payloads_of_real_borg_decompress_and_ours_have_the_same_method() {
    let known: Json = serde_json::from_str(KNOWN).unwrap();
    let mut decompressor = Decompressor::new();
    let mut out = Vec::new();
    let entries = known["payloads"].as_array().unwrap();
    assert!(entries.len() > 60);
    for entry in entries {
        let spec = entry["spec"].as_str().unwrap();
        let sample = &known["samples"][entry["sample"].as_str().unwrap()];
        let (data, payload) = (unhex(sample), unhex(&entry["payload"]));
        for size in [None, Some(data.len())] {
            decompressor
                .decompress(&payload, size, data.len(), &mut out)
                .unwrap();
            assert_eq!(out, data, "{entry}");
        }
        let Ok(parsed) = spec.parse::<CompressionSpec>() else {
            continue;
        };
        assert_eq!(parsed.to_string(), spec);
        let ours = compressed(spec, &data, 0.5);
        assert_eq!(Method::detect(&ours), Method::detect(&payload), "{entry}");
        if spec.starts_with("zstd") || spec.starts_with("lzma") || spec == "none" {
            assert_eq!(ours, payload, "{entry}");
        }
    }
}

#[test]
fn every_method_reads_back_what_it_wrote() {
    let text: Vec<u8> = (0..70_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
    for spec in ALL {
        let mut compressor = Compressor::new(&spec.parse().unwrap());
        for len in [0, 1, 100, 4096, 65_534, 65_535, 65_536, 280_000] {
            let data = &text[..len];
            let mut out = b"head".to_vec();
            compressor.compress(data, &mut out, 0.25);
            assert!(out.starts_with(b"head"), "appended");
            assert_eq!(plain(&out[4..], len).unwrap(), data, "{spec} {len}");
        }
    }
}

#[test]
fn data_that_cannot_be_compressed_is_stored_as_it_is() {
    let noise: Vec<u8> = (0..5000u64)
        .map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
        .scan(1u64, |state, byte| {
            *state = state.wrapping_mul(6_364_136_223_846_793_005) + 1 + u64::from(byte);
            Some((*state >> 40) as u8)
        })
        .collect();
    for spec in ["lz4", "lzma", "zstd", "auto,zstd,19"] {
        let payload = compressed(spec, &noise, 0.0);
        assert_eq!(payload.len(), noise.len() + 2, "{spec}");
        assert_eq!(Method::detect(&payload), Some(Method::None));
    }
    assert_eq!(
        Method::detect(&compressed("zlib", &noise, 0.0)),
        Some(Method::Zlib)
    );
}

#[test]
fn padding_has_the_size_that_was_asked_for() {
    let data = [7; 3000];
    let inner = compressed("none", &data, 0.0).len();
    for (spec, random, padding) in [
        ("obfuscate,1,none", 0.5, inner * 2 / 100),
        ("obfuscate,3,none", 0.5, inner * 2),
        ("obfuscate,1,none", 0.0, inner * 100),
        ("obfuscate,110,none", 0.5, 512),
        ("obfuscate,123,none", 0.25, 1 << 21),
        ("obfuscate,250,none", 0.9, 3072 - inner),
        // Never longer than an object may be.
        ("obfuscate,6,none", 0.0, 20_971_479 - 1024 - inner),
    ] {
        let payload = compressed(spec, &data, random);
        assert_eq!(payload.len(), 6 + inner + padding, "{spec} {random}");
        assert_eq!(plain(&payload, 3000).unwrap(), data);
    }
}

#[test]
fn specifications_are_read_as_borg_reads_them() {
    for (text, shown) in [
        ("none,1", "none"),
        ("lz4,5", "lz4"),
        ("zlib", "zlib,6"),
        ("zlib, 5", "zlib,5"),
        ("lzma", "lzma,6"),
        ("zstd", "zstd,3"),
        ("auto,auto,lz4", "auto,auto,lz4"),
        (
            "obfuscate,110,obfuscate,1,none",
            "obfuscate,110,obfuscate,1,none",
        ),
        ("obfuscate,250,auto,zstd,3", "obfuscate,250,auto,zstd,3"),
    ] {
        assert_eq!(text.parse::<CompressionSpec>().unwrap().to_string(), shown);
    }
    for text in [
        "",
        "LZ4",
        " lz4",
        "zlib,10",
        "zlib,-1",
        "zlib,",
        "zlib,1,2",
        "zstd,0",
        "zstd,23",
        "auto",
        "auto,zstd,3,4",
        "auto,obfuscate,1,lz4",
        "obfuscate,1",
        "obfuscate,7,lz4",
        "obfuscate,x,lz4",
    ] {
        assert!(text.parse::<CompressionSpec>().is_err(), "{text:?}");
    }
    assert_eq!(CompressionSpec::default(), CompressionSpec::Lz4);
}

#[test]
fn more_data_than_the_limit_is_refused_whatever_the_method() {
    let data = vec![0; 3_000_000];
    for spec in ALL {
        let payload = compressed(spec, &data, 0.5);
        for limit in [0, 1, 1000, 2_999_999] {
            let mut out = Vec::new();
            let result = decompress(&payload, limit, &mut out);
            assert_eq!(result, Err(DecompressError::TooLarge { limit }), "{spec}");
            assert!(out.is_empty());
            assert!(out.capacity() <= limit.max(7) + 1, "{spec} {limit}");
        }
        assert!(plain(&payload, 3_000_000).is_ok(), "{spec}");
    }
}

#[test]
fn a_payload_that_claims_to_be_huge_allocates_nothing() {
    // zstd: 1 EiB in the header; lz4: match lengths of 255 without end; obfuscate: 4 GiB.
    let zstd = [
        &[3, 0, 0x28, 0xb5, 0x2f, 0xfd, 0xe0][..],
        &(1u64 << 60).to_le_bytes(),
        &[1, 0, 0],
    ]
    .concat();
    let lz4 = [&[1, 0, 0x1f, 0, 1, 0][..], &[255; 100_000], &[0, 0]].concat();
    let obfuscate = [4, 0, 0xff, 0xff, 0xff, 0xff, 0, 0];
    for payload in [&zstd[..], &lz4, &obfuscate] {
        let mut out = Vec::new();
        assert!(decompress(payload, 1 << 20, &mut out).is_err());
        assert_eq!(out.capacity(), 0);
    }
    let unknown_size = [3, 0, 0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58, 1, 0, 0];
    assert!(matches!(
        plain(&unknown_size, 100),
        Err(DecompressError::Corrupt { method: "zstd", .. })
    ));
}

#[test]
fn nesting_without_end_is_refused() {
    let mut payload = vec![0, 0, b'x'];
    for depth in 1..10 {
        let mut outer = vec![4, 0];
        outer.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        outer.append(&mut payload);
        payload = outer;
        assert_eq!(plain(&payload, 10).is_ok(), depth <= MAX_NESTING);
    }
}

#[test]
fn the_length_is_announced_and_never_by_a_part_of_the_payload() {
    let mut data = vec![0; 700];
    data.extend((0..3000u32).map(|at| (at * at / 7 % 251) as u8));
    data.extend_from_within(100..2000);
    for spec in ["lz4", "zstd,3", "none"] {
        let payload = compressed(spec, &data, 0.0);
        assert_eq!(announced_len(&payload), Some(data.len()), "{spec}");
    }
    let payload = compressed("lz4", &data, 0.0);
    for end in 0..payload.len() {
        let announced = announced_len(payload.get(..end).unwrap());
        assert!(announced.is_none_or(|len| len < data.len()), "{end}");
    }
}

#[test]
fn a_wrong_known_size_is_an_error_and_leaves_nothing() {
    let data = [b'a'; 500];
    for spec in ALL {
        let payload = compressed(spec, &data, 0.5);
        let mut out = Vec::new();
        let mut decompressor = Decompressor::new();
        for size in [0, 1, 499, 501, 5000] {
            let result = decompressor.decompress(&payload, Some(size), 10_000, &mut out);
            assert!(result.is_err(), "{spec} {size}");
            assert!(out.is_empty());
        }
        decompressor
            .decompress(&payload, Some(500), 500, &mut out)
            .unwrap();
        assert_eq!(out, data);
    }
}

proptest! {
    #[test]
    fn arbitrary_payloads_neither_panic_nor_pass_the_limit(
        method in 0usize..7,
        rest in proptest::collection::vec(any::<u8>(), 0..300),
        size in proptest::option::of(0usize..5000),
    ) {
        let heads = [
            &[0u8, 0][..], &[1, 0], &[2, 0, 0xfd, 0x37, 0x7a, 0x58, 0x5a, 0],
            &[3, 0, 0x28, 0xb5, 0x2f, 0xfd], &[4, 0, 0, 0, 0], &[0x78, 0x9c], &[9, 9],
        ];
        let payload = [heads[method], &rest].concat();
        let mut out = Vec::new();
        let result = Decompressor::new().decompress(&payload, size, 4000, &mut out);
        prop_assert!(out.len() <= 4000);
        prop_assert!(result.is_ok() || out.is_empty());
    }

    #[test]
    fn a_damaged_payload_never_panics(
        spec in 0usize..ALL.len(),
        at in 0usize..2000,
        bit in 0u8..8,
    ) {
        let data: Vec<u8> = (0..2000u32).map(|n| (n / 5) as u8).collect();
        let mut payload = compressed(ALL[spec], &data, 0.5);
        let at = at % payload.len();
        payload[at] ^= 1 << bit;
        let mut out = Vec::new();
        let _ = decompress(&payload, 2000, &mut out);
        prop_assert!(out.len() <= 2000);
    }
}
