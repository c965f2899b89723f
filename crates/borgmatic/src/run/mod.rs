//! A whole run: configuration files, repositories, retries, summary, exit code.
//!
//! One file, or one repository, that fails does not stop the others; the exit code tells.

mod account;
mod bootstrap;
pub mod borg;
pub mod digest;
pub mod direct;
mod estimate;
mod external;
mod file;
mod generate;
mod hooked;
mod logging;
mod look_ahead;
mod making;
mod outcome;
mod report;
mod restore;
mod restore_files;
pub(crate) mod runner;
mod scratch_server;
mod selection;
mod sink;
mod spot;
mod steps;
mod together;
mod validate;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::actions;
use crate::browse;
use crate::command_line::actions::{Action, Bootstrap, ConfigShow};
use crate::command_line::{self, CommandLine, Parsed};
use crate::config::error::ConfigErrors;
use crate::config::found::Found;
use crate::config::tree::{Entry, Node, Position};
use crate::config::{Configuration, LoadContext, load};
use crate::hooks::command::Side;
use crate::output::log::{Level, Log, Record};
use crate::plan::call::{Environment, Passphrase};
use crate::report::Report;
pub use bootstrap::manifest_calls;
use borg::{Borg, InProcess};
use outcome::RunError;
pub use runner::parse_json;
use runner::{Extra, Runner};

/// What a run has of the world around it.
pub struct World {
    /// The environment.
    pub variables: BTreeMap<OsString, OsString>,
    /// Runs Borg commands.
    pub borg: Box<dyn Borg>,
    /// Whether stdout is a terminal, with a person in front of it.
    pub person: bool,
    /// Width of the terminal behind stderr, if there is one.
    pub columns: Option<usize>,
    /// The time of day.
    pub now: Box<dyn Fn() -> SystemTime>,
    /// The name of the day of the week.
    pub weekday: Box<dyn Fn() -> String>,
    /// A random number.
    pub random: Box<dyn Fn() -> u64>,
    /// Waits.
    pub sleep: Box<dyn Fn(Duration)>,
    /// Makes a name that nothing else has.
    pub unique: Box<dyn Fn() -> String>,
}

impl World {
    /// The world of this process.
    pub fn of_process() -> Self {
        let columns = fastness_borg::console::Streams::of_process().stderr_columns;
        Self {
            variables: std::env::vars_os().collect(),
            borg: Box::new(InProcess),
            person: std::io::stdout().is_terminal(),
            columns,
            now: Box::new(SystemTime::now),
            weekday: Box::new(|| jiff::Zoned::now().strftime("%A").to_string()),
            random: Box::new(random),
            sleep: Box::new(std::thread::sleep),
            unique: Box::new(unique),
        }
    }

    /// Returns an environment variable as text.
    pub fn variable(&self, name: &str) -> Option<String> {
        let value = self.variables.get(&OsString::from(name))?;
        value.to_str().map(str::to_owned)
    }
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    // Nothing secret depends on it: which files are looked at.
    let _ = getrandom::fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

fn unique() -> String {
    let mut bytes = [0; 8];
    // Nothing secret; and a name that is taken is refused by who uses it.
    let _ = getrandom::fill(&mut bytes);
    data_encoding::HEXLOWER.encode(&bytes)
}

/// Runs a call and returns the exit code. `program` is the name it is called under (`fastness` or
/// `borgmatic`), `words` the rest of the command line.
pub fn run(
    program: &str,
    words: &[String],
    world: &World,
    mut stdout: Box<dyn Write + Send>,
    mut stderr: Box<dyn Write + Send>,
) -> u8 {
    let line = match command_line::parse(program, words) {
        Ok(Parsed::Run(line)) => *line,
        Ok(Parsed::Print(text)) => {
            // A reader that left wants no more of it.
            let _ = stdout.write_all(text.as_bytes());
            return 0;
        }
        Err(error) => {
            let text = error.to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text);
            let _ = writeln!(stderr, "{program}: {text}");
            return 1;
        }
    };
    if let Some(code) = generate::asked(
        &line,
        &|name| world.variable(name),
        &mut stdout,
        &mut stderr,
    ) {
        return code;
    }
    let loaded = Loaded::load(&line, world);
    let person = is_person(program, &line, &loaded.configurations, world);
    let settings = logging::settings(&line, &loaded.configurations, world, person);
    let log = Log::new(settings, stdout, stderr);
    let _logs = match logging::attach(&log, &loaded.configurations) {
        Ok(attached) => attached,
        Err(error) => {
            log.output(Level::Critical, &error.to_string());
            return 1;
        }
    };
    if loaded.wants_help(&line) {
        let help = command_line::parse(program, &["--help".to_owned()]);
        if let Ok(Parsed::Print(text)) = help {
            log.data(text.as_bytes());
        }
        return 0;
    }
    Run {
        line: &line,
        person,
        runner: Runner::new(world, log.clone()),
        log,
        summary: Vec::new(),
        results: Vec::new(),
        signal: None,
        account: Rc::default(),
    }
    .finish(&loaded)
}

/// The configuration files of a run.
struct Loaded {
    configurations: Vec<Configuration>,
    errors: Vec<(PathBuf, ConfigErrors)>,
    looked_at: Vec<PathBuf>,
}

impl Loaded {
    fn load(line: &CommandLine, world: &World) -> Self {
        let variable = |name: &str| world.variable(name);
        let validating = line
            .actions
            .iter()
            .any(|action| action.name() == "validate");
        let context = LoadContext {
            variable: &variable,
            interpolate_environment: line.interpolate_environment && !validating,
            overrides: &line.overrides,
        };
        if let Some(flags) = bootstrap::asked(line) {
            let mut loaded = Self::of(Found::default());
            loaded.add_bootstrap(flags, context);
            return loaded;
        }
        Self::of(Found::read(&line.config_paths, context))
    }

    fn of(found: Found) -> Self {
        Self {
            configurations: found.configurations,
            errors: found.errors,
            looked_at: found.looked_at,
        }
    }

    /// A configuration for a machine that has none: a repository, and what flags say.
    fn add_bootstrap(&mut self, flags: &Bootstrap, context: LoadContext<'_>) {
        let name = "command line";
        // The files go elsewhere than where this program runs.
        let repository = match flags.repository.contains(':') {
            true => flags.repository.clone(),
            false => std::path::absolute(&flags.repository).map_or_else(
                |_| flags.repository.clone(),
                |path| path.to_string_lossy().into_owned(),
            ),
        };
        let text = "match_archives: '*'\nrelocated_repo_access_is_ok: true\nrepositories: [{}]\n";
        let made = load::load_text(text, name).and_then(|mut tree| {
            let entry = Entry {
                key: "path".to_owned(),
                at: Position::whole(name),
                value: Node::text(&repository, Position::whole(name)),
            };
            if let Some(repository) = tree.get_mut("repositories").and_then(|all| all.element(0)) {
                repository.set(entry);
            }
            Configuration::from_tree(vec![PathBuf::from(name)], tree, context)
        });
        match made {
            Ok(configuration) => self.configurations.push(configuration),
            Err(errors) => self.errors.push((PathBuf::from(name), errors)),
        }
    }

    /// Without default actions a call without an action has nothing to do.
    fn wants_help(&self, line: &CommandLine) -> bool {
        let off = |configuration: &Configuration| {
            configuration.options.control.default_actions == Some(false)
        };
        !line.named && !self.configurations.is_empty() && self.configurations.iter().all(off)
    }
}

/// A person is told about steps, unless the account of borgmatic was asked for.
fn is_person(
    program: &str,
    line: &CommandLine,
    configurations: &[Configuration],
    world: &World,
) -> bool {
    let json = line.actions.iter().any(|action| action.json());
    let asked = |configuration: &Configuration| {
        let output = &configuration.options.output;
        output.verbosity.is_some() || output.log_json == Some(true)
    };
    world.person && program != "borgmatic" && !json && !configurations.iter().any(asked)
}

/// A run on its way.
struct Run<'a> {
    line: &'a CommandLine,
    person: bool,
    runner: Runner<'a>,
    log: Log,
    summary: Vec<Record>,
    results: Vec<Value>,
    /// The exit code of a command that a signal ended.
    signal: Option<u8>,
    /// What became of the repositories of the file that is run.
    account: Rc<RefCell<Report>>,
}

impl Run<'_> {
    fn finish(mut self, loaded: &Loaded) -> u8 {
        self.tell_of_loading(loaded);
        if let Some(flags) = bootstrap::asked(self.line) {
            self.bootstrap(loaded, flags);
            return self.end();
        }
        let browses = self.line.actions.contains(&Action::Browse);
        if browses && !loaded.configurations.is_empty() {
            if let Err(error) = browse::run(&loaded.configurations) {
                self.add(Level::Critical, error);
            }
            return self.end();
        }
        match (validate::asked(self.line), validate::show_asked(self.line)) {
            (Some(show), _) => self.validate(loaded, show),
            (None, Some(show)) => self.show(loaded, show),
            (None, None) => self.run_all(loaded),
        }
        self.end()
    }

    /// Prints the summary, and returns the exit code.
    fn end(self) -> u8 {
        self.log.summary(&self.summary);
        let failed = self
            .summary
            .iter()
            .any(|record| record.level == Level::Critical);
        self.signal.unwrap_or(u8::from(failed))
    }

    fn show_results(&mut self) {
        if !self.results.is_empty() {
            let results = std::mem::take(&mut self.results);
            self.log
                .data(validate::python_json(&Value::Array(results)).as_bytes());
        }
    }

    fn add(&mut self, level: Level, text: impl Into<String>) {
        self.summary.push(Record::new(level, text));
    }

    fn tell_of_loading(&mut self, loaded: &Loaded) {
        for warning in &self.line.warnings {
            self.summary
                .push(Record::new(Level::Warning, warning.clone()));
        }
        for configuration in &loaded.configurations {
            for warning in &configuration.warnings {
                self.add(Level::Warning, warning.clone());
            }
        }
        for (path, errors) in &loaded.errors {
            let heading = format!("{}: Error parsing configuration file", path.display());
            self.add(Level::Critical, heading);
            for line in errors.to_string().lines() {
                self.add(Level::Critical, line);
            }
        }
    }

    fn validate(&mut self, loaded: &Loaded, show: bool) {
        if !loaded.errors.is_empty() {
            self.add(Level::Critical, "Configuration validation failed");
        } else if loaded.configurations.is_empty() {
            self.no_configuration(loaded);
        } else {
            if show {
                self.log
                    .data(validate::shown(&loaded.configurations).as_bytes());
            }
            self.add(Level::Answer, "All configuration files are valid");
        }
    }

    fn bootstrap(&mut self, loaded: &Loaded, flags: &Bootstrap) {
        let Some(configuration) = loaded.configurations.first() else {
            return;
        };
        match bootstrap::run(&self.runner, flags, configuration, self.line.dry_run) {
            Ok(()) => self.add(Level::Answer, "Bootstrap successful"),
            Err(error) => {
                for line in error.lines() {
                    self.add(Level::Critical, line);
                }
            }
        }
    }

    fn show(&mut self, loaded: &Loaded, show: &ConfigShow) {
        if loaded.configurations.is_empty() {
            self.no_configuration(loaded);
            return;
        }
        let text = match show.json {
            true => validate::shown_as_json(&loaded.configurations, show.option.as_deref()),
            false => match &show.option {
                Some(option) => validate::shown_option(&loaded.configurations, option),
                None => validate::shown(&loaded.configurations),
            },
        };
        self.log.data(text.as_bytes());
    }

    fn no_configuration(&mut self, loaded: &Loaded) {
        let paths = loaded
            .looked_at
            .iter()
            .map(|path| path.display().to_string());
        let paths = paths.collect::<Vec<_>>().join(" ");
        self.add(
            Level::Critical,
            format!("{paths}: No valid configuration files found"),
        );
    }

    fn run_all(&mut self, loaded: &Loaded) {
        if loaded.configurations.is_empty() {
            self.no_configuration(loaded);
            return;
        }
        if let Some(name) = &self.line.repository {
            let mut all = loaded
                .configurations
                .iter()
                .flat_map(|file| &file.repositories);
            if !all.any(|repository| repository.is_called(name)) {
                let text = format!("Repository \"{name}\" not found in configuration files");
                self.add(Level::Critical, text);
                return;
            }
        }
        if self.everything(loaded, Side::Before) {
            let files = loaded.configurations.iter();
            let files: Vec<PathBuf> = files.flat_map(|one| one.files.iter().cloned()).collect();
            for configuration in &loaded.configurations {
                if self.signal.is_none() {
                    self.run_file(configuration, &files);
                }
            }
            self.unmount(loaded);
            self.show_results();
            self.everything(loaded, Side::After);
        }
    }

    /// Takes a file system away: once, however many repositories there are.
    fn unmount(&mut self, loaded: &Loaded) {
        let wanted = self.line.actions.iter().find_map(|action| match action {
            Action::Umount { mount_point } => Some(mount_point),
            _ => None,
        });
        // With several files the last one says how, as in borgmatic.
        let (Some(mount_point), Some(configuration)) = (wanted, loaded.configurations.last())
        else {
            return;
        };
        if self.signal.is_some() {
            return;
        }
        let text = format!("Unmounting mount point {mount_point}");
        self.log.record(Level::Info, &text);
        let options = &configuration.options;
        let call = actions::mount::umount(mount_point, options, self.log.verbosity());
        let environment = Environment {
            // No repository, no passphrase.
            passphrase: Passphrase::Inherited,
            ..Environment::of(options)
        };
        if let Err(error) = self.runner.run(&call, &environment, Extra::default()) {
            self.add(Level::Critical, "Error unmounting mount point");
            for line in error.lines() {
                self.add(Level::Critical, line);
            }
            if let RunError::Signal { code } = error {
                self.signal = Some(code);
            }
        }
    }
}

#[cfg(test)]
mod tests;
