//! `fm:` patterns, by the rules of Python's fnmatch: `*` also matches `/`.
//!
//! In `[…]`, ranges that would be empty (`[z-a]`) match nothing, instead of being an error.

use super::glob::{Class, Token};

/// Reads a pattern that has its wildcards appended.
pub(super) fn parse(pattern: &str) -> Vec<Token> {
    let pattern: Vec<char> = pattern.chars().collect();
    let mut tokens = Vec::new();
    let mut rest = pattern.as_slice();
    while let [c, after @ ..] = rest {
        rest = after;
        let token = match c {
            '*' => Token::Star,
            '?' => Token::Any,
            '[' => match split_class(after) {
                None => Token::Literal('['),
                Some((content, after)) => {
                    rest = after;
                    class(content)
                }
            },
            c => Token::Literal(*c),
        };
        if token != Token::Star || tokens.last() != Some(&Token::Star) {
            tokens.push(token);
        }
    }
    tokens
}

/// Splits at the `]` that ends a class; one that comes first belongs to the class.
pub(super) fn split_class(text: &[char]) -> Option<(&[char], &[char])> {
    let begin = match text {
        ['!', ']', ..] => 2,
        ['!' | ']', ..] => 1,
        _ => 0,
    };
    let end = text.get(begin..)?.iter().position(|&c| c == ']')? + begin;
    let (content, rest) = text.split_at_checked(end)?;
    Some((content, rest.get(1..)?))
}

fn class(content: &[char]) -> Token {
    let (negated, content) = match content {
        ['!', rest @ ..] => (true, rest),
        _ => (false, content),
    };
    let ranges = ranges(content);
    match (negated, ranges.is_empty()) {
        (false, true) => Token::Never,
        (true, true) => Token::Any,
        (negated, false) => Token::Class(Class { negated, ranges }),
    }
}

/// A `-` makes a range unless it is the first or last character or follows a range at once.
fn ranges(content: &[char]) -> Vec<(char, char)> {
    let mut chunks: Vec<Vec<char>> = Vec::new();
    let (mut begin, mut from) = (0, 1);
    loop {
        let hyphen = content
            .get(from..)
            .and_then(|rest| rest.iter().position(|&c| c == '-'))
            .map(|at| at + from);
        let Some(hyphen) = hyphen else { break };
        chunks.push(content.get(begin..hyphen).unwrap_or_default().to_vec());
        begin = hyphen + 1;
        from = hyphen + 3;
    }
    let last = content.get(begin..).unwrap_or_default();
    match chunks.last_mut() {
        Some(chunk) if last.is_empty() => chunk.push('-'),
        _ => chunks.push(last.to_vec()),
    }
    drop_empty_ranges(&mut chunks);
    let mut out = Vec::new();
    let mut open = None;
    for chunk in &chunks {
        let mut chars = chunk.iter().copied();
        if let Some(first) = open.take() {
            let Some(last) = chars.next() else { continue };
            out.pop();
            out.push((first, last));
        }
        out.extend(chars.map(|c| (c, c)));
        open = chunk.last().copied();
    }
    out
}

fn drop_empty_ranges(chunks: &mut Vec<Vec<char>>) {
    for at in (1..chunks.len()).rev() {
        let Some((before, [second, ..])) = chunks.split_at_mut_checked(at) else {
            continue;
        };
        let Some(first) = before.last_mut() else {
            continue;
        };
        if first.last() > second.first() {
            first.pop();
            first.extend(second.iter().skip(1));
            chunks.remove(at);
        }
    }
}
