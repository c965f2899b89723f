//! Checks of a configuration file and of the machine it is on.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use fastness_borg::environment::Environment;

use super::{Said, free_space, ok, problem, warning};
use crate::config::Configuration;
use crate::config::paths::expand_home;
use crate::config::show;
use crate::config::tree::Node;
use crate::directories::state_directory;
use crate::glob;
use crate::hooks::credential;
use crate::patterns;
use crate::run::World;

/// Who may read the files in which secrets stand, and who may change what runs as this user.
pub fn permissions(configuration: &Configuration, world: &World) -> Vec<Said> {
    let mut said = Vec::new();
    let secret = has_secrets(&configuration.tree);
    for file in &configuration.files {
        said.extend(judge(file, secret, "configuration"));
    }
    for file in passphrase_files(configuration, world) {
        said.extend(judge(&file, true, "passphrase file"));
    }
    match said.is_empty() {
        true => vec![ok("files with secrets are for their owner only")],
        false => said,
    }
}

/// Says what is wrong with the permissions of a file.
fn judge(file: &Path, secret: bool, what: &str) -> Option<Said> {
    let metadata = match std::fs::metadata(file) {
        Ok(metadata) => metadata,
        Err(error) => {
            let text = format!("{what} {}: {error}", file.display());
            return Some(problem(
                text,
                "make it readable for the user who runs backups",
            ));
        }
    };
    let mode = metadata.permissions().mode() & 0o777;
    let name = file.display();
    let cure = |mode: &str| format!("chmod {mode} {name}");
    if mode & 0o022 != 0 {
        let text = format!("{what} {name} can be changed by others (mode {mode:o})");
        return Some(problem(text, cure(if secret { "600" } else { "go-w" })));
    }
    if secret && mode & 0o077 != 0 {
        let text = format!("{what} {name} holds secrets and can be read by others (mode {mode:o})");
        return Some(problem(text, cure("600")));
    }
    let owner = metadata.uid();
    let own = rustix::process::geteuid().as_raw();
    (owner != 0 && owner != own).then(|| {
        let text = format!("{what} {name} belongs to user {owner}");
        warning(text, format!("chown {own} {name}"))
    })
}

/// Tells whether a secret itself stands somewhere in the configuration.
fn has_secrets(node: &Node) -> bool {
    let in_entries = node.entries().iter().any(|entry| {
        let text = entry.value.as_text();
        let plain = text.is_some_and(|text| !text.is_empty() && !credential::is_named(text));
        (show::is_secret(&entry.key) && plain) || has_secrets(&entry.value)
    });
    in_entries || node.elements().iter().any(has_secrets)
}

/// The files that passphrase commands print (`cat FILE`).
fn passphrase_files(configuration: &Configuration, world: &World) -> Vec<PathBuf> {
    let variable = |name: &str| world.variable(name);
    let all = configuration.repositories.iter().map(|one| &one.options);
    let commands = all.filter_map(|options| options.access.passcommand.as_deref());
    let words = commands.filter_map(shlex::split);
    let mut files: Vec<PathBuf> = words
        .filter_map(|words| match words.as_slice() {
            [cat, file] if cat == "cat" || cat.ends_with("/cat") => {
                Some(PathBuf::from(expand_home(file, &variable)))
            }
            _ => None,
        })
        .collect();
    files.sort();
    files.dedup();
    files
}

/// Whether what is to be saved is there.
pub fn sources(configuration: &Configuration, world: &World) -> Vec<Said> {
    let variable = |name: &str| world.variable(name);
    let sources = &configuration.options.sources;
    let base = patterns::working_directory(sources, &variable);
    let exists = |path: &str| {
        let path = base.join(expand_home(path, &variable));
        let text = path.to_string_lossy();
        match glob::is_glob(&text) {
            true => !glob::expand(&text).is_empty(),
            false => path.symlink_metadata().is_ok(),
        }
    };
    let (there, missing): (Vec<&String>, Vec<&String>) =
        sources.directories.iter().partition(|path| exists(path));
    let mut said: Vec<Said> = Vec::new();
    for path in missing {
        let text = format!("{path} does not exist");
        let cure = "make it, or remove it from source_directories";
        said.push(match sources.must_exist {
            true => problem(text, cure),
            false => warning(text, cure),
        });
    }
    let more = !sources.patterns.is_empty() || !sources.patterns_from.is_empty();
    if said.is_empty() {
        said.push(match there.len() {
            0 if more => ok("chosen by patterns"),
            0 => ok("no directories, only what hooks save"),
            1 => ok("1 directory, there"),
            number => ok(format!("{number} directories, all there")),
        });
    }
    said
}

/// Whether the programs that dump databases are installed.
pub fn databases(configuration: &Configuration, world: &World) -> Vec<Said> {
    let mut missing: BTreeMap<String, String> = BTreeMap::new();
    let mut found = 0;
    let options = &configuration.options;
    for source in options.databases.iter().chain(&options.physical) {
        let Some((key, usual)) = dumps_with(source.database.key()) else {
            continue;
        };
        // A command that is configured may be anything, also one in a container.
        if source.get(key).is_some() || source.get("container").is_some() {
            continue;
        }
        match in_path(usual, world) {
            true => found += 1,
            false => drop(missing.insert(usual.to_owned(), source.database.key().to_owned())),
        }
    }
    let said: Vec<Said> = missing
        .iter()
        .map(|(program, option)| {
            let text = format!("{option}: the program {program} is not installed");
            problem(text, format!("install the package that has {program}"))
        })
        .collect();
    match (said.is_empty(), found) {
        (true, 0) => Vec::new(),
        (true, _) => vec![ok("the programs that dump them are installed")],
        (false, _) => said,
    }
}

/// The option and the usual name of the program that dumps a kind of database.
fn dumps_with(kind: &str) -> Option<(&'static str, &'static str)> {
    Some(match kind.trim_end_matches("_databases") {
        "postgresql" => ("pg_dump_command", "pg_dump"),
        "mariadb" => ("mariadb_dump_command", "mariadb-dump"),
        "mysql" => ("mysql_dump_command", "mysqldump"),
        "mongodb" => ("mongodump_command", "mongodump"),
        "openldap" => ("slapcat_command", "slapcat"),
        "influxdb" => ("influx_command", "influx"),
        "mariadb_physical" => ("mariadb_backup_command", "mariadb-backup"),
        _ => return None,
    })
}

/// Tells whether a program is found as a shell would find it.
pub fn in_path(program: &str, world: &World) -> bool {
    let path = world.variable("PATH").unwrap_or_default();
    let mut directories = path.split(':').filter(|directory| !directory.is_empty());
    directories.any(|directory| Path::new(directory).join(program).is_file())
}

/// Whether there is room for what a backup keeps on this machine.
pub fn space(configuration: &Configuration, world: &World) -> Vec<Said> {
    let mut variables = world.variables.clone();
    for (name, value) in &configuration.options.access.variables {
        variables.insert(name.into(), value.into());
    }
    let home = std::env::home_dir();
    let user = rustix::process::geteuid().as_raw();
    let directories = Environment::from_variables(variables, home.as_deref(), user).directories;
    let state = state_directory(&configuration.options.access, &|name| world.variable(name));
    let mut seen = Vec::new();
    let mut said = Vec::new();
    for (what, directory) in [
        ("cache", &directories.cache),
        ("security database", &directories.security),
        ("state", &state),
    ] {
        let there = directory
            .ancestors()
            .find_map(|path| std::fs::metadata(path).ok());
        let device = there.map(|metadata| metadata.dev());
        if !seen.contains(&device) {
            seen.push(device);
            said.extend(free_space(what, directory));
        }
    }
    said
}

/// The year before which no clock is right.
const NOT_BEFORE: Duration = Duration::from_secs(54 * 365 * 86_400);

/// Whether the clock can be right. What archives say of it is seen with the repositories.
pub fn clock(_: &Configuration, world: &World) -> Vec<Said> {
    let now = (world.now)();
    let cure = "set the clock, and let the machine keep it by NTP: timedatectl set-ntp true";
    match now.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(time) if time > NOT_BEFORE => {
            let now = jiff::Zoned::now();
            vec![ok(now.strftime("%Y-%m-%d %H:%M:%S %Z").to_string())]
        }
        _ => vec![problem("the clock is wrong by years", cure)],
    }
}
