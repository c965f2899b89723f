//! `fastness recover plan`: the script that reinstalls what an archive lists, printed or written.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use fastness_borgmatic::run::{World, run as borgmatic};
use serde_json::Value;

use super::arguments::{Access, Plan};
use super::error::RecoverError;
use super::script;
use super::software::{PATTERNS, Software};
use super::state::Place;
use super::vault::{Archive, How, Vault, whole_seconds};

/// Prints the script.
///
/// # Errors
/// When the archive cannot be read or lists nothing.
pub fn run(plan: &Plan) -> Result<(), RecoverError> {
    let name = format!("fastness-plan-{}", std::process::id());
    let place = Place::new(std::env::temp_dir().join(name))?;
    let top = place.empty("contents")?;
    let direct = plan.access.repository.is_some() && plan.config.is_none();
    let archive = match direct {
        true => by_address(&plan.access, &place, &top)?,
        false => by_configuration(plan, &top)?,
    };
    let software = Software::read(&top).ok_or_else(|| {
        RecoverError::Usage(format!(
            "archive {} has no inventory of the system (\"fastness: system_inventory: true\" makes one) and no lists in /var/backups/packages",
            archive.name
        ))
    })?;
    let text = script::write(&software, &archive);
    match &plan.output {
        Some(path) => write(path, &text),
        None => io::stdout()
            .write_all(text.as_bytes())
            .or_else(|error| match error.kind() {
                // A reader that left wants no more of it.
                io::ErrorKind::BrokenPipe => Ok(()),
                _ => Err(error),
            })
            .map_err(RecoverError::system(
                "writing to",
                Path::new("standard output"),
            )),
    }
}

fn write(path: &Path, text: &str) -> Result<(), RecoverError> {
    let mut options = fs::OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o700);
    let written = options
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(RecoverError::system("writing", path))
}

/// Takes the lists from a repository that is named.
fn by_address(access: &Access, place: &Place, top: &Path) -> Result<Archive, RecoverError> {
    let vault = Vault::new(access, &place.path)?;
    let archive = vault.archive(&access.archive)?;
    let address = vault.address(&archive);
    let mut words = vec![
        "extract",
        "--numeric-ids",
        "--noacls",
        "--noxattrs",
        "--noflags",
        &address,
    ];
    words.extend(PATTERNS);
    let how = How {
        directory: Some(top),
        ..How::default()
    };
    // Most patterns match nothing, which is a warning.
    vault.run("reading the lists of software", &words, how)?;
    Ok(archive)
}

/// Takes the lists by way of a configuration file.
fn by_configuration(plan: &Plan, top: &Path) -> Result<Archive, RecoverError> {
    let wanted = match plan.access.archive.as_str() {
        "latest" => ["--last", "1"],
        name => ["--match-archives", name],
    };
    let listing = configured(plan, &[&["repo-list", "--json"], &wanted[..]].concat())?;
    let archive = newest(&listing)?;
    // Most patterns match nothing.
    let codes = "[{code: 101, treat_as: warning}]";
    let mut words = vec!["--borg-exit-codes", codes, "--verbosity", "-1"];
    words.extend(["extract", "--archive", &archive.name, "--destination"]);
    let top: PathBuf = top.to_owned();
    let destination = top.to_string_lossy();
    words.push(&destination);
    for pattern in PATTERNS {
        words.extend(["--path", pattern]);
    }
    configured(plan, &words)?;
    Ok(archive)
}

/// Runs an action of the configuration on the first or the named repository; returns its output.
fn configured(plan: &Plan, words: &[&str]) -> Result<Vec<u8>, RecoverError> {
    let mut line = Vec::new();
    if let Some(config) = &plan.config {
        line.extend(["--config".to_owned(), config.to_string_lossy().into_owned()]);
    }
    line.extend(words.iter().map(|word| (*word).to_owned()));
    if let Some(repository) = &plan.access.repository {
        line.extend(["--repository".to_owned(), repository.clone()]);
    }
    let output = Output::default();
    let world = World {
        person: false,
        ..World::of_process()
    };
    let stdout = Box::new(output.clone());
    match borgmatic("fastness", &line, &world, stdout, Box::new(io::stderr())) {
        0 => Ok(output.take()),
        code => Err(RecoverError::Usage(format!(
            "the lists could not be read by the configuration (code {code}), see above"
        ))),
    }
}

/// The newest archive of a listing of one repository.
fn newest(text: &[u8]) -> Result<Archive, RecoverError> {
    let value: Value = serde_json::from_slice(text).unwrap_or_default();
    let repositories = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let [repository] = repositories else {
        let text = "the configuration has several repositories: name one with --repository";
        return Err(RecoverError::Usage(text.to_owned()));
    };
    let archives = repository.get("archives").and_then(Value::as_array);
    let last = archives.into_iter().flatten().next_back();
    let archive = last.and_then(|archive| {
        let text = |key: &str| Some(archive.get(key)?.as_str()?.to_owned());
        Some(Archive {
            name: text("name")?,
            id: text("id").unwrap_or_default(),
            time: whole_seconds(&text("start").or_else(|| text("time"))?),
            host: text("hostname").unwrap_or_else(|| "the machine".to_owned()),
        })
    });
    archive.ok_or_else(|| RecoverError::NoArchive("the repository".to_owned()))
}

/// Keeps what an action prints.
#[derive(Debug, Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Output {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
