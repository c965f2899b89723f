//! From a configuration file to typed options.
//!
//! YAML → tree with places ([`load`]) → includes ([`mod@include`]) → options of the command line →
//! constants and environment ([`interpolate`]) → today's spelling ([`normalize`]) → validation
//! ([`schema`], [`logic`]) → [`Configuration`]. Every step can fail with errors that name file
//! and line; nothing after it sees an old spelling or an unknown key.

pub mod error;
pub mod first;
pub mod found;
pub mod generate;
pub mod include;
pub mod interpolate;
pub mod json_schema;
pub mod load;
pub mod logic;
pub mod normalize;
mod old_commands;
pub mod options;
pub mod paths;
pub mod reference;
pub mod schema;
pub mod settings;
pub mod show;
pub mod tree;
pub mod typed;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::glob;
use error::ConfigErrors;
use settings::Setting;
use tree::{Entry, Node, Position, Value};
use typed::Options;

/// One configuration file, ready to be planned.
#[derive(Clone)]
pub struct Configuration {
    /// The file.
    pub path: PathBuf,
    /// All files it was read from, itself first.
    pub files: Vec<PathBuf>,
    /// The options of the top level.
    pub options: Options,
    /// The repositories, each with its own options.
    pub repositories: Vec<Repository>,
    /// What is accepted but should be written otherwise.
    pub warnings: Vec<String>,
    /// All of it in today's spelling.
    pub tree: Node,
}

impl fmt::Debug for Configuration {
    /// Without the tree: secrets are in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Configuration")
            .field("path", &self.path)
            .field("options", &self.options)
            .field("repositories", &self.repositories)
            .finish_non_exhaustive()
    }
}

/// One entry of `repositories`.
#[derive(Debug, Clone)]
pub struct Repository {
    /// Its path.
    pub path: String,
    /// Its short name.
    pub label: Option<String>,
    /// Mode for `repo-create`.
    pub encryption: Option<String>,
    /// For `repo-create`: append-only.
    pub append_only: Option<bool>,
    /// For `repo-create`: most space to take.
    pub storage_quota: Option<String>,
    /// For `repo-create`: make missing parents.
    pub make_parent_directories: Option<bool>,
    /// For `repo-create`: a choice that only Borg 2 offers.
    pub borg2_choice: Option<&'static str>,
    /// The options of the top level with those of this repository over them.
    pub options: Options,
}

impl Repository {
    /// The name it has in output: its label, or its path.
    pub fn name(&self) -> &str {
        self.label.as_deref().unwrap_or(&self.path)
    }

    /// Tells whether `--repository NAME` means this one: by label or path, globs on either side.
    pub fn is_called(&self, name: &str) -> bool {
        let same = |one: &str, other: &str| glob::matches(one, other) || glob::matches(other, one);
        let absolute = |path: &str| std::path::absolute(path).unwrap_or_else(|_| path.into());
        self.label.as_deref().is_some_and(|label| same(label, name))
            || same(
                &absolute(&self.path).to_string_lossy(),
                &absolute(name.strip_prefix("file://").unwrap_or(name)).to_string_lossy(),
            )
    }
}

/// What a file is read with.
#[derive(Clone, Copy)]
pub struct LoadContext<'a> {
    /// The environment, for `~`.
    pub variable: paths::Variables<'a>,
    /// Whether `${VARIABLE}` is replaced.
    pub interpolate_environment: bool,
    /// Options that the command line puts over the file.
    pub overrides: &'a [Setting],
}

impl Configuration {
    /// Reads a file.
    ///
    /// # Errors
    /// With everything that is wrong in it.
    pub fn load(path: &Path, context: LoadContext<'_>) -> Result<Self, ConfigErrors> {
        let tree = load::load_file(path)?;
        let (mut tree, mut files) = include::resolve(tree, path, context.variable)?;
        read_extras(&mut tree, path, &mut files, context)?;
        Self::from_tree(files, tree, context)
    }

    /// Makes a configuration of a tree that was read from `files`.
    ///
    /// # Errors
    /// With everything that is wrong in it.
    pub fn from_tree(
        files: Vec<PathBuf>,
        mut tree: Node,
        context: LoadContext<'_>,
    ) -> Result<Self, ConfigErrors> {
        for setting in context.overrides {
            setting.apply(&mut tree)?;
        }
        interpolate::apply_constants(&mut tree);
        if context.interpolate_environment {
            interpolate::apply_environment(&mut tree, context.variable)?;
        }
        let mut warnings = normalize::normalize(&mut tree)?;
        let mut errors = schema::validate(&tree, &mut warnings);
        errors.extend(logic::examine(&tree));
        if !errors.is_empty() {
            errors.sort_by_key(|error| error.line());
            return Err(ConfigErrors(errors));
        }
        let repositories = tree
            .get("repositories")
            .map(Node::elements)
            .unwrap_or_default();
        Ok(Self {
            path: files.first().cloned().unwrap_or_default(),
            files,
            options: Options::read(&tree, None),
            repositories: repositories
                .iter()
                .map(|repository| Repository::read(&tree, repository, context.variable))
                .collect(),
            warnings,
            tree,
        })
    }
}

/// Reads the file beside `path` that holds what only Fastness knows, as if it stood under
/// `fastness:` in the file itself. borgmatic does not read it.
fn read_extras(
    tree: &mut Node,
    path: &Path,
    files: &mut Vec<PathBuf>,
    context: LoadContext<'_>,
) -> Result<(), ConfigErrors> {
    let mut name = path.as_os_str().to_owned();
    name.push(".fastness");
    let beside = PathBuf::from(name);
    if !beside.exists() {
        return Ok(());
    }
    let extras = load::load_file(&beside)?;
    let (extras, more) = include::resolve(extras, &beside, context.variable)?;
    files.extend(more);
    let at = Position::whole(&beside.to_string_lossy());
    if tree.get(options::EXTRAS).is_some() {
        return Err(error::ConfigError::Conflict {
            at,
            message: format!("{:?} stands in {} too", options::EXTRAS, path.display()),
        }
        .into());
    }
    if extras.value != Value::Null {
        tree.set(Entry {
            key: options::EXTRAS.to_owned(),
            at,
            value: extras,
        });
    }
    Ok(())
}

impl Repository {
    fn read(top: &Node, own: &Node, variable: paths::Variables<'_>) -> Self {
        let text = |key| own.get(key).and_then(Node::as_text).map(str::to_owned);
        let boolean = |key| own.get(key).and_then(Node::as_boolean);
        Self {
            path: paths::expand_home(&text("path").unwrap_or_default(), variable),
            label: text("label"),
            encryption: text("encryption"),
            append_only: boolean("append_only"),
            storage_quota: text("storage_quota"),
            make_parent_directories: boolean("make_parent_directories"),
            borg2_choice: ["id_hash", "key_location"]
                .into_iter()
                .find(|key| own.get(key).is_some()),
            options: Options::read(top, Some(own)),
        }
    }
}

#[cfg(test)]
mod tests;
