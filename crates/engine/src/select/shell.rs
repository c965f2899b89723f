//! `sh:` patterns: `*` and `?` stop at `/`, `**/` is any number of directories.

use super::fnmatch::split_class;
use super::glob::{Class, Token};

/// Reads a pattern that has its wildcards appended; `Err` tells of an empty range.
pub(super) fn parse(pattern: &str) -> Result<Vec<Token>, String> {
    let pattern: Vec<char> = pattern.chars().collect();
    let mut tokens = Vec::new();
    let mut rest = pattern.as_slice();
    while let [c, after @ ..] = rest {
        rest = after;
        tokens.push(match (c, after) {
            ('*', ['*', '/', after @ ..]) => {
                rest = after;
                Token::Directories
            }
            ('*', _) => Token::StarButSlash,
            ('?', _) => Token::AnyButSlash,
            ('[', _) => match split_class(after) {
                None => Token::Literal('['),
                Some((content, after)) => {
                    rest = after;
                    Token::Class(class(content)?)
                }
            },
            (c, _) => Token::Literal(*c),
        });
    }
    Ok(tokens)
}

fn class(content: &[char]) -> Result<Class, String> {
    let (negated, mut rest) = match content {
        ['!', rest @ ..] => (true, rest),
        _ => (false, content),
    };
    let mut ranges = Vec::new();
    while let [first, after @ ..] = rest {
        let (last, after) = match after {
            ['-', last, after @ ..] => (last, after),
            _ => (first, after),
        };
        if first > last {
            return Err(format!("bad character range {first}-{last}"));
        }
        ranges.push((*first, *last));
        rest = after;
    }
    Ok(Class { negated, ranges })
}
