//! What is to be set up: given by options, asked from a person, or the usual.
//!
//! Nothing is written here. What can be tried is tried: directories, the way to other machines, and
//! whether something is in the way.

use std::fs;
use std::path::{Path, PathBuf, absolute};

use fastness_borg::environment::Secret;
use fastness_borg::error::system_text;
use fastness_borgmatic::config::first::{Destination, First};
use fastness_borgmatic::config::load::load_text;
use fastness_borgmatic::config::paths::{expand_home, home};
use fastness_borgmatic::config::{Configuration, LoadContext};
use fastness_borgmatic::doctor::{Verdict, reach};

use super::super::passphrase;
use super::Arguments;
use super::person::Person;

/// Where what is worth saving usually is.
const USUAL: [&str; 7] = [
    "/etc",
    "/home",
    "/root",
    "/usr/local",
    "/var",
    "/srv",
    "/opt",
];

/// Everything that is needed.
pub struct Answers {
    /// The content of the configuration.
    pub first: First,
    /// Where it goes.
    pub config: PathBuf,
    /// Whether a file there is replaced.
    pub overwrite: bool,
    /// The passphrase to be written into its file; none where it is there already, or not needed.
    pub new_passphrase: Option<Secret>,
    /// Where the keys for paper go.
    pub key_directory: PathBuf,
    /// Whether the first backup is made.
    pub backup: bool,
    /// Whether timers are wanted; nothing where that is to be asked.
    pub timer: Option<bool>,
}

impl Answers {
    /// Gathers them.
    ///
    /// # Errors
    /// When something is missing and nobody can be asked, or something is in the way.
    pub fn gather(arguments: Arguments, person: &Person) -> Result<Self, String> {
        if !person.is_there() {
            complete(&arguments)?;
        }
        let variable = |name: &str| std::env::var(name).ok();
        person.explain(
            "This takes you from nothing to a first backup. Enter takes what stands in\n\
             brackets. Until the last question nothing is written; Ctrl-C ends.",
        );
        let (config, overwrite) = configuration(&arguments, person)?;
        let directory = config.parent().unwrap_or(Path::new("/")).to_owned();
        let directories = directories(&arguments, person)?;
        let mut first = First {
            directories,
            destinations: Vec::new(),
            encryption: "none".to_owned(),
            passphrase_file: None,
            ssh_command: arguments.ssh_command.clone(),
        };
        destinations(&arguments, &mut first, person)?;
        first.encryption = encryption(&arguments, person)?;
        let mut new_passphrase = None;
        if first.encryption != "none" {
            let file = arguments.passphrase_file.clone();
            let file = full(&file.unwrap_or_else(|| directory.join("passphrase")));
            new_passphrase = choose_passphrase(&file, person)?;
            first.passphrase_file = Some(file.display().to_string());
        }
        let keys = arguments.key_directory.clone();
        let keys = keys.unwrap_or_else(|| Path::new(&home(&variable)).join("fastness-keys"));
        let answers = Self {
            first,
            config,
            overwrite,
            new_passphrase,
            key_directory: full(&keys),
            backup: !arguments.no_backup,
            timer: match (arguments.timer, arguments.no_timer || arguments.yes) {
                (true, _) => Some(true),
                (false, true) => Some(false),
                (false, false) => None,
            },
        };
        answers.confirm(person)?;
        Ok(answers)
    }

    /// Shows what will be done, and asks whether it shall.
    fn confirm(&self, person: &Person) -> Result<(), String> {
        let mut lines = vec![format!("\nWhat will be written: {}", self.config.display())];
        let file = self.first.passphrase_file.as_deref();
        if let (Some(file), true) = (file, self.new_passphrase.is_some()) {
            lines.push(format!("                      {file} (for its owner only)"));
        }
        if self.first.encryption != "none" {
            let keys = self.key_directory.display();
            lines.push(format!(
                "                      {keys}/: the keys, for paper"
            ));
        }
        for destination in &self.first.destinations {
            lines.push(format!("A new repository in:  {}", destination.path));
        }
        person.explain(&lines.join("\n"));
        if person.is_there() && !person.agrees("Go ahead?", true)? {
            return Err("stopped; nothing was written".to_owned());
        }
        Ok(())
    }
}

/// Makes sure that nothing has to be asked.
fn complete(arguments: &Arguments) -> Result<(), String> {
    let mut missing = Vec::new();
    if arguments.repository.is_empty() {
        missing.push("--repository");
    }
    if !arguments.yes {
        missing.extend(arguments.source.is_empty().then_some("--source"));
        missing.extend(arguments.encryption.is_none().then_some("--encryption"));
    }
    let advice = match missing.as_slice() {
        [] => return Ok(()),
        ["--repository"] => "",
        _ => " (or --yes, for what is usual)",
    };
    let missing = missing.join(", ");
    Err(format!(
        "there is no terminal to ask at; missing: {missing}{advice}"
    ))
}

fn full(path: &Path) -> PathBuf {
    let text = expand_home(&path.to_string_lossy(), &|name| std::env::var(name).ok());
    absolute(&text).unwrap_or_else(|_| PathBuf::from(text))
}

/// Finds where the configuration goes. One that is there stays, unless it may be replaced.
fn configuration(arguments: &Arguments, person: &Person) -> Result<(PathBuf, bool), String> {
    let variable = |name: &str| std::env::var(name).ok();
    let usual = match fastness_sys::process::is_root() {
        true => PathBuf::from("/etc/borgmatic/config.yaml"),
        false => {
            let base = variable("XDG_CONFIG_HOME").filter(|path| !path.is_empty());
            let base = base.unwrap_or_else(|| format!("{}/.config", home(&variable)));
            Path::new(&base).join("borgmatic/config.yaml")
        }
    };
    let path = full(arguments.config.as_deref().unwrap_or(&usual));
    if !path.exists() || arguments.overwrite {
        return Ok((path, arguments.overwrite));
    }
    let there = path.display();
    if person.is_there()
        && person.agrees(&format!("\n{there} is there already. Replace it?"), false)?
    {
        return Ok((path, true));
    }
    Err(format!(
        "{there} is there already; name another file with --config, or replace it with --overwrite"
    ))
}

fn directories(arguments: &Arguments, person: &Person) -> Result<Vec<String>, String> {
    let usual: Vec<&str> = match fastness_sys::process::is_root() {
        true => USUAL.iter().copied().filter(|path| is_used(path)).collect(),
        false => Vec::new(),
    };
    let own = home(&|name| std::env::var(name).ok());
    let usual = if usual.is_empty() {
        own
    } else {
        usual.join(" ")
    };
    let given: Vec<String> = arguments
        .source
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    if !given.is_empty() || !person.is_there() {
        let chosen = if given.is_empty() {
            split(&usual)?
        } else {
            given
        };
        return chosen.iter().map(|path| directory(path)).collect();
    }
    person.say(
        "\n1. What to save\n   Directories, with blanks between them; names with blanks in quotes.",
    );
    loop {
        let line = person.line("   Save", &usual)?;
        let chosen = split(&line).and_then(|paths| {
            let paths = paths.iter().map(|path| directory(path));
            paths.collect::<Result<Vec<_>, _>>()
        });
        match chosen {
            Ok(paths) if !paths.is_empty() => return Ok(paths),
            Ok(_) => {}
            Err(error) => person.say(&format!("   {error}")),
        }
    }
}

fn split(line: &str) -> Result<Vec<String>, String> {
    shlex::split(line).ok_or_else(|| "a quote is not closed".to_owned())
}

/// A directory that is not there is more likely a mistake than a wish.
fn directory(path: &str) -> Result<String, String> {
    let path = full(Path::new(path));
    match fs::metadata(&path) {
        Ok(_) => Ok(path.display().to_string()),
        Err(error) => Err(told(&path, &error)),
    }
}

/// What is wrong with a file, for people.
pub fn told(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {}", path.display(), system_text(error))
}

/// Tells whether a directory is there with something in it.
fn is_used(path: &str) -> bool {
    fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some())
}

/// Chooses the repositories and tries the way to each.
fn destinations(arguments: &Arguments, first: &mut First, person: &Person) -> Result<(), String> {
    if !arguments.repository.is_empty() {
        for path in &arguments.repository {
            let destination = examined(path, first)?;
            first.destinations.push(destination);
        }
        return Ok(());
    }
    person.say(
        "\n2. Where to\n   A directory, best on another disk, or on another machine:\n   ssh://user@host/./path",
    );
    loop {
        let question = match first.destinations.len() {
            0 => "   Repository",
            _ => "   One more (nothing: no more)",
        };
        let line = person.line(question, "")?;
        if line.is_empty() {
            if first.destinations.is_empty() {
                continue;
            }
            return Ok(());
        }
        if line.contains("://") {
            person.say("   Trying to reach it ...");
        }
        match examined(&line, first) {
            Ok(destination) => {
                person.say("   Good.");
                first.destinations.push(destination);
            }
            Err(error) => person.say(&format!("   {}", error.replace('\n', "\n   "))),
        }
    }
}

/// Examines a place for a repository.
fn examined(path: &str, first: &First) -> Result<Destination, String> {
    let path = match path.contains("://") || (path.contains(':') && !path.starts_with(['/', '.'])) {
        true => path.to_owned(),
        false => full(Path::new(path)).display().to_string(),
    };
    if first.destinations.iter().any(|one| one.path == path) {
        return Err(format!("{path}: chosen already"));
    }
    let destination = Destination {
        label: label(&path, first),
        path,
    };
    let probe = First {
        destinations: vec![destination.clone()],
        ..first.clone()
    };
    match destination.path.starts_with('/') {
        true => local(Path::new(&destination.path))?,
        false => remote(&probe)?,
    }
    Ok(destination)
}

/// A short name that no other repository has.
fn label(path: &str, first: &First) -> String {
    let host = path.split_once("://").map(|(_, rest)| rest);
    let name = match host {
        Some(rest) => {
            let host = rest.split('/').next().unwrap_or_default();
            let host = host.rsplit('@').next().unwrap_or_default();
            host.split([':', '.']).next().unwrap_or_default()
        }
        None => path.rsplit('/').next().unwrap_or_default(),
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let name: String = name.chars().filter(|c| fits(*c)).collect();
    let name = if name.is_empty() {
        "backup".to_owned()
    } else {
        name
    };
    let taken = |name: &str| first.destinations.iter().any(|one| one.label == name);
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    let mut all = std::iter::once(name.clone()).chain(numbered);
    all.find(|name| !taken(name)).unwrap_or(name)
}

/// A repository of one's own needs an empty place that can be written to.
fn local(path: &Path) -> Result<(), String> {
    if path.join("config").exists() && path.join("data").is_dir() {
        let text = "there is a repository already; setup makes new ones only";
        return Err(format!("{}: {text}", path.display()));
    }
    if path.is_dir() && is_used(&path.to_string_lossy()) {
        return Err(format!("{}: the directory is not empty", path.display()));
    }
    if path.exists() && !path.is_dir() {
        return Err(format!("{}: this is no directory", path.display()));
    }
    let there = path.ancestors().find(|path| path.exists());
    let there = there.unwrap_or(Path::new("/"));
    if !there.is_dir() || !is_writable(there) {
        return Err(format!("{}: nothing can be written there", there.display()));
    }
    Ok(())
}

fn is_writable(directory: &Path) -> bool {
    rustix::fs::access(directory, rustix::fs::Access::WRITE_OK).is_ok()
}

/// A repository elsewhere needs a server that answers without questions and has none there yet.
fn remote(probe: &First) -> Result<(), String> {
    let configuration = understood(probe)?;
    let findings = reach(&configuration);
    match findings.iter().find(|one| one.verdict == Verdict::Problem) {
        // The server answers, and has nothing in this place: as it should be.
        Some(bad) if bad.check == "version" && bad.text.contains("does not exist") => Ok(()),
        Some(bad) => Err(format!(
            "{}\n-> {}",
            bad.text,
            bad.cure.as_deref().unwrap_or_default()
        )),
        None => {
            let path = probe.destinations.first().map(|one| one.path.as_str());
            let path = path.unwrap_or_default();
            Err(format!(
                "{path}: there is a repository already; setup makes new ones only"
            ))
        }
    }
}

/// Reads what would be written.
pub fn understood(first: &First) -> Result<Configuration, String> {
    let context = LoadContext {
        variable: &|name| std::env::var(name).ok(),
        interpolate_environment: true,
        overrides: &[],
    };
    let tree = load_text(&first.text(), "config.yaml");
    let read =
        tree.and_then(|tree| Configuration::from_tree(vec!["config.yaml".into()], tree, context));
    read.map_err(|errors| errors.to_string())
}

fn encryption(arguments: &Arguments, person: &Person) -> Result<String, String> {
    let usual = "repokey-blake2";
    if let Some(mode) = &arguments.encryption {
        return Ok(mode.clone());
    }
    if !person.is_there() {
        return Ok(usual.to_owned());
    }
    person.say(
        "\n3. Encryption, on this machine, before anything leaves it\n   \
         1  the key is kept in the repository, locked by the passphrase\n   \
         2  the key is kept on this machine: reading takes the key and the passphrase",
    );
    loop {
        match person.line("   Choose", "1")?.as_str() {
            "1" | "repokey-blake2" => return Ok(usual.to_owned()),
            "2" | "keyfile-blake2" => return Ok("keyfile-blake2".to_owned()),
            "none" => return Ok("none".to_owned()),
            _ => person.say("   Please answer 1 or 2."),
        }
    }
}

/// Chooses the passphrase; none when there is one in its file.
fn choose_passphrase(file: &Path, person: &Person) -> Result<Option<Secret>, String> {
    if file.exists() {
        let text =
            fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        if text.trim_end_matches('\n').is_empty() {
            return Err(format!("{}: there is no passphrase in it", file.display()));
        }
        person.say(&format!(
            "\nThe passphrase that is in {} is used.",
            file.display()
        ));
        return Ok(None);
    }
    let parent = file.ancestors().find(|path| path.is_dir());
    if let Some(parent) = parent.filter(|parent| !is_writable(parent)) {
        return Err(format!(
            "{}: nothing can be written there",
            parent.display()
        ));
    }
    if !person.is_there() {
        return Ok(Some(Secret::new(passphrase::make(passphrase::USUAL, " ")?)));
    }
    person.say("\n4. Passphrase\n   Without it nothing can be restored. Write it down, on paper.");
    loop {
        let made = passphrase::make(passphrase::USUAL, " ")?;
        let strength = passphrase::describe(passphrase::USUAL, " ");
        person.say(&format!("\n      {made}\n\n   ({strength})"));
        match person
            .line("   Enter: take it   n: another one   o: my own", "")?
            .as_str()
        {
            "" => return Ok(Some(Secret::new(made))),
            "o" => {
                let own = person.secret("   Your passphrase: ")?;
                if own.is_empty() || own != person.secret("   Once more: ")? {
                    person.say("   They differ, or there is none.");
                    continue;
                }
                return Ok(Some(Secret::new(own)));
            }
            _ => {}
        }
    }
}
