//! Single patterns against what real Borg 1.4.5 answers (`testdata/patterns`).

use super::*;

const TABLE: &str = include_str!("../../../../../testdata/patterns/matches.tsv");

fn decode(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digits = std::str::from_utf8(&after[..2]).unwrap();
        out.push(u8::from_str_radix(digits, 16).unwrap());
        rest = &after[2..];
    }
    out
}

fn answer(style: &str, pattern: &[u8], path: &[u8]) -> &'static str {
    let pattern = [style.as_bytes(), b":", pattern].concat();
    let Ok(pattern) = Pattern::parse(&pattern, PatternStyle::Fnmatch) else {
        return "error";
    };
    let rule = Rule {
        pattern,
        command: Command::Exclude,
    };
    match PatternMatcher::for_create(&[rule])
        .unwrap()
        .check(path)
        .included
    {
        true => "no",
        false => "yes",
    }
}

#[test]
fn single_patterns_match_as_in_borg() {
    let mut rows = 0;
    for row in TABLE.lines() {
        let [style, pattern, path, expected] = row.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{row}");
        };
        assert_eq!(
            answer(style, &decode(pattern), &decode(path)),
            expected,
            "{row}"
        );
        rows += 1;
    }
    assert!(rows >= 300);
}
