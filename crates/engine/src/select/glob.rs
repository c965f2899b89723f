//! What `fm:` and `sh:` patterns consist of, and the regular expression that does the same.
//!
//! Both kinds are matched against the path with a `/` appended, so that a pattern with `/` and a
//! wildcard appended covers a directory and all below it. Whatever a trailing wildcard would match
//! is not looked at: a match ends as soon as it is certain.

use std::fmt::Write as _;

/// One piece of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// This character.
    Literal(char),
    /// Any character.
    Any,
    /// Any character but `/`.
    AnyButSlash,
    /// Any number of any characters.
    Star,
    /// Any number of characters other than `/`.
    StarButSlash,
    /// Any number of whole directory names, each with its `/`.
    Directories,
    /// One of a set of characters.
    Class(Class),
    /// Nothing matches.
    Never,
}

/// A set of characters, as ranges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Class {
    pub(super) negated: bool,
    pub(super) ranges: Vec<(char, char)>,
}

impl Class {
    /// Appends the set in the syntax of the `regex` crate.
    pub(super) fn write_regex(&self, out: &mut String) {
        out.push_str(if self.negated { "[^" } else { "[" });
        for &(first, last) in &self.ranges {
            push_code(out, first);
            if first != last {
                out.push('-');
                push_code(out, last);
            }
        }
        out.push(']');
    }
}

/// Appends a character by its number, which has no special meaning anywhere.
fn push_code(out: &mut String, c: char) {
    // Writing to a string cannot fail.
    let _ = write!(out, "\\x{{{:x}}}", u32::from(c));
}

/// A path with `/` appended must begin with `literal`, and go on if `strict`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prefix {
    pub(super) literal: String,
    pub(super) strict: bool,
}

/// A pattern made ready for matching.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Compiled {
    /// No wildcards, but for those appended.
    Prefix(Prefix),
    /// In the syntax of the `regex` crate, for the path with `/` appended.
    Regex(String),
}

/// Makes a pattern ready; it ends with the wildcards that were appended to it.
pub(super) fn compile(mut tokens: Vec<Token>) -> Compiled {
    let slash = Token::Literal('/');
    let mut strict = false;
    // The text ends with `/`, so these two match anything that is left, or at least the `/`.
    match tokens.as_slice() {
        [head @ .., Token::Star] | [head @ .., Token::Directories, Token::StarButSlash] => {
            tokens.truncate(head.len());
        }
        [head @ .., Token::Star, last] if *last == slash => {
            strict = true;
            tokens.truncate(head.len());
        }
        [head @ .., Token::Directories, Token::StarButSlash, last] if *last == slash => {
            strict = true;
            tokens.truncate(head.len());
        }
        // Only a class that takes up the appended wildcards ends up here.
        _ => tokens.push(Token::Never),
    }
    let literal: Option<String> = tokens
        .iter()
        .map(|token| match token {
            Token::Literal(c) => Some(*c),
            _ => None,
        })
        .collect();
    match literal {
        Some(literal) => Compiled::Prefix(Prefix { literal, strict }),
        None => Compiled::Regex(regex(&tokens, strict)),
    }
}

/// Appends nothing after the last token: the expression matches the beginning of a text.
pub(super) fn regex(tokens: &[Token], strict: bool) -> String {
    let mut out = String::from(r"(?s)\A");
    for token in tokens {
        match token {
            Token::Literal(c) if c.is_ascii_alphanumeric() || *c == '/' => out.push(*c),
            Token::Literal(c) => push_code(&mut out, *c),
            Token::Any => out.push('.'),
            Token::AnyButSlash => out.push_str("[^/]"),
            Token::Star => out.push_str(".*"),
            Token::StarButSlash => out.push_str("[^/]*"),
            Token::Directories => out.push_str("(?:[^/]*/)*"),
            Token::Class(class) => class.write_regex(&mut out),
            Token::Never => out.push_str("[^\\x{0}-\\x{10ffff}]"),
        }
    }
    if strict {
        out.push('.');
    }
    out
}
