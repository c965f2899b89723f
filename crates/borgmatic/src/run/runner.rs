//! Runs commands for one repository: environment, passphrase, output, exit code.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;

use fastness_borg::environment::Secret;
use fastness_borg::facts::{Facts, Notes};
use fastness_borg::foresight::Foresight;
use fastness_borg::remote::KeptSessions;
use fastness_engine::create::Additions;
use serde_json::Value;

use crate::config::paths::expand_home;
use crate::hooks::credential::Credentials;
use crate::output::log::{Level, Log};
use crate::output::progress::Progress;
use crate::plan::call::{Call, Environment, Passphrase, Show, quoted};

use super::World;
use super::borg::Invocation;
use super::estimate::Total;
use super::outcome::{RunError, succeeded};
use super::sink::Collector;

/// What a command is run with beside its own words.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extra<'a> {
    /// The file with the patterns.
    pub patterns: Option<&'a str>,
    /// The archive that was found out.
    pub archive: Option<&'a str>,
    /// Amount that progress may be expected to reach.
    pub total: Option<&'a Total>,
    /// A message that must not worry anybody.
    pub hidden: Option<&'static str>,
    /// Nobody is told of warnings.
    pub quiet: bool,
    /// Variables of this command alone.
    pub variables: &'a [(&'static str, String)],
    /// A flag for results that people are told about (`--json`, `--list`).
    pub report: Option<&'static str>,
    /// What stands before all that it says, where others run beside it.
    pub about: Option<&'a str>,
}

/// A command that was prepared, without what it is run with.
pub struct Pending<'a> {
    call: &'a Call,
    environment: &'a Environment,
    /// Its words, for people.
    resolved: String,
    collector: Collector,
    notes: Notes,
}

/// What is attached to one command.
#[derive(Default)]
pub struct Attached {
    /// Takes its data, instead of the log or the run.
    pub stdout: Option<Box<dyn Write + Send>>,
    /// What a new archive gets besides.
    pub additions: Additions,
    /// The environment of a second repository, for its passphrase.
    pub other: Option<Environment>,
    /// Wants to know what a dry run finds out.
    pub foresight: Option<Foresight>,
}

/// What a command gave.
#[derive(Debug, Default)]
pub struct Given {
    /// Its data, when it is collected.
    pub data: Vec<u8>,
    /// How far its progress went.
    pub progress: Progress,
    /// Archives that it kept and removed.
    pub pruned: [u64; 2],
}

/// Passphrases that commands printed: each is run once, for it may ask somebody.
type Passphrases = RefCell<BTreeMap<(Vec<String>, Option<String>), Secret>>;

/// Runs commands.
pub struct Runner<'a> {
    /// What the run has of the world.
    pub world: &'a World,
    /// Where records go.
    pub log: Log,
    /// Credentials that were loaded.
    pub credentials: Rc<Credentials>,
    passphrases: Passphrases,
    /// Sessions with servers that the next command may use.
    pub kept: Arc<KeptSessions>,
    /// What commands found out since it was last taken.
    facts: RefCell<Facts>,
}

impl<'a> Runner<'a> {
    /// Makes a runner.
    pub fn new(world: &'a World, log: Log) -> Self {
        Self {
            world,
            log,
            credentials: Rc::default(),
            passphrases: RefCell::default(),
            kept: Arc::default(),
            facts: RefCell::default(),
        }
    }

    /// Returns what commands found out since this was called last.
    pub fn take_facts(&self) -> Facts {
        self.facts.take()
    }

    fn keep_facts(&self, new: Facts) {
        let mut facts = self.facts.borrow_mut();
        facts.repository = new.repository.or(facts.repository);
        facts.encryption = new.encryption.or(facts.encryption.take());
        facts.archive = new.archive.or(facts.archive.take());
        facts.pruned = new.pruned.or(facts.pruned);
        for (kind, count) in new.warnings {
            let known = facts.warnings.entry(kind).or_default();
            *known = known.saturating_add(count);
        }
    }

    /// Runs a command and returns what it gave.
    ///
    /// # Errors
    /// When it cannot be run or does not succeed.
    pub fn run(
        &self,
        call: &Call,
        environment: &Environment,
        extra: Extra<'_>,
    ) -> Result<Given, RunError> {
        self.run_attached(call, environment, extra, Attached::default())
    }

    /// As [`Self::run`], with what is attached to the command.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_attached(
        &self,
        call: &Call,
        environment: &Environment,
        extra: Extra<'_>,
        attached: Attached,
    ) -> Result<Given, RunError> {
        let (invocation, pending) = self.prepare(call, environment, extra, attached)?;
        let code = self.world.borg.run(invocation);
        self.ended(pending, code)
    }

    /// Tells what a prepared command gave that was run.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn ended(&self, pending: Pending<'_>, code: io::Result<u8>) -> Result<Given, RunError> {
        let command = pending.resolved.clone();
        let (call, environment) = (pending.call, pending.environment);
        let (code, given, last_lines) = self.collect(pending, code)?;
        match code {
            128..=255 => Err(RunError::Signal { code }),
            code if self.succeeded(code, call, environment) => Ok(given),
            code => Err(RunError::Command {
                command,
                code,
                output: last_lines,
            }),
        }
    }

    /// Runs a command and returns its exit code, whatever it is, with what it gave and said.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn attempt(
        &self,
        call: &Call,
        environment: &Environment,
        extra: Extra<'_>,
    ) -> Result<(u8, Given, Vec<String>), RunError> {
        let (invocation, pending) = self.prepare(call, environment, extra, Attached::default())?;
        let code = self.world.borg.run(invocation);
        self.collect(pending, code)
    }

    /// Prepares a command.
    ///
    /// # Errors
    /// When there is no passphrase for it.
    pub fn prepare<'c>(
        &self,
        call: &'c Call,
        environment: &'c Environment,
        extra: Extra<'_>,
        attached: Attached,
    ) -> Result<(Invocation, Pending<'c>), RunError> {
        let mut arguments = call.resolved(extra.patterns, extra.archive);
        let command = shown(&arguments);
        self.log.record(Level::Debug, &command);
        let label = [arguments.first().map(String::as_str), extra.about];
        let label = label.into_iter().flatten().collect::<Vec<_>>().join(" ");
        self.add_flags(call, &mut arguments, extra);
        let show = match extra.report {
            Some("--json") => Show::Query,
            _ => call.show,
        };
        let collector = Collector::new(&self.log, show, &label, extra.total.cloned())
            .hiding(extra.hidden)
            .quiet(extra.quiet)
            .about(extra.about);
        if let Some(directory) = call.directory.as_ref().filter(|_| call.makes_directory) {
            std::fs::create_dir_all(directory).map_err(|source| RunError::System {
                what: format!("making {}", directory.display()),
                source,
            })?;
        }
        let notes = Notes::default();
        let invocation = Invocation {
            program: environment.program.clone(),
            arguments,
            variables: self.variables(environment, extra.variables),
            passphrase: self.passphrase(environment)?,
            other_passphrase: match &attached.other {
                Some(other) => self.passphrase(other)?,
                None => None,
            },
            directory: call.directory.clone(),
            stdout: attached.stdout.unwrap_or_else(|| collector.stdout()),
            stderr: collector.stderr(),
            additions: attached.additions,
            kept: Arc::clone(&self.kept),
            notes: notes.clone(),
            foresight: attached.foresight,
        };
        let pending = Pending {
            call,
            environment,
            resolved: command,
            collector,
            notes,
        };
        Ok((invocation, pending))
    }

    fn collect(
        &self,
        pending: Pending<'_>,
        code: io::Result<u8>,
    ) -> Result<(u8, Given, Vec<String>), RunError> {
        self.keep_facts(pending.notes.take());
        self.log.progress(None);
        let code = code.map_err(|source| RunError::System {
            what: pending.resolved,
            source,
        })?;
        let mut collected = pending.collector.collected();
        let given = Given {
            data: std::mem::take(&mut collected.data),
            progress: std::mem::take(&mut collected.progress),
            pruned: [collected.kept, collected.removed],
        };
        Ok((code, given, collected.last_lines.iter().cloned().collect()))
    }

    fn succeeded(&self, code: u8, call: &Call, environment: &Environment) -> bool {
        let configured = environment.exit_codes.as_slice();
        succeeded(code, call.warning_is_error, configured, &self.log)
    }

    /// Tells whether there is a terminal for a progress line.
    pub fn draws_progress(&self) -> bool {
        self.log.settings().progress_columns.is_some()
    }

    /// Adds what the progress line and reports to people need to the words of a plan.
    fn add_flags(&self, call: &Call, arguments: &mut Vec<String>, extra: Extra<'_>) {
        let has = |flag: &str, arguments: &[String]| arguments.iter().any(|word| word == flag);
        let mut add = |flag: &str| {
            if !has(flag, arguments) {
                arguments.insert(1.min(arguments.len()), flag.to_owned());
            }
        };
        let quiet = matches!(
            call.show,
            Show::Query | Show::Json | Show::Answer | Show::Listing
        );
        if self.draws_progress() && !quiet {
            let measured = ["create", "check", "compact", "extract", "prune"];
            let command = call.resolved(None, None).into_iter().next();
            if command.is_some_and(|command| measured.contains(&command.as_str())) {
                add("--log-json");
                add("--progress");
            }
        }
        if let Some(flag) = extra.report {
            add(flag);
        }
    }

    /// The environment of the run with what the configuration sets.
    pub(super) fn variables(
        &self,
        environment: &Environment,
        own: &[(&'static str, String)],
    ) -> BTreeMap<OsString, OsString> {
        let mut variables = self.world.variables.clone();
        let mut unset = |name: &str| variables.remove(&OsString::from(name));
        match environment.passphrase {
            Passphrase::Inherited => {}
            Passphrase::Text(_) | Passphrase::Command { .. } | Passphrase::Credential { .. } => {
                unset("BORG_PASSCOMMAND");
                unset("BORG_PASSPHRASE_FD");
            }
        }
        if matches!(
            environment.passphrase,
            Passphrase::Text(_) | Passphrase::Credential { .. }
        ) {
            unset("BORG_PASSPHRASE");
        }
        for (name, value) in environment.variables.iter().chain(own) {
            variables.insert(name.into(), value.into());
        }
        for (name, value) in &environment.defaults {
            variables.entry(name.into()).or_insert_with(|| value.into());
        }
        variables.insert("BORG_EXIT_CODES".into(), "modern".into());
        variables
    }

    /// The passphrase of the configuration. One in the environment of the run goes before that of
    /// a command, as in Borg.
    pub(super) fn passphrase(&self, environment: &Environment) -> Result<Option<Secret>, RunError> {
        let key = match &environment.passphrase {
            Passphrase::Inherited => return Ok(None),
            Passphrase::Text(secret) => return Ok(Some(secret.clone())),
            Passphrase::Credential { text, settings } => {
                let secret = self
                    .credentials
                    .resolve(text, settings, &self.world.variables);
                return Ok(Some(secret?));
            }
            Passphrase::Command { .. } if self.world.variable("BORG_PASSPHRASE").is_some() => {
                return Ok(None);
            }
            Passphrase::Command { words, directory } => (words.clone(), directory.clone()),
        };
        if let Some(secret) = self.passphrases.borrow().get(&key) {
            return Ok(Some(secret.clone()));
        }
        let secret = self.run_passcommand(&key.0, key.1.as_deref())?;
        self.passphrases.borrow_mut().insert(key, secret.clone());
        Ok(Some(secret))
    }

    fn run_passcommand(
        &self,
        words: &[String],
        directory: Option<&str>,
    ) -> Result<Secret, RunError> {
        let shown: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        let failed =
            |reason: String| RunError::Passcommand(format!("{}: {reason}", shown.join(" ")));
        let (program, arguments) = words.split_first().ok_or_else(|| failed("empty".into()))?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stderr(Stdio::inherit())
            .stdin(Stdio::inherit());
        if let Some(directory) = directory {
            command.current_dir(expand_home(directory, &|name| self.world.variable(name)));
        }
        let output = command
            .output()
            .map_err(|error| failed(error.to_string()))?;
        if !output.status.success() {
            return Err(failed(output.status.to_string()));
        }
        let text = String::from_utf8(output.stdout)
            .map_err(|_| failed("its output is not UTF-8 text".to_owned()))?;
        let trimmed = text.strip_suffix('\n').unwrap_or(&text);
        Ok(Secret::new(trimmed.to_owned()))
    }

    /// Runs a command and reads the JSON document it prints.
    ///
    /// # Errors
    /// When it does not succeed or prints something else.
    pub fn query(&self, call: &Call, environment: &Environment) -> Result<Value, RunError> {
        let given = self.run(call, environment, Extra::default())?;
        parse_json(&given.data).map_err(|source| RunError::Output {
            command: call.to_string(),
            source,
        })
    }
}

/// A command line without the name of the program, for people; there are no secrets in it.
fn shown(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    format!("borg {}", words.join(" "))
}

/// Reads a JSON document that Borg printed. Bytes of names that are no UTF-8 stand in it as lone
/// surrogates, which are no text here and become question marks.
pub fn parse_json(data: &[u8]) -> Result<Value, serde_json::Error> {
    let text = String::from_utf8_lossy(data);
    serde_json::from_str(&text).or_else(|_| serde_json::from_str(&without_surrogates(&text)))
}

fn without_surrogates(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\\udc") {
        out.push_str(before);
        let second_half = before
            .get(before.len().saturating_sub(6)..)
            .is_some_and(|end| {
                end.starts_with("\\ud8")
                    || end.starts_with("\\ud9")
                    || end.starts_with("\\uda")
                    || end.starts_with("\\udb")
            });
        if second_half {
            out.push_str("\\udc");
            rest = after;
        } else {
            out.push('?');
            rest = after.get(2..).unwrap_or_default();
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_text_do_not_make_json_unreadable() {
        let value = parse_json(br#"{"a": "x\udcff \ud83d\ude00 \ud83d\udc80"}"#).unwrap();
        assert_eq!(
            value.get("a").unwrap().as_str(),
            Some("x? \u{1f600} \u{1f480}")
        );
    }
}
