//! Units for systemd, rendered from a configuration.
//!
//! A job becomes a service and a timer. The service may do little: how little depends on what the
//! configuration starts. [`Confinement`] has three grades, and none of them changes what an archive
//! holds: nothing is hidden or made unreadable (`PrivateTmp`, `PrivateDevices`, `ProtectKernelModules`
//! and the like would do that). Pure: what has to be known of the machine is given.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::{Job, Schedule};
use crate::config::Configuration;
use crate::config::options::EXTRAS;
use crate::config::tree::{Node, Value};

/// What the first line of each of our units begins with. Files without it are not touched.
pub const MARK: &str = "# Made by fastness timer install";

/// How much a service is confined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confinement {
    /// It starts nothing but ssh and dump programs: it may write where we write, and read.
    Tight,
    /// It runs commands of the user, a program for mail, or another Borg, which may want to do
    /// things that we cannot know. Programs and settings of the system stay as they are.
    Commands,
    /// It takes snapshots of file systems, for which it mounts.
    Snapshots,
    /// It runs under a user's own systemd, which has little power to confine.
    User,
}

/// What units are made with beside the configuration.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// This program.
    pub program: PathBuf,
    /// Whether the units are for the systemd of a user.
    pub user: bool,
    /// Directories that runs write into.
    pub writable: Vec<PathBuf>,
    /// Where the program finds its own files, by variables that the services get.
    pub variables: Vec<(String, String)>,
    /// Credentials that the configuration names, those with a path are encrypted there.
    pub credentials: Vec<(String, Option<PathBuf>)>,
}

/// A unit to be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Its file name.
    pub name: String,
    /// Its content.
    pub text: String,
}

/// The part of unit names that stands for a configuration.
pub fn stem(configuration: &Path) -> String {
    let stem = configuration.file_stem().unwrap_or_default();
    let plain = |c: char| match c.is_ascii_alphanumeric() || "_-.".contains(c) {
        true => c,
        false => '_',
    };
    stem.to_string_lossy().chars().map(plain).collect()
}

/// The first line of the units of a configuration.
pub fn mark(configuration: &Path) -> String {
    // A line break in a path would end the comment.
    let path = configuration.display().to_string().replace('\n', "?");
    format!("{MARK} for {path}")
}

/// Renders the units of a configuration.
pub fn units(
    configuration: &Configuration,
    schedule: &Schedule,
    surroundings: &Surroundings,
) -> Vec<Unit> {
    let stem = stem(&configuration.path);
    let pair = |job: &Job| {
        let name = format!("fastness-{stem}-{}", job.name);
        [
            Unit {
                name: format!("{name}.service"),
                text: service(configuration, job, surroundings),
            },
            Unit {
                name: format!("{name}.timer"),
                text: timer(configuration, job, schedule),
            },
        ]
    };
    schedule.jobs.iter().flat_map(pair).collect()
}

fn timer(configuration: &Configuration, job: &Job, schedule: &Schedule) -> String {
    let title = title(configuration, job);
    let mut text = format!(
        "{}\n\n[Unit]\nDescription=Time for: {title}\n\n[Timer]\nOnCalendar={}\n",
        mark(&configuration.path),
        job.calendar
    );
    let delay = schedule.random_delay.as_secs();
    // The summary of a day is not urgent for any server.
    if delay > 0 && job.name != "digest" {
        let _ = writeln!(text, "RandomizedDelaySec={delay}s");
    }
    if schedule.catch_up {
        text.push_str("Persistent=true\n");
    }
    text.push_str("\n[Install]\nWantedBy=timers.target\n");
    text
}

fn title(configuration: &Configuration, job: &Job) -> String {
    let path = configuration.path.display().to_string();
    let path = path.replace('%', "%%").replace('\n', "?");
    format!("fastness {} ({path})", job.actions.join(", "))
}

fn service(configuration: &Configuration, job: &Job, surroundings: &Surroundings) -> String {
    let mut text = format!(
        "{}\n\n[Unit]\nDescription={}\n",
        mark(&configuration.path),
        title(configuration, job)
    );
    if needs_network(configuration) && !surroundings.user {
        text.push_str("Wants=network-online.target\nAfter=network-online.target\n");
    }
    text.push_str("\n[Service]\nType=oneshot\n");
    let _ = writeln!(
        text,
        "ExecStart={}",
        command(configuration, job, surroundings)
    );
    text.push_str(
        "\n# Everything else on this machine goes first; a run that is told to stop ends in good order.\n\
         Nice=19\nIOSchedulingClass=best-effort\nIOSchedulingPriority=7\nTimeoutStopSec=5min\nLogRateLimitIntervalSec=0\n\
         \n# Where runs keep what they need for as long as they take.\nRuntimeDirectory=%N\nRuntimeDirectoryMode=0700\n",
    );
    for (name, value) in &surroundings.variables {
        let pair = quoted(&format!("{name}={value}"));
        let _ = writeln!(text, "Environment={pair}");
    }
    for (name, path) in &surroundings.credentials {
        let _ = match path {
            Some(path) => writeln!(
                text,
                "LoadCredentialEncrypted={name}:{}",
                path.display().to_string().replace('%', "%%")
            ),
            None => writeln!(text, "LoadCredential={name}"),
        };
    }
    text.push('\n');
    text.push_str(confinement_text(confinement(configuration, surroundings)));
    if confinement(configuration, surroundings) != Confinement::User {
        for path in &surroundings.writable {
            let path = path.display().to_string();
            // One that is gone must not keep all others from being saved.
            let _ = writeln!(text, "ReadWritePaths={}", quoted(&format!("-{path}")));
        }
    }
    text
}

fn command(configuration: &Configuration, job: &Job, surroundings: &Surroundings) -> String {
    let path = configuration.path.display().to_string();
    let program = surroundings.program.display().to_string();
    let words = match job.name {
        "digest" => vec![program, "digest".to_owned(), "--config".to_owned(), path],
        _ => {
            let mut words = vec![program, "--config".to_owned(), path];
            // What happens goes to the journal, with fields, and not once more as output.
            let quiet = ["--verbosity", "-2", "--syslog-verbosity", "1"];
            words.extend(quiet.map(str::to_owned));
            words.extend(job.actions.iter().map(|action| (*action).to_owned()));
            words
        }
    };
    let words: Vec<String> = words
        .iter()
        .map(|word| quoted(word).replace('$', "$$"))
        .collect();
    words.join(" ")
}

/// A word as systemd reads it: `%` doubled, in quotes where it needs them.
fn quoted(word: &str) -> String {
    let word = word.replace('%', "%%");
    let plain = |c: char| c.is_alphanumeric() || "%_@+=:,./-".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word;
    }
    let mut text = String::from("\"");
    for c in word.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

fn needs_network(configuration: &Configuration) -> bool {
    let mut repositories = configuration.repositories.iter();
    repositories.any(|repository| repository.path.contains(':'))
}

/// Finds how much the services of a configuration can be confined.
pub fn confinement(configuration: &Configuration, surroundings: &Surroundings) -> Confinement {
    let tree = &configuration.tree;
    let all = || {
        let repositories = configuration.repositories.iter();
        let options = repositories.map(|repository| &repository.options);
        std::iter::once(&configuration.options).chain(options)
    };
    let sendmail = tree
        .get(EXTRAS)
        .and_then(|extras| extras.get("mail"))
        .is_some_and(|mail| mail.get("server").is_none());
    if surroundings.user {
        Confinement::User
    } else if all().any(|options| !options.snapshots.is_empty()) {
        Confinement::Snapshots
    } else if sendmail
        || starts_programs(tree)
        || all().any(|options| {
            !options.commands.is_empty()
                || options.access.local_path.is_some()
                || options.making.read_special
        })
    {
        Confinement::Commands
    } else {
        Confinement::Tight
    }
}

/// Tells whether a configuration names programs of its own, which may want to write anywhere or to
/// become another user.
fn starts_programs(tree: &Node) -> bool {
    if let Value::Text(text) = &tree.value {
        let provider = text.trim().strip_prefix("{credential ");
        let provider = provider.and_then(|words| words.split_whitespace().next());
        return provider.is_some_and(|name| !["systemd", "file", "container"].contains(&name));
    }
    let own = |key: &str, value: &Node| match key {
        "encryption_passcommand" => {
            let program = value
                .as_text()
                .and_then(|text| text.split_whitespace().next());
            let name = program.and_then(|program| Path::new(program).file_name());
            name.is_none_or(|name| name != "cat" && name != "systemd-creds")
        }
        "ssh_command" => false,
        "container" => !value.elements().is_empty() || value.as_text().is_some(),
        key => key.ends_with("_command"),
    };
    let entries = tree.entries().iter();
    let mut entries = entries.map(|entry| (entry.key.as_str(), &entry.value));
    entries.any(|(key, value)| own(key, value) || starts_programs(value))
        || tree.elements().iter().any(starts_programs)
}

fn confinement_text(confinement: Confinement) -> &'static str {
    match confinement {
        Confinement::Tight => TIGHT,
        Confinement::Commands => COMMANDS,
        Confinement::Snapshots => SNAPSHOTS,
        Confinement::User => USER,
    }
}

const TIGHT: &str = "\
# Reads everything, changes nothing but the places below. Capabilities: to read and lock what belongs
# to others, and to see all attributes of files.
CapabilityBoundingSet=CAP_DAC_READ_SEARCH CAP_DAC_OVERRIDE CAP_FOWNER CAP_CHOWN CAP_SYS_ADMIN
NoNewPrivileges=true
ProtectSystem=strict
ProtectHome=read-only
DevicePolicy=closed
ProtectClock=true
ProtectControlGroups=true
ProtectHostname=true
ProtectKernelTunables=true
KeyringMode=private
LockPersonality=true
MemoryDenyWriteExecute=true
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=true
RestrictRealtime=true
RestrictSUIDSGID=true
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
UMask=0077
";

const COMMANDS: &str = "\
# Runs commands of the configuration, so it may do what they may want: all but to change programs and
# the machine itself. Without commands, another Borg, containers and sendmail this is tighter.
ProtectSystem=full
ProtectClock=true
ProtectControlGroups=true
ProtectHostname=true
ProtectKernelTunables=true
KeyringMode=private
LockPersonality=true
RestrictRealtime=true
SystemCallArchitectures=native
";

const SNAPSHOTS: &str = "\
# Takes snapshots and mounts them, so it may do what that needs.
ProtectHostname=true
KeyringMode=private
LockPersonality=true
RestrictRealtime=true
SystemCallArchitectures=native
";

const USER: &str = "\
# What a user's own systemd can enforce without changing what is saved.
NoNewPrivileges=true
LockPersonality=true
RestrictRealtime=true
RestrictSUIDSGID=true
SystemCallArchitectures=native
";

/// Returns the names of the credentials of systemd that a configuration uses.
pub fn credentials(tree: &Node) -> Vec<String> {
    let mut names = Vec::new();
    collect_credentials(tree, &mut names);
    names.sort_unstable();
    names.dedup();
    names
}

fn collect_credentials(node: &Node, names: &mut Vec<String>) {
    if let Value::Text(text) = &node.value {
        let inner = text.trim().strip_prefix("{credential ");
        let words = inner.and_then(|inner| inner.strip_suffix('}'));
        let mut words = words.unwrap_or_default().split_whitespace();
        if let (Some("systemd"), Some(name), None) = (words.next(), words.next(), words.next()) {
            names.push(name.to_owned());
        }
    }
    for element in node.elements() {
        collect_credentials(element, names);
    }
    for entry in node.entries() {
        collect_credentials(&entry.value, names);
    }
}

#[cfg(test)]
mod tests;
