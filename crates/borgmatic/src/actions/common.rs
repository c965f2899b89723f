//! Flags that several actions send.

use std::path::{Component, Path, PathBuf};

use crate::command_line::actions::ArchiveChoice;
use crate::config::typed::{Making, Options};
use crate::plan::Context;
use crate::plan::call::{Call, Show};

/// The name format of new archives when none is configured.
pub const DEFAULT_ARCHIVE_NAME_FORMAT: &str = "{hostname}-{now:%Y-%m-%dT%H:%M:%S.%f}";

impl Context<'_> {
    /// `--info`, at that verbosity.
    pub(super) fn info(&self) -> bool {
        self.verbosity == 1
    }

    /// `--debug --show-rc`, at that verbosity or above.
    pub(super) fn debug(&self) -> bool {
        self.verbosity >= 2
    }

    /// The two in borgmatic's order for queries: nothing with JSON.
    pub(super) fn level(&self, call: Call, json: bool) -> Call {
        call.flag("--info", self.info() && !json)
            .words(self.debug_words(!json))
    }

    pub(super) fn debug_words(&self, wanted: bool) -> &'static [&'static str] {
        match wanted && self.debug() {
            true => &["--debug", "--show-rc"],
            false => &[],
        }
    }

    /// Begins a command.
    pub(super) fn call(&self, command: &str) -> Call {
        Call::new(command, self.options)
    }

    /// Words that the configuration adds to a command.
    pub(super) fn extra(&self, command: &str) -> Vec<String> {
        let text = self.options.extra.get(command).map(String::as_str);
        shlex::split(text.unwrap_or_default()).unwrap_or_default()
    }

    pub(super) fn umask(&self) -> Option<i64> {
        self.options.access.umask
    }

    pub(super) fn lock_wait(&self) -> Option<i64> {
        self.options.access.lock_wait
    }

    /// Finds the newest archive that the filter of the configuration takes.
    pub(super) fn latest(&self) -> Call {
        self.call("list")
            .number("--umask", self.umask())
            .word("--log-json")
            .number("--lock-wait", self.lock_wait())
            .words(filter(self.options))
            .words(["--last", "1", "--json"])
            .word(self.repository.path.as_str())
            .shown(Show::Query)
    }

    /// Asks for the repository as JSON.
    pub(super) fn identify(&self) -> Call {
        self.call("info")
            .number("--umask", self.umask())
            .number("--lock-wait", self.lock_wait())
            .words(["--log-json", "--json"])
            .word(self.repository.path.as_str())
            .shown(Show::Query)
    }

    /// What is added to a title in a dry run.
    pub(super) fn dry_run_label(&self) -> &'static str {
        match self.dry_run {
            true => " (dry run; not making any changes)",
            false => "",
        }
    }
}

/// The flags that choose the archives of a configuration; none when all are meant.
pub fn filter(options: &Options) -> Vec<String> {
    archive_filter(
        options.making.match_archives.as_deref(),
        &options.making,
        false,
    )
}

/// The same for `prune` and `check`, which the old option `prefix` holds for.
pub(super) fn maintenance_filter(options: &Options) -> Vec<String> {
    match &options.making.prefix {
        Some(prefix) => vec!["--glob-archives".to_owned(), format!("{prefix}*")],
        None => filter(options),
    }
}

/// The flags that choose archives by a pattern, or else by the configured format of names. `force`
/// sends a pattern even if it takes all.
pub fn archive_filter(pattern: Option<&str>, making: &Making, force: bool) -> Vec<String> {
    let given = pattern.filter(|pattern| !pattern.is_empty());
    let pattern = match given {
        Some("*" | "re:.*" | "sh:*") if !force => return Vec::new(),
        Some(pattern) => pattern.strip_prefix("sh:").unwrap_or(pattern).to_owned(),
        None => without_times(
            making
                .archive_name_format
                .as_deref()
                .unwrap_or(DEFAULT_ARCHIVE_NAME_FORMAT),
        ),
    };
    if given.is_none() && pattern == "*" && !force {
        return Vec::new();
    }
    vec!["--glob-archives".to_owned(), pattern]
}

/// Replaces what differs from archive to archive by `*`: `{now…}`, `{utcnow…}`, `{pid…}`.
fn without_times(format: &str) -> String {
    let mut out = String::with_capacity(format.len());
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        match ephemeral(after) {
            Some(tail) => {
                out.push('*');
                rest = tail;
            }
            None => {
                out.push('{');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// What follows an ephemeral placeholder, if one begins here.
fn ephemeral(after: &str) -> Option<&str> {
    let (inner, tail) = after.split_once('}')?;
    let format = ["now", "utcnow", "pid"]
        .iter()
        .find_map(|name| inner.strip_prefix(name))?;
    let allowed = |c: char| c.is_alphanumeric() || "_:%.-".contains(c);
    format.chars().all(allowed).then_some(tail)
}

/// The flags of a choice of archives that come before, and those after `--json`.
pub(super) fn prefix_or_filter(choice: &ArchiveChoice, options: &Options) -> Vec<String> {
    match choice.prefix.as_deref() {
        Some(prefix) if !prefix.is_empty() => {
            vec!["--glob-archives".to_owned(), format!("{prefix}*")]
        }
        _ => filter(options),
    }
}

/// The path of a repository as it is seen from anywhere.
pub(super) fn absolute_repository(context: &Context<'_>) -> String {
    let path = &context.repository.path;
    if path.contains(':') {
        return path.clone();
    }
    let base = context
        .options
        .sources
        .working_directory
        .as_deref()
        .unwrap_or_default();
    let joined = Path::new(base).join(path);
    let absolute = std::path::absolute(&joined).unwrap_or(joined);
    lexically_normal(&absolute).to_string_lossy().into_owned()
}

/// Resolves `.` and `..` by their text.
fn lexically_normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_between_archives_becomes_a_star() {
        for (format, pattern) in [
            ("{hostname}-{now}", "{hostname}-*"),
            ("{hostname}-{now:%Y-%m-%dT%H:%M:%S.%f}", "{hostname}-*"),
            ("{utcnow:%s}{pid}", "**"),
            ("{nowhere}", "*"),
            ("{user}{now !}", "{user}{now !}"),
            ("plain", "plain"),
        ] {
            assert_eq!(without_times(format), pattern, "{format}");
        }
    }

    #[test]
    fn a_filter_that_takes_all_is_left_out() {
        let making = Making::default();
        assert_eq!(archive_filter(Some("*"), &making, false), [""; 0]);
        assert_eq!(archive_filter(Some("re:.*"), &making, false), [""; 0]);
        assert_eq!(
            archive_filter(Some("*"), &making, true),
            ["--glob-archives", "*"]
        );
        assert_eq!(
            archive_filter(None, &making, false),
            ["--glob-archives", "{hostname}-*"]
        );
        let now = Making {
            archive_name_format: Some("{now}".into()),
            ..Making::default()
        };
        assert_eq!(archive_filter(None, &now, false), [""; 0]);
    }
}
