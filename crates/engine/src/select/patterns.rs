//! Patterns, and the matcher that asks all of them at once.
//!
//! The first rule that matches a path decides; `pf:` patterns come before all others. Rules without
//! wildcards are looked up by the path's directories, the others are combined in sets that one scan
//! of the path decides, so that the cost of a path hardly depends on the number of rules.

use super::glob::{self, Compiled, Prefix};
use super::text::{push_text, to_bytes, to_text};
use super::{fnmatch, python_regex, shell};
use fastness_format::location::normalize_path;
use regex::{RegexSet, RegexSetBuilder};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// A pattern or a line of a pattern file that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// Two letters and a colon that are no style.
    #[error("Unknown pattern style: {0}")]
    UnknownStyle(String),
    /// A regular expression, or a set of characters in a `sh:` pattern, is malformed.
    #[error("Invalid pattern {pattern:?}: {reason}")]
    Malformed {
        /// The pattern, without its style.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A line that says nothing.
    #[error("A pattern/command must not be empty.")]
    Empty,
    /// A line begins with none of the known letters.
    #[error("A pattern/command must start with any of: -, !, +, R, r, P, p")]
    UnknownCommand,
    /// A line has a command and nothing after it.
    #[error("A pattern/command must have a value part.")]
    NoValue,
    /// A `P` line names no style.
    #[error("Invalid pattern style: {0}")]
    InvalidStyle(String),
}

/// How the text of a pattern is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PatternStyle {
    /// `fm:` wildcards, `*` matches `/` too.
    Fnmatch,
    /// `sh:` wildcards, `*` stops at `/`, `**/` is any number of directories.
    Shell,
    /// `re:` a regular expression, found anywhere in the path.
    Regex,
    /// `pp:` a path and all below it.
    PathPrefix,
    /// `pf:` just this path; asked before all others.
    PathFull,
}

impl PatternStyle {
    /// Returns the style of a prefix such as `fm`.
    pub fn from_prefix(prefix: &str) -> Option<Self> {
        Some(match prefix {
            "fm" => Self::Fnmatch,
            "sh" => Self::Shell,
            "re" => Self::Regex,
            "pp" => Self::PathPrefix,
            "pf" => Self::PathFull,
            _ => return None,
        })
    }

    /// Returns the prefix of a style.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Fnmatch => "fm",
            Self::Shell => "sh",
            Self::Regex => "re",
            Self::PathPrefix => "pp",
            Self::PathFull => "pf",
        }
    }
}

/// One pattern.
#[derive(Debug, Clone)]
pub struct Pattern {
    style: PatternStyle,
    text: String,
    form: Form,
}

#[derive(Debug, Clone)]
enum Form {
    Full(String),
    Prefix(Prefix),
    /// For the path with `/` appended.
    Glob(String),
    /// For the path as it is.
    Regex(String),
    Fancy(Box<fancy_regex::Regex>),
}

impl Pattern {
    /// Reads a pattern; without a style in front it has the style `default`.
    ///
    /// # Errors
    /// [`PatternError`] when the style is unknown or the pattern malformed.
    pub fn parse(text: &[u8], default: PatternStyle) -> Result<Self, PatternError> {
        let text = to_text(text);
        let mut chars = text.chars();
        let start = (chars.next(), chars.next(), chars.next());
        let rest = chars.as_str();
        match start {
            (Some(a), Some(b), Some(':')) if a.is_alphanumeric() && b.is_alphanumeric() => {
                let prefix = String::from_iter([a, b]);
                let style = PatternStyle::from_prefix(&prefix);
                Self::new(style.ok_or(PatternError::UnknownStyle(prefix))?, rest)
            }
            _ => Self::new(default, &text),
        }
    }

    fn new(style: PatternStyle, text: &str) -> Result<Self, PatternError> {
        let malformed = |reason: String| PatternError::Malformed {
            pattern: String::from_utf8_lossy(&to_bytes(text)).into_owned(),
            reason,
        };
        let form = match style {
            PatternStyle::PathFull => Form::Full(normal(text).trim_start_matches('/').to_owned()),
            PatternStyle::PathPrefix => Form::Prefix(Prefix {
                literal: with_suffix(text, "/"),
                strict: false,
            }),
            PatternStyle::Fnmatch if text.ends_with('/') => {
                glob_form(fnmatch::parse(&with_suffix(text, "/*/")))
            }
            PatternStyle::Fnmatch => glob_form(fnmatch::parse(&with_suffix(text, "/*"))),
            PatternStyle::Shell => {
                let suffix = if text.ends_with('/') {
                    "/**/*/"
                } else {
                    "/**/*"
                };
                glob_form(shell::parse(&with_suffix(text, suffix)).map_err(malformed)?)
            }
            PatternStyle::Regex => regex_form(text).map_err(malformed)?,
        };
        Ok(Self {
            style,
            text: text.to_owned(),
            form,
        })
    }

    /// Returns the style.
    pub fn style(&self) -> PatternStyle {
        self.style
    }

    /// Returns the pattern as it was given, without its style.
    pub fn text(&self) -> Vec<u8> {
        to_bytes(&self.text)
    }
}

fn normal(text: &str) -> String {
    // Normalizing moves whole parts between slashes, so that text stays text.
    String::from_utf8(normalize_path(text.as_bytes())).unwrap_or_default()
}

/// Normalizes a path pattern and appends what covers all below it.
fn with_suffix(text: &str, suffix: &str) -> String {
    let mut path = normal(text);
    // Only the root, and in Borg only where the pattern ends with a slash.
    if text.ends_with('/') || suffix == "/" {
        path.truncate(path.trim_end_matches('/').len());
    }
    path.push_str(suffix);
    path.trim_start_matches('/').to_owned()
}

fn glob_form(tokens: Vec<glob::Token>) -> Form {
    match glob::compile(tokens) {
        Compiled::Prefix(prefix) => Form::Prefix(prefix),
        Compiled::Regex(regex) => Form::Glob(regex),
    }
}

fn regex_form(text: &str) -> Result<Form, String> {
    let translated = python_regex::translate(text)?;
    if !translated.fancy && regex::Regex::new(&translated.text).is_ok() {
        return Ok(Form::Regex(translated.text));
    }
    fancy_regex::Regex::new(&translated.text)
        .map(|regex| Form::Fancy(Box::new(regex)))
        .map_err(|error| error.to_string())
}

/// What a rule does with a path it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    /// `+`
    Include,
    /// `-`: excluded, but what is below may be included by an earlier rule.
    Exclude,
    /// `!` and `--exclude`: excluded with all below it.
    ExcludeNoRecurse,
}

/// A pattern and what it is for.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The pattern.
    pub pattern: Pattern,
    /// What happens to paths it matches.
    pub command: Command,
}

/// The answer for one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Verdict {
    /// The path is taken.
    pub included: bool,
    /// If the path is a directory, what is below it is to be asked for too.
    pub recurse: bool,
}

impl From<Command> for Verdict {
    fn from(command: Command) -> Self {
        Self {
            included: command == Command::Include,
            recurse: command != Command::ExcludeNoRecurse,
        }
    }
}

/// Patterns in one set: more make its automaton too big to be fast.
const SET_SIZE: usize = 50;

/// Memory one set may take.
const SET_BYTES: usize = 64 << 20;

#[derive(Debug)]
struct Set {
    regexes: RegexSet,
    rules: Vec<usize>,
    /// Wants the path with `/` appended.
    slashed: bool,
}

/// All rules of a run, ready to be asked from any thread.
#[derive(Debug, Default)]
pub struct PatternMatcher {
    commands: Vec<Command>,
    full: HashMap<String, Command>,
    prefixes: HashMap<String, usize>,
    strict_prefixes: HashMap<String, usize>,
    prefix_lengths: Vec<usize>,
    sets: Vec<Set>,
    fancy: Vec<(usize, fancy_regex::Regex)>,
    /// Paths given on the command line: rule number, text, was the deciding rule for some path.
    include_paths: Vec<(usize, Vec<u8>, AtomicBool)>,
    first_include_path: usize,
    excluded_by_default: bool,
}

thread_local! {
    static TEXT: RefCell<String> = const { RefCell::new(String::new()) };
}

impl PatternMatcher {
    /// Makes the matcher of `create`: what no rule matches is included.
    ///
    /// # Errors
    /// [`PatternError::Malformed`] when a set of expressions takes too much memory.
    pub fn for_create(rules: &[Rule]) -> Result<Self, PatternError> {
        let mut matcher = Self::default();
        for rule in rules {
            matcher.add(rule);
        }
        matcher.build_sets(rules)?;
        matcher.first_include_path = matcher.commands.len();
        Ok(matcher)
    }

    /// Makes the matcher of all other commands: with paths given, only these are included.
    ///
    /// # Errors
    /// [`PatternError`] when a path has an unknown style or is malformed.
    pub fn for_paths(rules: &[Rule], paths: &[Vec<u8>]) -> Result<Self, PatternError> {
        let mut matcher = Self::default();
        let mut all = rules.to_vec();
        for rule in rules {
            matcher.add(rule);
        }
        matcher.first_include_path = matcher.commands.len();
        for path in paths {
            let pattern = Pattern::parse(path, PatternStyle::PathPrefix)?;
            if pattern.style != PatternStyle::PathFull {
                let number = matcher.commands.len();
                let text = pattern.text();
                matcher
                    .include_paths
                    .push((number, text, AtomicBool::new(false)));
            }
            let rule = Rule {
                pattern,
                command: Command::Include,
            };
            matcher.add(&rule);
            all.push(rule);
        }
        matcher.excluded_by_default = !paths.is_empty();
        matcher.build_sets(&all)?;
        Ok(matcher)
    }

    fn add(&mut self, rule: &Rule) {
        let number = self.commands.len();
        match &rule.pattern.form {
            Form::Full(path) => {
                self.full.insert(path.clone(), rule.command);
                return;
            }
            Form::Prefix(prefix) => {
                let map = match prefix.strict {
                    false => &mut self.prefixes,
                    true => &mut self.strict_prefixes,
                };
                map.entry(prefix.literal.clone()).or_insert(number);
                self.prefix_lengths.push(prefix.literal.len());
            }
            Form::Fancy(regex) => self.fancy.push((number, regex.as_ref().clone())),
            Form::Glob(_) | Form::Regex(_) => {}
        }
        self.commands.push(rule.command);
    }

    fn build_sets(&mut self, rules: &[Rule]) -> Result<(), PatternError> {
        self.prefix_lengths.sort_unstable();
        self.prefix_lengths.dedup();
        let (mut globs, mut regexes) = (Vec::new(), Vec::new());
        let counted = rules
            .iter()
            .filter(|rule| rule.pattern.style != PatternStyle::PathFull);
        for (number, rule) in counted.enumerate() {
            match &rule.pattern.form {
                Form::Glob(regex) => globs.push((number, regex)),
                Form::Regex(regex) => regexes.push((number, regex)),
                Form::Full(_) | Form::Prefix(_) | Form::Fancy(_) => {}
            }
        }
        for (list, slashed) in [(globs, true), (regexes, false)] {
            for part in list.chunks(SET_SIZE) {
                self.sets.push(build_set(part, slashed)?);
            }
        }
        Ok(())
    }

    /// Returns whether there is no rule at all.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty() && self.full.is_empty()
    }

    /// Decides about a path; slashes at its beginning do not matter.
    pub fn check(&self, path: &[u8]) -> Verdict {
        self.check_rules(path).unwrap_or(Verdict {
            included: !self.excluded_by_default,
            recurse: true,
        })
    }

    /// As [`check`](Self::check); none when no rule matches.
    pub fn check_rules(&self, path: &[u8]) -> Option<Verdict> {
        if self.is_empty() {
            return None;
        }
        let start = path.iter().position(|&byte| byte != b'/');
        let path = start
            .and_then(|start| path.get(start..))
            .unwrap_or_default();
        TEXT.with_borrow_mut(|text| {
            text.clear();
            push_text(text, path);
            if let Some(&command) = self.full.get(text.as_str()) {
                return Some(command.into());
            }
            text.push('/');
            let number = self.first_rule(text)?;
            if number >= self.first_include_path {
                self.count_include_path(number);
            }
            self.commands.get(number).map(|&command| command.into())
        })
    }

    /// Returns the number of the first rule that matches; `slashed` is the path and a `/`.
    fn first_rule(&self, slashed: &str) -> Option<usize> {
        let plain = slashed.strip_suffix('/').unwrap_or(slashed);
        let mut best = self.first_prefix(slashed).unwrap_or(usize::MAX);
        for set in &self.sets {
            if set.rules.first().is_none_or(|&first| first > best) {
                continue;
            }
            let text = if set.slashed { slashed } else { plain };
            if set.regexes.is_match(text) {
                let first = set.regexes.matches(text).iter().next();
                let number = first.and_then(|at| set.rules.get(at));
                best = number.map_or(best, |&number| best.min(number));
            }
        }
        for (number, regex) in &self.fancy {
            // An expression that gives up did not match.
            if *number < best && regex.is_match(plain).unwrap_or(false) {
                best = *number;
            }
        }
        (best != usize::MAX).then_some(best)
    }

    fn first_prefix(&self, slashed: &str) -> Option<usize> {
        let mut best: Option<usize> = None;
        for &length in &self.prefix_lengths {
            let Some((prefix, rest)) = slashed.split_at_checked(length) else {
                continue;
            };
            if !prefix.is_empty() && !prefix.ends_with('/') {
                continue;
            }
            let found = self.prefixes.get(prefix).into_iter();
            let strict = self.strict_prefixes.get(prefix);
            let strict = strict.filter(|_| !rest.is_empty());
            best = found.chain(strict).copied().chain(best).min();
        }
        best
    }

    fn count_include_path(&self, number: usize) {
        let at = self
            .include_paths
            .binary_search_by_key(&number, |(number, ..)| *number);
        if let Some((_, _, seen)) = at.ok().and_then(|at| self.include_paths.get(at))
            && !seen.load(Ordering::Relaxed)
        {
            seen.store(true, Ordering::Relaxed);
        }
    }

    /// Returns the paths of the command line that decided about no path so far, `pf:` ones left
    /// out; Borg warns of each (`IncludePatternNeverMatchedWarning`).
    pub fn unmatched_include_paths(&self) -> impl Iterator<Item = &[u8]> {
        let unseen = |(_, _, seen): &&(usize, Vec<u8>, AtomicBool)| !seen.load(Ordering::Relaxed);
        let paths = self.include_paths.iter().filter(unseen);
        paths.map(|(_, text, _)| text.as_slice())
    }
}

fn build_set(part: &[(usize, &String)], slashed: bool) -> Result<Set, PatternError> {
    let texts = part.iter().map(|(_, regex)| regex.as_str());
    let regexes = RegexSetBuilder::new(texts)
        .size_limit(SET_BYTES)
        .dfa_size_limit(SET_BYTES)
        .build()
        .map_err(|error| PatternError::Malformed {
            pattern: part
                .first()
                .map_or(String::new(), |(_, regex)| (*regex).clone()),
            reason: error.to_string(),
        })?;
    Ok(Set {
        regexes,
        rules: part.iter().map(|(number, _)| *number).collect(),
        slashed,
    })
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
