//! The BorgBackup 1.4 command line: arguments, output, questions, exit codes.
//!
//! This crate sits above the engine and is the only place below the binary
//! where the terminal and the environment are known. Data goes to stdout,
//! everything that is said about the work goes to stderr.
//!
//! [`run`] is the way in: it finds the command in the table of
//! [`commands`], gives it a [`context::Context`] and turns what comes back
//! into messages and an exit code.

pub mod access;
pub mod archives;
pub mod borg_cache;
pub mod client_cache;
pub mod commands;
pub mod console;
pub mod context;
pub mod deletion;
pub mod environment;
pub mod error;
pub mod exit_code;
pub mod facts;
pub mod foresight;
pub mod mount;
pub mod options;
pub mod output;
pub mod passphrase;
pub mod person;
pub mod placeholder;
pub mod profile;
pub mod remote;
pub mod reporter;
pub mod selection;
pub mod signals;
pub mod tar_stream;
pub mod totals;
pub mod world;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use fastness_engine::create::Additions;
use fastness_engine::event::Level;
use fastness_engine::extract::Existing;
use fastness_sys::daemon::{self, Side, Waiting};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use commands::{Action, BORGFS, COMMANDS, Entry};
use console::Streams;
use context::Context;
use environment::Environment;
use error::{CommandError, with_causes};
use exit_code::{Class, ExitCode};
use facts::Notes;
use foresight::Foresight;
use jiff::Timestamp;
use options::arguments::deprecations;
use options::{CommonOptions, Invocation};
use output::log::{Log, LogSettings};
use person::Person;
use profile::Profile;
use remote::KeptSessions;
use reporter::Reporter;

/// The version of Borg whose behaviour this is; other programs compare it.
pub const BORG_VERSION: &str = "1.4.5";

/// What a caller who runs several commands lends to one of them.
#[derive(Default)]
pub struct Lent {
    /// What a `create` gets besides what it is told.
    pub additions: Additions,
    /// What an `extract` does where something is already.
    pub existing: Existing,
    /// Where sessions with servers are kept for the next command.
    pub kept: Option<Arc<KeptSessions>>,
    /// Where is noted what the command finds out.
    pub notes: Option<Notes>,
    /// Filled in by a dry run that looks ahead.
    pub foresight: Option<Foresight>,
}

/// Runs the command line given, whose first word is the program's name, and returns how it ended.
pub fn run(command_line: &[OsString], streams: Streams, environment: &Environment) -> ExitCode {
    run_with(command_line, streams, environment, Lent::default())
}

/// As [`run`], with what the caller lends.
pub fn run_with(
    command_line: &[OsString],
    mut streams: Streams,
    environment: &Environment,
    lent: Lent,
) -> ExitCode {
    let arguments = command_line.get(1..).unwrap_or_default();
    let (entry, mut action) = match read(arguments, &mut streams) {
        Ok(found) => found,
        Err(code) => return code,
    };
    if action.is_server()
        && let Some(command) = environment.text("SSH_ORIGINAL_COMMAND")
        && let Err(code) = follow_client(action.as_mut(), &command, &mut streams, environment)
    {
        return code;
    }
    match prepare(entry, action.as_mut(), environment) {
        Ok(warnings) => carry_out(
            entry,
            action,
            &warnings,
            command_line,
            streams,
            environment,
            lent,
        ),
        Err(error) => refuse(entry, &error, &mut streams, environment),
    }
}

/// Runs `borgfs`, the program that is the command `mount` alone.
pub fn run_borgfs(
    command_line: &[OsString],
    mut streams: Streams,
    environment: &Environment,
) -> ExitCode {
    let arguments = command_line.get(1..).unwrap_or_default();
    let mut options = arguments.iter().take_while(|argument| *argument != "--");
    if options.any(|word| word == "-V" || word == "--version") {
        return print(&mut streams, &format!("borgfs {BORG_VERSION}\n"));
    }
    for warning in deprecations(arguments) {
        say(&mut streams, &format!("{warning}\n"));
    }
    let help = [OsString::from("--help")];
    let arguments = match arguments {
        [] => &help,
        given => given,
    };
    let mut action = match parsed(&BORGFS, arguments, &mut streams) {
        Ok(action) => action,
        Err(code) => return code,
    };
    match prepare(&BORGFS, action.as_mut(), environment) {
        Ok(warnings) => carry_out(
            &BORGFS,
            action,
            &warnings,
            command_line,
            streams,
            environment,
            Lent::default(),
        ),
        Err(error) => refuse(&BORGFS, &error, &mut streams, environment),
    }
}

/// Finds the command in the arguments. What needs no command to be run is done here, and gives the
/// exit code.
fn read(
    arguments: &[OsString],
    streams: &mut Streams,
) -> Result<(&'static Entry, Box<dyn Action>), ExitCode> {
    for warning in deprecations(arguments) {
        say(streams, &format!("{warning}\n"));
    }
    let (entry, arguments) = match options::understand(arguments, &commands::words()) {
        Invocation::Version => return Err(print(streams, &format!("borg {BORG_VERSION}\n"))),
        Invocation::Overview(group) => {
            return Err(print(streams, &commands::help::overview(group.as_deref())));
        }
        Invocation::Misunderstood { group, reason } => {
            let program = group.map_or("borg".to_owned(), |group| format!("borg {group}"));
            let usage = format!("Usage: {program} [OPTIONS] <COMMAND> ...");
            say(streams, &format!("{usage}\n{program}: error: {reason}\n"));
            return Err(ExitCode::ERROR);
        }
        Invocation::Command { index, arguments } => match COMMANDS.get(index) {
            Some(entry) => (entry, arguments),
            None => return Err(ExitCode::ERROR),
        },
    };
    Ok((entry, parsed(entry, &arguments, streams)?))
}

/// Reads the arguments of a command. Mistakes are told and help is shown here, and give the exit
/// code.
fn parsed(
    entry: &Entry,
    arguments: &[OsString],
    streams: &mut Streams,
) -> Result<Box<dyn Action>, ExitCode> {
    match parse(entry, arguments) {
        Ok(action) => Ok(action),
        Err(error) if error.use_stderr() => {
            let text = parser_message(entry, &error);
            say(streams, &text);
            Err(ExitCode::ERROR)
        }
        Err(help) => {
            let text = help.render().to_string();
            Err(print(streams, &format!("{}\n", text.trim_end())))
        }
    }
}

/// Takes from the command that a client of sshd wanted to run, in place of which this server was
/// started, the little that the client may decide: how much is logged, and how long a lock is
/// waited for. A command that is none of Borg's ends the connection, as with Borg; another one
/// than `serve` means nothing.
fn follow_client(
    server: &mut dyn Action,
    command: &str,
    streams: &mut Streams,
    environment: &Environment,
) -> Result<(), ExitCode> {
    let Some(words) = shlex::split(command) else {
        say(streams, "SSH_ORIGINAL_COMMAND: No closing quotation\n");
        return Err(ExitCode::ERROR);
    };
    let mut words = words
        .iter()
        .skip_while(|word| word.contains('='))
        .skip(1)
        .map(OsString::from)
        .peekable();
    // The name under which this program has Borg's command line, when it is no link.
    words.next_if(|word| word == "borg");
    let (entry, mut client) = read(&words.collect::<Vec<_>>(), streams)?;
    prepare(entry, client.as_mut(), environment)
        .map_err(|error| refuse(entry, &error, streams, environment))?;
    if client.is_server() {
        server.follow(client.common());
    }
    Ok(())
}

/// Says why a command is not run.
fn refuse(
    entry: &Entry,
    error: &CommandError,
    streams: &mut Streams,
    environment: &Environment,
) -> ExitCode {
    let text = match error.msgid.as_str() {
        CommandError::USAGE => usage_message(entry, &error.message),
        _ => format!("{error}\n"),
    };
    say(streams, &text);
    error.exit_code(environment.scheme)
}

fn parse(entry: &Entry, arguments: &[OsString]) -> Result<Box<dyn Action>, clap::Error> {
    let matches = entry.command().try_get_matches_from(arguments)?;
    entry.action(&matches)
}

/// Finds what the parser cannot see.
fn prepare(
    entry: &Entry,
    action: &mut dyn Action,
    environment: &Environment,
) -> Result<Vec<String>, CommandError> {
    if action.common().bypass_lock && !entry.may_bypass_lock {
        return Err(CommandError::general(
            "Not allowed to bypass locking mechanism for chosen command",
        ));
    }
    for text in action.texts_with_placeholders() {
        if text.contains(['{', '}']) {
            *text = context::placeholders(environment, Timestamp::now())?.replace(text)?;
        }
    }
    action.settle()
}

fn carry_out(
    entry: &Entry,
    action: Box<dyn Action>,
    warnings: &[String],
    command_line: &[OsString],
    mut streams: Streams,
    environment: &Environment,
    mut lent: Lent,
) -> ExitCode {
    let common = action.common().clone();
    fastness_sys::process::set_umask(common.umask);
    signals::listen_to_questions();
    let log = Log::new(
        log_settings(action.as_ref(), streams.stderr_columns),
        streams.stderr,
        world::seconds_since_1970,
    );
    let reporter = Arc::new(Reporter::new(log, environment.scheme, common.units()));
    tell_first(&reporter, warnings, &common, environment);
    let mut starting = None;
    if action.goes_to_background() {
        // Neither of the two processes could use or end what both hold.
        if let Some(kept) = lent.kept.take() {
            kept.close_all();
        }
        match daemon::fork() {
            Ok(Side::Parent(waiting)) => return wait_for(waiting, &reporter, common.show_rc),
            Ok(Side::Child(child)) => starting = Some(child),
            Err(error) => {
                let error = CommandError::general(with_causes(&error));
                report(entry, &error, &reporter);
                return error.exit_code(environment.scheme);
            }
        }
    }
    let is_child = starting.is_some();
    let show_rc = common.show_rc;
    let mut context = Context {
        environment,
        common,
        reporter: Arc::clone(&reporter),
        stdout: &mut streams.stdout,
        person: Person::new(environment, Arc::clone(&reporter), streams.prompt),
        command_line,
        directory: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
        starting,
        additions: lent.additions,
        existing: lent.existing,
        kept: lent.kept,
        notes: lent.notes,
        foresight: lent.foresight,
    };
    let result = perform(action, &mut context);
    let result = result.map_err(|error| signals::cause_of_end().unwrap_or(error));
    if let Err(error) = &result {
        report(entry, error, &reporter);
        reporter.raise(error.exit_code(environment.scheme));
    }
    if let Some(notes) = &context.notes {
        notes.note(|facts| facts.warnings = reporter.warnings());
    }
    let code = reporter.exit_code();
    if show_rc {
        log_exit_code(reporter.log(), code);
    }
    if is_child {
        // What comes after this is the parent's to do.
        std::process::exit(code.code().into());
    }
    code
}

fn log_settings(action: &dyn Action, columns: Option<usize>) -> LogSettings {
    let common = action.common();
    let outputs = action.outputs();
    LogSettings {
        level: common.level(),
        json: common.log_json,
        marked: action.is_server(),
        topics: common.topics(),
        list: outputs.list,
        stats: outputs.stats,
        progress: common.progress || action.is_server(),
        columns,
    }
}

/// Tells what is to be known before the command begins.
fn tell_first(
    reporter: &Reporter,
    warnings: &[String],
    common: &CommonOptions,
    environment: &Environment,
) {
    for warning in warnings {
        reporter
            .log()
            .log(Level::Warning, "borg.archiver", warning, None);
    }
    if let Some(warning) = without_effect(environment) {
        reporter
            .log()
            .log(Level::Warning, "borg.logger", &warning, None);
    }
    if common.show_version {
        let version = format!("borgbackup version {BORG_VERSION}");
        reporter.log().info("borg.output.show-version", version);
    }
}

/// Runs the command, recording what it does when that is wanted.
fn perform(action: Box<dyn Action>, context: &mut Context<'_>) -> Result<(), CommandError> {
    let profile = match context.common.debug_profile.clone() {
        Some(path) => Some(Profile::begin(&context.directory.join(path))?),
        None => None,
    };
    let result = {
        let _stage = tracing::trace_span!("command").entered();
        action.run(context)
    };
    let result = result.and_then(|()| {
        context
            .stdout
            .flush()
            .map_err(|error| context::stdout_failed(&error))
    });
    // A profile of a command that failed tells something, too.
    let profiled = profile.map_or(Ok(()), Profile::finish);
    result.and(profiled)
}

/// Ends the part of a command that waits for the one in the background to be ready.
fn wait_for(waiting: Waiting, reporter: &Reporter, show_rc: bool) -> ExitCode {
    match waiting.wait() {
        Ok(None) => {
            if show_rc {
                log_exit_code(reporter.log(), ExitCode::SUCCESS);
            }
            ExitCode::SUCCESS
        }
        // It has told why.
        Ok(Some(code)) => ExitCode::from_raw(code),
        Err(_) => ExitCode::ERROR,
    }
}

/// Says which setting of Borg, bound to Python as it is, has no effect here.
fn without_effect(environment: &Environment) -> Option<String> {
    environment.logging_conf.as_ref().map(|path| {
        // The beginning is what Borg says when it cannot use the file; it goes on, too.
        format!(
            "setup_logging for \"{}\" failed with \"logging configurations of Python are not supported\".",
            std::path::absolute(path).unwrap_or_else(|_| path.clone()).display()
        )
    })
}

/// Tells what went wrong, and the next step to a person.
fn report(entry: &Entry, error: &CommandError, reporter: &Reporter) {
    let log = reporter.log();
    if error.msgid == CommandError::USAGE {
        let title = entry.title();
        let name = match entry.words {
            // A topic is looked for by the program as a whole.
            ["help"] => "borg",
            _ => &title,
        };
        log.write(&complaint(entry, name, &error.message), "");
        return;
    }
    log.log(
        Level::Error,
        "borg.archiver",
        &error.message,
        Some(&error.msgid),
    );
    let person = log.settings().columns.is_some() && !log.is_json();
    if let (true, Some(hint)) = (person, &error.hint) {
        log.write(&format!("hint: {hint}"), "\n");
    }
}

fn log_exit_code(log: &Log, code: ExitCode) {
    let level = match code.class() {
        Class::Success => Level::Info,
        Class::Warning => Level::Warning,
        Class::Error | Class::Signal => Level::Error,
    };
    let message = format!(
        "terminating with {} status, rc {}",
        code.class().name(),
        code.code()
    );
    log.log(level, "borg.output.show-rc", &message, None);
}

/// Says what is wrong with the arguments: how they go, then what is wrong, as the last line.
fn usage_message(entry: &Entry, reason: &str) -> String {
    complaint(entry, &entry.title(), reason)
}

/// Says what is wrong, in the name of the command or, as for Borg, of the whole program.
fn complaint(entry: &Entry, name: &str, reason: &str) -> String {
    let usage = entry.command().render_usage();
    format!("{usage}\n{name}: error: {reason}\n")
}

/// Takes the reason out of the parser's message, which adds usage and advice of its own.
fn parser_message(entry: &Entry, error: &clap::Error) -> String {
    if error.kind() == ErrorKind::MissingRequiredArgument
        && let Some(ContextValue::Strings(missing)) = error.get(ContextKind::InvalidArg)
    {
        let bare = |text: &String| text.trim_matches(['<', '>', '.']).to_owned();
        let missing: Vec<String> = missing.iter().map(bare).collect();
        let reason = format!(
            "the following arguments are required: {}",
            missing.join(", ")
        );
        return usage_message(entry, &reason);
    }
    if let (ErrorKind::UnknownArgument, Some(ContextValue::String(given))) =
        (error.kind(), error.get(ContextKind::InvalidArg))
    {
        return unknown_argument(entry, given);
    }
    if let Some(reason) = reason_in_borgs_words(entry, error) {
        return usage_message(entry, &reason);
    }
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let reason = text.split("\n\nUsage:").next().unwrap_or(text);
    let reason = reason
        .split("\n\nFor more information")
        .next()
        .unwrap_or(reason);
    usage_message(entry, reason.trim_end())
}

/// Tells of an option that is not known, or whose name is cut so short that several are meant.
fn unknown_argument(entry: &Entry, given: &str) -> String {
    let name = given.split('=').next().unwrap_or(given);
    let near = match name.strip_prefix("--") {
        Some(begin) if !begin.is_empty() => entry.options_that_begin_with(begin),
        _ => Vec::new(),
    };
    match near.as_slice() {
        [] => {
            let title = entry.title();
            let program = title.split(' ').next().unwrap_or_default();
            complaint(entry, program, &format!("unrecognized arguments: {given}"))
        }
        near => {
            let reason = format!("ambiguous option: {name} could match {}", near.join(", "));
            usage_message(entry, &reason)
        }
    }
}

/// Tells of a value that is none of those allowed, and of options that exclude each other.
fn reason_in_borgs_words(entry: &Entry, error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(given)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let argument = argument_name(entry, given);
    match (error.kind(), error.get(ContextKind::ValidValue)) {
        (ErrorKind::ValueValidation, _) => {
            let cause = std::error::Error::source(error)?;
            Some(format!("argument {argument}: {cause}"))
        }
        (ErrorKind::InvalidValue, Some(ContextValue::Strings(valid))) => {
            let Some(ContextValue::String(value)) = error.get(ContextKind::InvalidValue) else {
                return None;
            };
            let valid: Vec<String> = valid.iter().map(|value| format!("'{value}'")).collect();
            let valid = valid.join(", ");
            Some(format!(
                "argument {argument}: invalid choice: '{value}' (choose from {valid})"
            ))
        }
        (ErrorKind::ArgumentConflict, _) => {
            let Some(ContextValue::String(other)) = error.get(ContextKind::PriorArg) else {
                return None;
            };
            let other = argument_name(entry, other);
            Some(format!(
                "argument {other}: not allowed with argument {argument}"
            ))
        }
        _ => None,
    }
}

/// Returns both names of an option, such as `-l/--list`.
fn argument_name(entry: &Entry, text: &str) -> String {
    let long = text.split([' ', '=']).next().unwrap_or(text);
    let command = entry.command();
    let mut options = command.get_arguments();
    let option = options.find(|option| option.get_long() == long.strip_prefix("--"));
    match option.and_then(clap::Arg::get_short) {
        Some(short) => format!("-{short}/{long}"),
        None => long.to_owned(),
    }
}

fn print(streams: &mut Streams, text: &str) -> ExitCode {
    let result = streams
        .stdout
        .write_all(text.as_bytes())
        .and_then(|()| streams.stdout.flush());
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let error = context::stdout_failed(&error);
            say(streams, &format!("{error}\n"));
            ExitCode::ERROR
        }
    }
}

/// Writes to stderr before there is a logger.
fn say(streams: &mut Streams, text: &str) {
    let _ = streams.stderr.write_all(text.as_bytes());
}
