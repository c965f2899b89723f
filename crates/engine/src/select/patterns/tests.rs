//! Rules of precedence here; single patterns against real Borg's answers in `testdata/patterns`.

use super::*;
use crate::select::pattern_file::Selection;

fn rules(lines: &[&str]) -> Vec<Rule> {
    let mut selection = Selection::default();
    for line in lines {
        selection.add_pattern(line.as_bytes()).unwrap();
    }
    selection.rules
}

fn verdict(included: bool, recurse: bool) -> Verdict {
    Verdict { included, recurse }
}

#[test]
fn the_first_matching_rule_decides() {
    let rules = rules(&[
        "+ home/*/keep",
        "- home/*",
        "! tmp",
        "+ tmp/x",
        "- re:\\.o$",
        "+ **/*.o",
    ]);
    let matcher = PatternMatcher::for_create(&rules).unwrap();
    for (path, expected) in [
        ("/home/a/keep/x", verdict(true, true)),
        ("home/a/b", verdict(false, true)),
        ("home", verdict(true, true)),
        ("tmp/x", verdict(false, false)),
        ("src/a.o", verdict(false, true)),
        ("src/a.o/b", verdict(true, true)),
    ] {
        assert_eq!(matcher.check(path.as_bytes()), expected, "{path}");
    }
}

#[test]
fn full_paths_come_first_and_the_last_of_them_wins() {
    let rules = rules(&["- a", "+ pf:/a/b", "! pf:a/c", "+ pf:a/c", "- pf:a/./d"]);
    let matcher = PatternMatcher::for_create(&rules).unwrap();
    assert_eq!(matcher.check(b"a/b"), verdict(true, true));
    assert_eq!(matcher.check(b"a/c"), verdict(true, true));
    assert_eq!(matcher.check(b"a/d"), verdict(false, true));
    assert_eq!(matcher.check(b"a/b/x"), verdict(false, true));
}

#[test]
fn given_paths_include_themselves_and_nothing_else() {
    let paths = [
        &b"home/a/"[..],
        b"sh:etc/*.conf",
        b"never",
        b"pf:nowhere",
        b"shadowed",
    ];
    let paths = paths.map(<[u8]>::to_vec);
    let rules = rules(&["- home/a/tmp", "+ shadowed"]);
    let matcher = PatternMatcher::for_paths(&rules, &paths).unwrap();
    assert_eq!(matcher.check(b"home/a/x"), verdict(true, true));
    assert_eq!(matcher.check(b"home/a/tmp/x"), verdict(false, true));
    assert_eq!(matcher.check(b"home/ab"), verdict(false, true));
    assert_eq!(matcher.check(b"etc/x.conf"), verdict(true, true));
    assert_eq!(matcher.check(b"shadowed"), verdict(true, true));
    let unmatched: Vec<_> = matcher.unmatched_include_paths().collect();
    assert_eq!(unmatched, [&b"never"[..], b"shadowed"]);
}

#[test]
fn no_rules_include_everything() {
    let matcher = PatternMatcher::for_paths(&[], &[]).unwrap();
    assert!(matcher.is_empty());
    assert_eq!(matcher.check(b"any"), verdict(true, true));
}

#[test]
fn bytes_that_are_no_text_are_single_characters() {
    let rules = rules(&["- sh:a?b", "- sh:x[!y]z", "- sh:\u{e9}??", "- re:^q.r$"]);
    let mut selection = Selection {
        roots: Vec::new(),
        rules,
    };
    selection.add_exclude(b"lit\xff*").unwrap();
    let matcher = PatternMatcher::for_create(&selection.rules).unwrap();
    let excluded = [
        &b"a\xffb"[..],
        b"a\xc3\xa9b",
        b"x\xffz",
        b"q\x80r",
        b"lit\xffx",
        b"\xc3\xa9\xc3\xa9\xff",
    ];
    for path in excluded {
        assert!(!matcher.check(path).included, "{path:?}");
    }
    for path in [&b"a\xff\xffb"[..], b"\xc3\xa9\xff", b"lit\xfex"] {
        assert!(matcher.check(path).included, "{path:?}");
    }
}

#[test]
fn hundreds_of_rules_keep_their_order() {
    let lines: Vec<_> = (0..400)
        .map(|n| format!("{} *{n}*", if n % 2 == 0 { '-' } else { '+' }))
        .collect();
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    let matcher = PatternMatcher::for_create(&rules(&lines)).unwrap();
    // 3, 31, 311 and 1 match; the lowest number decides.
    assert!(matcher.check(b"x311").included);
    assert!(!matcher.check(b"x4").included);
    assert!(!matcher.check(b"x322").included);
    assert!(matcher.check(b"x399").included);
}
