//! Everything that says what is saved, as one list of Borg pattern lines.
//!
//! Borg knows paths, patterns, pattern files, excludes and exclude files. They are brought to one
//! form here, in borgmatic's order, so that one file with pattern lines says it all.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::config::paths::{Variables, expand_home};
use crate::config::typed::Sources;
use crate::glob;

/// What a pattern line does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `R`: a root.
    Root,
    /// `P`: sets the default style.
    Style,
    /// `-`: left out.
    Exclude,
    /// `!`: left out with all below.
    NoRecurse,
    /// `+`: saved.
    Include,
}

impl Kind {
    fn letter(self) -> char {
        match self {
            Self::Root => 'R',
            Self::Style => 'P',
            Self::Exclude => '-',
            Self::NoRecurse => '!',
            Self::Include => '+',
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        [
            Self::Root,
            Self::Style,
            Self::Exclude,
            Self::NoRecurse,
            Self::Include,
        ]
        .into_iter()
        .find(|kind| word.chars().eq([kind.letter()]))
    }
}

const STYLES: [&str; 5] = ["fm", "sh", "re", "pp", "pf"];

/// One pattern line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// What it does.
    pub kind: Kind,
    /// Its style, where it names one.
    pub style: Option<String>,
    /// The path or pattern.
    pub path: String,
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind.letter())?;
        if let Some(style) = &self.style {
            write!(f, "{style}:")?;
        }
        f.write_str(&self.path)
    }
}

/// Why there is no list of patterns.
#[derive(Debug, thiserror::Error)]
pub enum PatternError {
    /// A line that is no pattern.
    #[error(
        "{source_name}: {line:?} is not a pattern: it must begin with R, P, +, - or ! and a space"
    )]
    Invalid {
        /// The option or file it stands in.
        source_name: String,
        /// The line.
        line: String,
    },
    /// A file that cannot be read.
    #[error("Cannot read patterns_from/exclude_from file: {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Roots that are not there.
    #[error("Source directories or root pattern paths do not exist: {}", paths.join(", "))]
    MissingRoots {
        /// The roots.
        paths: Vec<String>,
    },
}

/// Collects the patterns of a configuration, with globs and `~` expanded.
///
/// # Errors
/// When a pattern file cannot be read, a line is no pattern, or a root is missing that must exist.
pub fn collect(sources: &Sources, variable: Variables<'_>) -> Result<Vec<Pattern>, PatternError> {
    let working_directory = working_directory(sources, variable);
    let collector = Collector {
        working_directory: &working_directory,
        variable,
    };
    let mut patterns: Vec<Pattern> = sources.directories.iter().map(|path| root(path)).collect();
    collector.lines("patterns", &sources.patterns, &mut patterns)?;
    patterns.extend(excludes(&sources.exclude_patterns));
    for (file, lines) in collector.files(&sources.patterns_from)? {
        collector.lines(&file, &lines, &mut patterns)?;
    }
    for (_, lines) in collector.files(&sources.exclude_from)? {
        patterns.extend(excludes(&lines));
    }
    let patterns: Vec<Pattern> = patterns
        .into_iter()
        .flat_map(|pattern| collector.expand(pattern))
        .collect();
    if sources.must_exist {
        collector.require_roots(&patterns)?;
    }
    Ok(patterns)
}

/// Returns the lines for Borg, each once.
pub fn unique_lines(patterns: &[Pattern]) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    let lines = patterns.iter().map(Pattern::to_string);
    lines.filter(|line| seen.insert(line.clone())).collect()
}

/// Returns the directory that relative paths start from; empty for the current one.
pub fn working_directory(sources: &Sources, variable: Variables<'_>) -> PathBuf {
    sources
        .working_directory
        .as_deref()
        .map(|path| PathBuf::from(expand_home(path, variable)))
        .unwrap_or_default()
}

/// Makes a root of a path.
pub fn root(path: &str) -> Pattern {
    Pattern {
        kind: Kind::Root,
        style: None,
        path: path.to_owned(),
    }
}

struct Collector<'a> {
    working_directory: &'a Path,
    variable: Variables<'a>,
}

impl Collector<'_> {
    fn lines(
        &self,
        source: &str,
        lines: &[String],
        out: &mut Vec<Pattern>,
    ) -> Result<(), PatternError> {
        for line in meaningful(lines) {
            let invalid = || PatternError::Invalid {
                source_name: source.to_owned(),
                line: line.to_owned(),
            };
            let (word, rest) = line.split_once(' ').ok_or_else(invalid)?;
            let kind = Kind::from_word(word).ok_or_else(invalid)?;
            out.push(pattern(kind, rest, None));
        }
        Ok(())
    }

    fn files(&self, names: &[String]) -> Result<Vec<(String, Vec<String>)>, PatternError> {
        let mut files = Vec::new();
        for name in names.iter().flat_map(|name| self.expand_path(name)) {
            let path = self.working_directory.join(&name);
            let text = std::fs::read_to_string(&path)
                .map_err(|source| PatternError::Unreadable { path, source })?;
            files.push((name, text.lines().map(str::to_owned).collect()));
        }
        Ok(files)
    }

    /// Expands `~` in all patterns, and globs in roots.
    fn expand(&self, pattern: Pattern) -> Vec<Pattern> {
        let paths = match pattern.kind {
            Kind::Root => self.expand_path(&pattern.path),
            _ => vec![expand_home(&pattern.path, self.variable)],
        };
        paths
            .into_iter()
            .map(|path| Pattern {
                path,
                ..pattern.clone()
            })
            .collect()
    }

    /// The paths a glob stands for; the text itself where there are none. Relative ones are
    /// looked up in the working directory and stay relative.
    fn expand_path(&self, path: &str) -> Vec<String> {
        let path = expand_home(path, self.variable);
        if !glob::is_glob(&path) {
            return vec![path];
        }
        let base = self.working_directory.to_string_lossy();
        if path.starts_with('/') || base.is_empty() {
            let found = glob::expand(&path);
            return if found.is_empty() { vec![path] } else { found };
        }
        let prefix = format!("{}/", base.trim_end_matches('/'));
        let found: Vec<String> = glob::expand(&format!("{prefix}{path}"))
            .iter()
            .map(|found| found.strip_prefix(&prefix).unwrap_or(found).to_owned())
            .collect();
        if found.is_empty() { vec![path] } else { found }
    }

    fn require_roots(&self, patterns: &[Pattern]) -> Result<(), PatternError> {
        let missing: Vec<String> = patterns
            .iter()
            .filter(|pattern| pattern.kind == Kind::Root)
            .filter(|pattern| !self.working_directory.join(&pattern.path).exists())
            .map(|pattern| pattern.path.clone())
            .collect();
        match missing.is_empty() {
            true => Ok(()),
            false => Err(PatternError::MissingRoots { paths: missing }),
        }
    }
}

/// Exclude lines: fnmatch style unless they name another.
fn excludes(lines: &[String]) -> impl Iterator<Item = Pattern> {
    meaningful(lines).map(|line| pattern(Kind::NoRecurse, line, Some("fm")))
}

fn meaningful(lines: &[String]) -> impl Iterator<Item = &str> {
    lines
        .iter()
        .map(|line| line.trim())
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn pattern(kind: Kind, text: &str, default_style: Option<&str>) -> Pattern {
    let (style, path) = match text.split_once(':') {
        Some((style, path)) if STYLES.contains(&style) => (Some(style), path),
        // An empty style is none at all.
        Some(("", path)) => (None, path),
        _ => (default_style, text),
    };
    Pattern {
        kind,
        style: style.map(str::to_owned),
        path: path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(name: &str) -> Option<String> {
        (name == "HOME").then(|| "/home/user".to_owned())
    }

    fn texts(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn collected(sources: &Sources) -> Vec<String> {
        collect(sources, &variables)
            .unwrap()
            .iter()
            .map(Pattern::to_string)
            .collect()
    }

    #[test]
    fn all_sources_become_lines_in_borgmatics_order() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            texts(&[path.to_str().unwrap()])
        };
        let sources = Sources {
            directories: texts(&["/etc", "~"]),
            patterns: texts(&["# comment", "R /srv", "- sh:/srv/*.tmp", "+ ~/keep"]),
            exclude_patterns: texts(&["*.pyc", "sh:/a/**", "/b:c"]),
            patterns_from: file("p", "\n! /x\nP sh\n"),
            exclude_from: file("e", "# comment\n  re:y$  \n"),
            ..Sources::default()
        };
        insta::assert_snapshot!(collected(&sources).join("\n"), @r"
        R /etc
        R /home/user
        R /srv
        - sh:/srv/*.tmp
        + /home/user/keep
        ! fm:*.pyc
        ! sh:/a/**
        ! fm:/b:c
        ! /x
        P sh
        ! re:y$
        ");
    }

    #[test]
    fn relative_roots_are_looked_up_in_the_working_directory() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["one", "two"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        let sources = Sources {
            directories: texts(&["*", "none*"]),
            working_directory: directory.path().to_str().map(str::to_owned),
            ..Sources::default()
        };
        assert_eq!(collected(&sources), ["R one", "R two", "R none*"]);
    }

    #[test]
    fn missing_roots_are_named() {
        let sources = Sources {
            directories: texts(&["/nowhere/a", "/", "/nowhere/b"]),
            must_exist: true,
            ..Sources::default()
        };
        insta::assert_snapshot!(collect(&sources, &variables).unwrap_err(), @"Source directories or root pattern paths do not exist: /nowhere/a, /nowhere/b");
    }

    #[test]
    fn lines_that_are_no_patterns_are_refused() {
        let sources = Sources {
            patterns: texts(&["/srv"]),
            ..Sources::default()
        };
        insta::assert_snapshot!(collect(&sources, &variables).unwrap_err(), @r#"patterns: "/srv" is not a pattern: it must begin with R, P, +, - or ! and a space"#);
    }
}
