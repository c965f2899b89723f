//! Puts units into place, finds those that are there, and takes them away again.
//!
//! Units are rendered to a scratch directory, examined by systemd where it is, and only then put
//! into place, each whole. A file that is not ours is never touched. Nothing is enabled without
//! being asked for.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use fastness_borg::environment::Environment;
use fastness_engine::directories::replace_file_with_mode;

use super::Schedule;
use super::calendar::Calendar;
use super::systemd::{self, MARK, Surroundings, Unit};
use crate::config::Configuration;
use crate::config::paths::{Variables, home};
use crate::config::tree::Node;
use crate::directories::state_directory;
use crate::report::files;

/// Exists while systemd runs this machine.
const RUNNING: &str = "/run/systemd/system";

/// Variables that say where the program finds its own files. Services get those of who installs
/// them: systemd gives them none, and a run by a timer must find what a run by hand has left.
const PLACES: [&str; 9] = [
    "HOME",
    "XDG_CONFIG_HOME",
    "XDG_CACHE_HOME",
    "XDG_STATE_HOME",
    "BORG_BASE_DIR",
    "BORG_CONFIG_DIR",
    "BORG_CACHE_DIR",
    "BORG_SECURITY_DIR",
    "BORG_KEYS_DIR",
];

/// Where and how units are installed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// For the systemd of this user, instead of that of the machine.
    pub user: bool,
    /// Start the timers, now and whenever the machine starts.
    pub enable: bool,
    /// Another directory than systemd's.
    pub directory: Option<PathBuf>,
}

/// What was installed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Installation {
    /// The files of the units.
    pub files: Vec<PathBuf>,
    /// Files of ours that were taken away, for nothing is scheduled for them any more.
    pub removed: Vec<PathBuf>,
    /// What systemd says of each service: its name and how exposed it is, as `2.1 OK`.
    pub exposure: Vec<(String, String)>,
    /// Whether the timers are at work now.
    pub enabled: bool,
    /// What else people should know.
    pub notes: Vec<String>,
}

/// A timer that is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledTimer {
    /// The file.
    pub file: PathBuf,
    /// The configuration it is for.
    pub configuration: PathBuf,
    /// When it elapses.
    pub calendar: Option<Calendar>,
    /// Whether it is started with the machine.
    pub enabled: bool,
}

/// Why units cannot be installed or removed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// Nothing is scheduled.
    #[error("{}: nothing is scheduled: all actions are off", .0.display())]
    Nothing(PathBuf),
    /// A file of somebody else has the name.
    #[error("{} was not made by this program; move it away first", .0.display())]
    Foreign(PathBuf),
    /// Two configurations would have the same units.
    #[error("{} belongs to {}; give the configuration files different names", file.display(), owner.display())]
    Taken {
        /// The unit.
        file: PathBuf,
        /// The other configuration.
        owner: PathBuf,
    },
    /// systemd does not accept them.
    #[error("systemd does not accept the units, nothing was installed:\n{0}")]
    Refused(String),
    /// A command of systemd failed.
    #[error("{command}: {reason}")]
    Command {
        /// The command.
        command: String,
        /// What it said.
        reason: String,
    },
    /// The system refused something.
    #[error("{}: {source}", path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

fn system(path: &Path) -> impl FnOnce(std::io::Error) -> InstallError {
    let path = path.to_owned();
    move |source| InstallError::System { path, source }
}

/// Returns where systemd looks for units.
pub fn unit_directory(user: bool, variable: Variables<'_>) -> PathBuf {
    if !user {
        return PathBuf::from("/etc/systemd/system");
    }
    let config = variable("XDG_CONFIG_HOME").filter(|path| !path.is_empty());
    let config = config.map_or_else(|| Path::new(&home(variable)).join(".config"), PathBuf::from);
    config.join("systemd/user")
}

fn directory(options: &Options, variable: Variables<'_>) -> PathBuf {
    let own = options.directory.clone();
    own.unwrap_or_else(|| unit_directory(options.user, variable))
}

/// Installs the units of a configuration for the program at `program`.
///
/// # Errors
/// When nothing is scheduled, a name is taken, systemd refuses the units, or they cannot be written.
pub fn install(
    configuration: &Configuration,
    program: &Path,
    options: &Options,
    variable: Variables<'_>,
) -> Result<Installation, InstallError> {
    let mut configuration = configuration.clone();
    configuration.path = absolute(&configuration.path);
    let schedule = Schedule::of(&configuration);
    if schedule.jobs.is_empty() {
        return Err(InstallError::Nothing(configuration.path));
    }
    let surroundings = surroundings(&configuration, program, options.user, variable);
    let units = systemd::units(&configuration, &schedule, &surroundings);
    let directory = directory(options, variable);
    for unit in &units {
        refuse_taken(&directory.join(&unit.name), &configuration.path)?;
    }
    let mut installation = examine(&units, options)?;
    fs::create_dir_all(&directory).map_err(system(&directory))?;
    for unit in &units {
        let path = directory.join(&unit.name);
        replace_file_with_mode(&path, unit.text.as_bytes(), 0o644).map_err(system(&path))?;
        installation.files.push(path);
    }
    for path in ours(&directory)? {
        let same = owner(&path).is_some_and(|owner| owner == configuration.path);
        if same && !installation.files.contains(&path) {
            take_away(&path, options)?;
            installation.removed.push(path);
        }
    }
    for name in ["BORG_PASSPHRASE", "BORG_PASSCOMMAND"] {
        if variable(name).is_some() {
            let text =
                format!("{name} of this shell is not known to timers; use encryption_passcommand");
            installation.notes.push(text);
        }
    }
    for path in &surroundings.writable {
        // Only what is always the program's own; a repository that is not mounted must not be made.
        if own_places(&configuration, variable).contains(path) && !path.exists() {
            private_directory(path)?;
        }
    }
    start(&mut installation, options)?;
    Ok(installation)
}

fn private_directory(path: &Path) -> Result<(), InstallError> {
    let mut builder = fs::DirBuilder::new();
    let made = builder.mode(0o700).recursive(true).create(path);
    made.map_err(system(path))
}

/// Lets systemd know of the units, and starts the timers if that is wanted.
fn start(installation: &mut Installation, options: &Options) -> Result<(), InstallError> {
    let timers = installation.files.iter();
    let timers: Vec<String> = timers
        .filter(|path| path.extension().is_some_and(|ending| ending == "timer"))
        .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .collect();
    let user = if options.user { "--user " } else { "" };
    let by_hand = format!("systemctl {user}enable --now {}", timers.join(" "));
    if options.directory.is_some() || !Path::new(RUNNING).exists() {
        if options.enable {
            let text = format!("systemd does not run here; start the timers with: {by_hand}");
            installation.notes.push(text);
        }
        return Ok(());
    }
    systemctl(options, &["daemon-reload"])?;
    if options.enable {
        let mut words = vec!["enable", "--now"];
        words.extend(timers.iter().map(String::as_str));
        systemctl(options, &words)?;
        installation.enabled = true;
    } else {
        let text = format!("nothing runs yet; start the timers with: {by_hand}");
        installation.notes.push(text);
    }
    if options.user {
        let text = "timers of a user run while the user is logged in, or always after: loginctl enable-linger";
        installation.notes.push(text.to_owned());
    }
    Ok(())
}

/// Takes away the units of these configurations, or all of ours when none is named. Returns what
/// is gone.
///
/// # Errors
/// When a unit cannot be stopped or removed.
pub fn remove(
    configurations: &[PathBuf],
    options: &Options,
    variable: Variables<'_>,
) -> Result<Vec<PathBuf>, InstallError> {
    let wanted: Vec<PathBuf> = configurations.iter().map(|path| absolute(path)).collect();
    let mut gone = Vec::new();
    for path in ours(&directory(options, variable))? {
        let of = owner(&path).unwrap_or_default();
        if wanted.is_empty() || wanted.contains(&of) {
            take_away(&path, options)?;
            gone.push(path);
        }
    }
    if !gone.is_empty() && options.directory.is_none() && Path::new(RUNNING).exists() {
        systemctl(options, &["daemon-reload"])?;
    }
    Ok(gone)
}

fn take_away(path: &Path, options: &Options) -> Result<(), InstallError> {
    let name = path.file_name().unwrap_or_default();
    let is_timer = path.extension().is_some_and(|ending| ending == "timer");
    if is_timer && options.directory.is_none() && Path::new(RUNNING).exists() {
        systemctl(options, &["disable", "--now", &name.to_string_lossy()])?;
    }
    let link = wanted_by(path);
    if fs::symlink_metadata(&link).is_ok_and(|metadata| metadata.is_symlink()) {
        fs::remove_file(&link).map_err(system(&link))?;
    }
    fs::remove_file(path).map_err(system(path))
}

/// Where systemd links a timer that is enabled.
fn wanted_by(path: &Path) -> PathBuf {
    let directory = path.parent().unwrap_or(Path::new("."));
    let wants = directory.join("timers.target.wants");
    wants.join(path.file_name().unwrap_or_default())
}

/// Returns the timers of ours that are installed.
///
/// # Errors
/// When the directory cannot be read.
pub fn list(
    options: &Options,
    variable: Variables<'_>,
) -> Result<Vec<InstalledTimer>, InstallError> {
    let files = ours(&directory(options, variable))?;
    let timers = files
        .into_iter()
        .filter(|path| path.extension().is_some_and(|ending| ending == "timer"));
    Ok(timers
        .map(|file| {
            let text = fs::read_to_string(&file).unwrap_or_default();
            let mut lines = text.lines();
            let calendar = lines.find_map(|line| line.strip_prefix("OnCalendar="));
            InstalledTimer {
                configuration: owner(&file).unwrap_or_default(),
                calendar: calendar.and_then(|text| text.parse().ok()),
                enabled: fs::symlink_metadata(wanted_by(&file)).is_ok(),
                file,
            }
        })
        .collect())
}

/// Tells whether timers of a configuration are installed, for the machine or this user, where
/// systemd looks for them.
pub fn is_installed(configuration: &Path, variable: Variables<'_>) -> bool {
    let configuration = absolute(configuration);
    let name = format!("fastness-{}-create.timer", systemd::stem(&configuration));
    [false, true].into_iter().any(|user| {
        let file = unit_directory(user, variable).join(&name);
        owner(&file).is_some_and(|owner| owner == configuration)
    })
}

/// The files of ours in a directory, in order.
fn ours(directory: &Path) -> Result<Vec<PathBuf>, InstallError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(system(directory)(error)),
    };
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("fastness-"))
        .map(|entry| entry.path())
        .filter(|path| owner(path).is_some())
        .collect();
    files.sort();
    Ok(files)
}

/// The configuration that a unit of ours is for.
fn owner(path: &Path) -> Option<PathBuf> {
    let text = fs::read_to_string(path).ok()?;
    let first = text.lines().next()?;
    let path = first.strip_prefix(MARK)?.strip_prefix(" for ")?;
    Some(PathBuf::from(path))
}

fn refuse_taken(path: &Path, configuration: &Path) -> Result<(), InstallError> {
    if fs::symlink_metadata(path).is_err() {
        return Ok(());
    }
    match owner(path) {
        Some(owner) if owner == configuration => Ok(()),
        Some(owner) => Err(InstallError::Taken {
            file: path.to_owned(),
            owner,
        }),
        None => Err(InstallError::Foreign(path.to_owned())),
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Lets systemd examine units where its tools are: without them there is a note.
fn examine(units: &[Unit], options: &Options) -> Result<Installation, InstallError> {
    let mut installation = Installation::default();
    let scratch = std::env::temp_dir().join(format!("fastness-units-{}", std::process::id()));
    // Not one that somebody else has made.
    let made = fs::DirBuilder::new().mode(0o700).create(&scratch);
    made.map_err(system(&scratch))?;
    let result = examine_in(&scratch, units, options, &mut installation);
    // Nothing of value is in it.
    let _ = fs::remove_dir_all(&scratch);
    result.map(|()| installation)
}

fn examine_in(
    scratch: &Path,
    units: &[Unit],
    options: &Options,
    installation: &mut Installation,
) -> Result<(), InstallError> {
    let mut paths = Vec::new();
    for unit in units {
        let path = scratch.join(&unit.name);
        fs::write(&path, &unit.text).map_err(system(&path))?;
        paths.push(path);
    }
    let analyze = || {
        let mut command = Command::new("systemd-analyze");
        command.args(options.user.then_some("--user"));
        command
    };
    let verified = analyze()
        .args(["verify", "--man=no", "--recursive-errors=no"])
        .args(&paths)
        .output();
    let Ok(verified) = verified else {
        let text = "systemd-analyze is not here, so the units were not examined";
        installation.notes.push(text.to_owned());
        return Ok(());
    };
    if !verified.status.success() {
        let said = String::from_utf8_lossy(&verified.stderr).trim().to_owned();
        return Err(InstallError::Refused(said));
    }
    if options.user {
        return Ok(());
    }
    for path in paths
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == "service"))
    {
        let told = analyze()
            .args(["security", "--offline=yes", "--no-pager"])
            .arg(path)
            .output();
        let told = told.map(|told| String::from_utf8_lossy(&told.stdout).into_owned());
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some(level) = told.ok().as_deref().and_then(exposure) {
            installation.exposure.push((name.into_owned(), level));
        }
    }
    Ok(())
}

/// The last line tells it: `→ Overall exposure level for a.service: 2.1 OK 🙂`.
fn exposure(told: &str) -> Option<String> {
    let line = told
        .lines()
        .find(|line| line.contains("Overall exposure level"))?;
    let (_, level) = line.rsplit_once(": ")?;
    let ascii = |c: char| c.is_ascii();
    let level: String = level.chars().filter(|c| ascii(*c)).collect();
    Some(level.trim().to_owned())
}

fn systemctl(options: &Options, words: &[&str]) -> Result<(), InstallError> {
    let mut command = Command::new("systemctl");
    command.args(options.user.then_some("--user")).args(words);
    let failed = |reason: String| InstallError::Command {
        command: format!("systemctl {}", words.join(" ")),
        reason,
    };
    let output = command
        .output()
        .map_err(|error| failed(error.to_string()))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(failed(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        )),
    }
}

/// The directories that are the program's own: state, caches, keys and what is known of
/// repositories.
fn own_places(configuration: &Configuration, variable: Variables<'_>) -> Vec<PathBuf> {
    let state = state_directory(&configuration.options.access, variable);
    let mut places = vec![state.with_file_name("fastness"), state];
    let options = configuration.repositories.iter();
    for repository in options.map(|repository| &repository.options) {
        let names = PLACES.iter();
        let mut variables: Vec<(OsString, OsString)> = names
            .filter_map(|name| Some(((*name).into(), variable(name)?.into())))
            .collect();
        let own = repository.access.variables.iter();
        variables.extend(own.map(|(name, value)| (name.into(), value.into())));
        let home = home(variable);
        let environment = Environment::from_variables(variables, Some(Path::new(&home)), 0);
        let directories = environment.directories;
        places.extend([directories.cache, directories.security, directories.config]);
    }
    places.sort();
    places.dedup();
    places
}

/// All directories that runs write into, but for those of commands.
fn writable_places(configuration: &Configuration, variable: Variables<'_>) -> Vec<PathBuf> {
    let mut writable = own_places(configuration, variable);
    let repositories = configuration.repositories.iter();
    let local = repositories.filter_map(|repository| {
        let path = repository
            .path
            .strip_prefix("file://")
            .unwrap_or(&repository.path);
        path.starts_with('/').then(|| PathBuf::from(path))
    });
    writable.extend(local);
    let files_of = |key: &str, ending: &str| files::path_of(configuration, key, ending, variable);
    let files = [
        configuration
            .options
            .output
            .log_file
            .clone()
            .map(PathBuf::from),
        files_of("metrics", "prom"),
        files_of("status_file", "json"),
    ];
    let directories = files.into_iter().flatten();
    writable.extend(directories.filter_map(|file| file.parent().map(Path::to_owned)));
    // SQLite keeps a journal beside a database that it reads.
    let databases = configuration.tree.get("sqlite_databases");
    let databases = databases.map(Node::elements).unwrap_or_default();
    let databases = databases
        .iter()
        .filter_map(|node| node.get("path")?.as_text());
    writable.extend(databases.filter_map(|path| Path::new(path).parent().map(Path::to_owned)));
    writable.retain(|path| path.is_absolute());
    writable.sort();
    writable.dedup();
    writable
}

fn surroundings(
    configuration: &Configuration,
    program: &Path,
    user: bool,
    variable: Variables<'_>,
) -> Surroundings {
    let settings = &configuration.options.access.credentials;
    let store = settings.encrypted_credentials_directory.as_deref();
    let store = Path::new(store.unwrap_or("/etc/credstore.encrypted"));
    let credentials = systemd::credentials(&configuration.tree).into_iter();
    Surroundings {
        program: program.to_owned(),
        user,
        writable: writable_places(configuration, variable),
        variables: PLACES
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), variable(name)?)))
            .filter(|(_, value)| !value.is_empty())
            .collect(),
        credentials: credentials
            .map(|name| {
                let encrypted = Some(store.join(&name)).filter(|path| path.exists());
                (name, encrypted)
            })
            .collect(),
    }
}
