//! `config generate` and `config schema`: texts about the configuration that need none.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::command_line::CommandLine;
use crate::command_line::actions::{Action, ConfigGenerate};
use crate::config::paths::Variables;
use crate::config::tree::Node;
use crate::config::{generate, include, json_schema, load, normalize};

/// Where the sample goes when no place is named.
const DESTINATION: &str = "/etc/borgmatic/config.yaml";

/// Does what a call asks for, if it is one of the two, and returns the exit code.
pub fn asked(
    line: &CommandLine,
    variable: Variables<'_>,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
) -> Option<u8> {
    let result = line.actions.iter().find_map(|action| match action {
        Action::ConfigGenerate(flags) => Some(generate(flags, line.dry_run, variable)),
        Action::ConfigSchema => Some(Ok(format!("{:#}\n", json_schema::document()))),
        _ => None,
    })?;
    // A reader that left wants no more of it.
    Some(match result {
        Ok(text) => {
            let _ = stdout.write_all(text.as_bytes());
            0
        }
        Err(text) => {
            let _ = writeln!(stderr, "\nsummary:\n{text}");
            1
        }
    })
}

fn generate(
    flags: &ConfigGenerate,
    dry_run: bool,
    variable: Variables<'_>,
) -> Result<String, String> {
    let destination = flags.destination.as_deref().unwrap_or(DESTINATION);
    let source = flags.source.as_deref();
    let source = source.map(|path| read_source(path, variable)).transpose()?;
    let label = if dry_run {
        " (dry run; not actually writing anything)"
    } else {
        ""
    };
    if !dry_run {
        match flags.split {
            true => write_split(Path::new(destination), source.as_ref(), flags.overwrite)?,
            false => write(
                Path::new(destination),
                &generate::sample(source.as_ref()),
                flags.overwrite,
            )?,
        }
    }
    let advice = match &flags.source {
        Some(source) => format!(
            "Options of {source} are in it with their values; compare the two, and add what is left to your file."
        ),
        None => "Every option is in it with an example; edit what your machine needs. Check it with \"config validate\"."
            .to_owned(),
    };
    Ok(format!(
        "Generating a configuration file at: {destination}{label}\n\n{advice}\n\nsummary:\nGenerate successful\n"
    ))
}

fn read_source(path: &str, variable: Variables<'_>) -> Result<Node, String> {
    let path = Path::new(path);
    let read = || {
        let tree = load::load_file(path)?;
        let (mut tree, _) = include::resolve(tree, path, variable)?;
        // Its warnings are about what the new file no longer has.
        let _ = normalize::normalize(&mut tree)?;
        Ok(tree)
    };
    read().map_err(|errors: crate::config::error::ConfigErrors| errors.to_string())
}

fn write_split(directory: &Path, source: Option<&Node>, overwrite: bool) -> Result<(), String> {
    if directory.exists() && !directory.is_dir() {
        return Err("With --split, the destination must be a directory".to_owned());
    }
    let mut names = Vec::new();
    for spec in generate::listed() {
        let file = directory.join(format!("{}.yaml", spec.name));
        write(&file, &generate::single(spec, source), overwrite)?;
        names.push(spec.name);
    }
    let manifest = serde_json::json!({ "option_names": names }).to_string();
    write(&directory.join("options.json"), &manifest, overwrite)
}

/// Writes a file that only its owner can read; its directory is made if it is missing.
fn write(path: &Path, text: &str, overwrite: bool) -> Result<(), String> {
    let place = path.display();
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            format!("{place} already exists. Aborting. Use --overwrite to replace the file.")
        }
        _ => format!("{place} cannot be written: {error}"),
    };
    if let Some(parent) = path.parent().filter(|parent| !parent.exists()) {
        let mut builder = fs::DirBuilder::new();
        let builder = builder.mode(0o700).recursive(true);
        builder.create(parent).map_err(failed)?;
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).mode(0o600);
    match overwrite {
        true => options.create(true).truncate(true),
        false => options.create_new(true),
    };
    let mut file = options.open(path).map_err(failed)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))
        .and_then(|()| file.write_all(text.as_bytes()))
        .map_err(failed)
}
