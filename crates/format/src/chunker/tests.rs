//! The chunkers against vectors of the real ones, against a plain implementation of the
//! definition, and their parameters.

use super::*;
use crate::chunker::fixed::Fixed;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

/// The definition, hashing every window from scratch.
struct Plain {
    table: [u32; 256],
    min: usize,
    max: usize,
    mask: u32,
    window: usize,
}

impl Plain {
    fn new(min_exp: u8, max_exp: u8, mask_bits: u8, window: u32, seed: u32) -> Self {
        Self {
            table: table::BASE.map(|number| number ^ seed),
            min: 1 << min_exp,
            max: 1 << max_exp,
            mask: (1 << mask_bits) - 1,
            window: window as usize,
        }
    }

    fn hash(&self, window: &[u8]) -> u32 {
        window.iter().fold(0, |hash: u32, byte| {
            hash.rotate_left(1) ^ self.table[usize::from(*byte)]
        })
    }

    fn cut(&self, data: &[u8]) -> usize {
        let limit = data.len().min(self.max);
        (self.min..)
            .take_while(|p| p + self.window < limit)
            .find(|p| self.hash(&data[*p..p + self.window]) & self.mask == 0)
            .unwrap_or(limit)
    }

    fn cuts(&self, data: &[u8]) -> Vec<usize> {
        let mut cuts = Vec::new();
        let mut at = 0;
        while at < data.len() {
            at += self.cut(&data[at..]);
            cuts.push(at);
        }
        cuts
    }
}

/// Cuts with data arriving in pieces, each as long as the next number says.
fn cuts(chunker: &Buzhash, data: &[u8], pieces: &[usize]) -> Vec<usize> {
    let mut cuts = Vec::new();
    let mut scan = Scan::default();
    let (mut start, mut end) = (0, 0);
    let mut pieces = pieces.iter().cycle();
    loop {
        match chunker.next_cut(&mut scan, &data[start..end], end == data.len()) {
            Some(len) => {
                start += len;
                cuts.push(start);
            }
            None if end == data.len() => return cuts,
            None => end = (end + pieces.next().unwrap()).min(data.len()),
        }
    }
}

fn input(recipe: &serde_json::Value) -> Vec<u8> {
    let mut data = Vec::new();
    for part in recipe.as_array().unwrap() {
        let number = |at: usize| part[at].as_u64().unwrap() as usize;
        let end = data.len();
        match part[0].as_str().unwrap() {
            "zero" => data.resize(end + number(1), 0),
            "byte" => data.resize(end + number(2), number(1) as u8),
            "rep" => {
                let text = part[1].as_str().unwrap().bytes().cycle();
                data.extend(text.take(number(2)));
            }
            _ => {
                for counter in 0u64.. {
                    if data.len() >= end + number(2) {
                        break;
                    }
                    let seed = part[1].as_str().unwrap().as_bytes();
                    data.extend(Sha256::digest([seed, &counter.to_be_bytes()].concat()));
                }
                data.truncate(end + number(2));
            }
        }
    }
    data
}

#[test]
fn cuts_are_those_of_the_real_chunkers() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../testdata/chunker/chunk-vectors.json"
    );
    let text = std::fs::read_to_string(path).unwrap();
    let vectors: serde_json::Value = serde_json::from_str(&text).unwrap();
    for vector in vectors["vectors"].as_array().unwrap() {
        let name = &vector["name"];
        let data = input(&vector["input"]);
        assert_eq!(vector["length"], data.len(), "{name}");
        let numbers = vector["params"].as_array().unwrap().iter();
        let text: Vec<String> = numbers.map(|p| p.to_string().replace('"', "")).collect();
        let params: ChunkerParams = text.join(",").parse().unwrap();
        let seed = vector["seed"].as_i64().unwrap() as i32 as u32;
        let ours = match params {
            ChunkerParams::Buzhash {
                min_exp,
                max_exp,
                mask_bits,
                window,
            } => {
                let chunker = Buzhash::new(min_exp, max_exp, mask_bits, window, seed);
                let whole = cuts(&chunker, &data, &[data.len().max(1)]);
                assert_eq!(cuts(&chunker, &data, &[65_537]), whole, "{name}");
                if data.len() < 1_000_000 {
                    assert_eq!(cuts(&chunker, &data, &[1000, 1]), whole, "{name}");
                }
                whole
            }
            ChunkerParams::Fixed {
                block_size,
                header_size,
            } => {
                let fixed = Fixed::new(block_size, header_size);
                let ranges = fixed.ranges(data.len() as u64, None);
                let ends = fixed
                    .blocks(&ranges)
                    .map(|block| block.start + u64::from(block.len));
                ends.map(|end| end as usize).collect()
            }
        };
        let expected: Vec<usize> = vector["cuts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|cut| cut.as_u64().unwrap() as usize)
            .collect();
        assert_eq!(ours, expected, "{name}");
        let mut start = 0;
        let kinds = vector["kinds"].as_array().map_or_else(
            || vector["kinds"].as_str().unwrap().to_owned(),
            |kinds| kinds.iter().filter_map(|kind| kind.as_str()).collect(),
        );
        for (end, kind) in expected.iter().zip(kinds.chars()) {
            assert_eq!(is_zero(&data[start..*end]), kind == 'z', "{name}");
            start = *end;
        }
    }
}

/// Data with repetitions, zeros and noise, so that cuts fall everywhere.
fn any_data() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        (0usize..3000).prop_map(|len| vec![0; len]),
        (any::<u8>(), 0usize..500).prop_map(|(byte, len)| vec![byte; len]),
        (any::<u8>(), 16_000usize..50_000).prop_map(|(byte, len)| vec![byte; len]),
        (any::<u64>(), 0usize..60_000).prop_map(|(seed, len)| noise(seed, len)),
    ];
    proptest::collection::vec(part, 0..5).prop_map(|parts| parts.concat())
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| next()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn cuts_follow_the_definition_however_the_data_arrive(
        data in any_data(),
        (min_exp, bits, extra) in (6u8..12, 0u8..4, 1u8..4),
        window in 0u32..80, seed in any::<u32>(),
        pieces in proptest::collection::vec(1usize..30_000, 1..6),
    ) {
        let (mask_bits, max_exp) = (min_exp + bits, min_exp + bits + extra);
        let window = (window * 2 + 1).min((1 << max_exp) - (1 << min_exp) - 1) | 1;
        let plain = Plain::new(min_exp, max_exp, mask_bits, window, seed);
        let chunker = Buzhash::new(min_exp, max_exp, mask_bits, window, seed);
        let expected = plain.cuts(&data);
        prop_assert_eq!(&cuts(&chunker, &data, &[data.len().max(1)]), &expected);
        prop_assert_eq!(&cuts(&chunker, &data, &pieces), &expected);
    }

    #[test]
    fn zeros_are_recognised_wherever_they_end(len in 0usize..2000, at in 0usize..2000) {
        let mut data = vec![0; len];
        prop_assert!(is_zero(&data));
        if let Some(byte) = data.get_mut(at) {
            *byte = 1;
            prop_assert!(!is_zero(&data));
        }
    }

    #[test]
    fn parameters_read_back_from_text_and_archives(
        min_exp in 6u8..23, bits in 0u8..9, extra in 0u8..9, window in 0u32..5000,
        block_size in MIN_BLOCK..MAX_BLOCK, header_size in 0..MAX_BLOCK,
    ) {
        let buzhash = ChunkerParams::Buzhash {
            min_exp, mask_bits: min_exp + bits, max_exp: min_exp + bits + extra, window,
        };
        let fixed = ChunkerParams::Fixed { block_size, header_size };
        for params in [buzhash, fixed] {
            prop_assert_eq!(ChunkerParams::from_value(&params.to_value()), Some(params));
            match params.validated() {
                Ok(_) => prop_assert_eq!(params.to_string().parse(), Ok(params)),
                Err(_) => prop_assert!(params.to_string().parse::<ChunkerParams>().is_err()),
            }
        }
    }
}

#[test]
fn the_old_form_without_name_is_buzhash() {
    let old = Value::Array([19, 23, 21, 4095].map(Value::Int).to_vec());
    assert_eq!(ChunkerParams::from_value(&old), Some(ChunkerParams::FILES));
    assert_eq!("19,23,21,4095".parse(), Ok(ChunkerParams::FILES));
    assert_eq!("default".parse(), Ok(ChunkerParams::FILES));
    assert_eq!("Buzhash,15,19,17,4095".parse(), Ok(ChunkerParams::ITEMS));
}

#[test]
fn fixed_takes_an_optional_header() {
    let params = |header_size| ChunkerParams::Fixed {
        block_size: 4096,
        header_size,
    };
    assert_eq!("fixed,4096".parse(), Ok(params(0)));
    assert_eq!("fixed,4096,512".parse(), Ok(params(512)));
}

#[test]
fn parameters_that_make_no_sense_are_refused() {
    for text in [
        "",
        "fixed",
        "fixed,1,2,3",
        "buzhash",
        "buzhash,19,23,21",
        "19,23,21",
        "fast,19,23,21,4095",
        "fixed,-1",
        "19,23,21,4095,7",
        "19,23,21,x",
    ] {
        let error = text.parse::<ChunkerParams>().unwrap_err();
        assert!(matches!(error, ChunkerParamsError::Syntax(_)), "{text}");
    }
    for text in [
        "19,23,21,4094",
        "5,23,21,4095",
        "19,24,21,4095",
        "19,23,18,4095",
        "19,20,21,4095",
        "10,12,11,4095",
        "fixed,63",
        "fixed,20971480",
        "fixed,4096,20971480",
    ] {
        let error = text.parse::<ChunkerParams>().unwrap_err();
        assert!(matches!(error, ChunkerParamsError::Range { .. }), "{text}");
    }
}
