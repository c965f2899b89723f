//! `!include`, merges by `<<`, `!retain` and `!omit`.
//!
//! An included file is a value, or, behind `<<`, is merged into the mapping where it stands:
//! mappings into mappings, lists before the local list, and any other local value wins. Positions
//! stay those of the file a node was written in, so that an error points there.

use std::path::{Path, PathBuf};

use super::error::{ConfigError, ConfigErrors};
use super::load::load_file;
use super::paths::{Variables, expand_home};
use super::tree::{Entry, Node, Position, Value};

/// Deepest nesting of files.
const MAX_FILES_DEEP: usize = 20;
/// The key that merges.
const MERGE: &str = "<<";

/// Resolves everything of that kind in the tree of a file. Returns the tree and the files it was
/// made of, `path` first.
///
/// # Errors
/// When a file cannot be found or read, or a tag stands where it has no meaning.
pub fn resolve(
    tree: Node,
    path: &Path,
    variable: Variables<'_>,
) -> Result<(Node, Vec<PathBuf>), ConfigErrors> {
    let mut files = vec![path.to_owned()];
    let mut includer = Includer {
        variable,
        files: &mut files,
    };
    let tree = includer.node(tree, path, 0)?;
    let mut errors = Vec::new();
    refuse_left_over_tags(&tree, &mut errors);
    match errors.is_empty() {
        true => Ok((tree, files)),
        false => Err(ConfigErrors(errors)),
    }
}

struct Includer<'a> {
    variable: Variables<'a>,
    files: &'a mut Vec<PathBuf>,
}

impl Includer<'_> {
    fn node(&mut self, node: Node, file: &Path, depth: usize) -> Result<Node, ConfigErrors> {
        if node.tag.as_deref() == Some("!include") {
            let single = node.as_text().is_some();
            let mut included = self.included(&node, file, depth)?;
            if single && let Some(one) = included.pop() {
                return Ok(one);
            }
            included.reverse();
            return Ok(Node::new(Value::List(included), node.at));
        }
        let value = match node.value {
            Value::List(elements) => Value::List(
                elements
                    .into_iter()
                    .map(|element| self.node(element, file, depth))
                    .collect::<Result<_, _>>()?,
            ),
            Value::Map(entries) => Value::Map(self.map(entries, file, depth)?),
            scalar => scalar,
        };
        Ok(Node { value, ..node })
    }

    fn map(
        &mut self,
        entries: Vec<Entry>,
        file: &Path,
        depth: usize,
    ) -> Result<Vec<Entry>, ConfigErrors> {
        let mut local = Vec::new();
        let mut bases: Vec<Node> = Vec::new();
        for entry in entries {
            if entry.key != MERGE {
                let value = self.node(entry.value, file, depth)?;
                local.push(Entry { value, ..entry });
            } else if entry.value.tag.as_deref() == Some("!include") {
                bases = self.included(&entry.value, file, depth)?;
            } else {
                bases = self.aliases(entry.value, file, depth)?;
            }
        }
        if bases.is_empty() {
            return Ok(local);
        }
        let mut merged: Vec<Entry> = Vec::new();
        for base in bases {
            match base.value {
                Value::Map(entries) => merged = merge_maps(merged, entries)?,
                Value::Null => {}
                _ => {
                    return Err(include_error(
                        &base.at,
                        "only a mapping can be merged by <<",
                    ));
                }
            }
        }
        merge_maps(merged, local)
    }

    /// What `<<` merges without an include: a mapping or a list of them, of which the first wins.
    fn aliases(
        &mut self,
        value: Node,
        file: &Path,
        depth: usize,
    ) -> Result<Vec<Node>, ConfigErrors> {
        let resolved = self.node(value, file, depth)?;
        Ok(match resolved.value {
            Value::List(mut elements) => {
                elements.reverse();
                elements
            }
            value => vec![Node::new(value, resolved.at)],
        })
    }

    /// Loads the file or files that a node names, in its order.
    fn included(
        &mut self,
        node: &Node,
        file: &Path,
        depth: usize,
    ) -> Result<Vec<Node>, ConfigErrors> {
        let names: Vec<&Node> = match &node.value {
            Value::Text(_) => vec![node],
            Value::List(elements) => elements.iter().collect(),
            _ => Vec::new(),
        };
        if names.is_empty() || names.iter().any(|name| name.as_text().is_none()) {
            let message = "!include takes the name of a file, or a list of names";
            return Err(include_error(&node.at, message));
        }
        names
            .into_iter()
            .map(|name| self.load(name, file, depth))
            .collect()
    }

    fn load(&mut self, name: &Node, file: &Path, depth: usize) -> Result<Node, ConfigErrors> {
        if depth == MAX_FILES_DEEP {
            let message = "includes are nested too deeply; does a file include itself?";
            return Err(include_error(&name.at, message));
        }
        let path = self.find(name, file)?;
        let tree = load_file(&path)?;
        if !self.files.contains(&path) {
            self.files.push(path.clone());
        }
        self.node(tree, &path, depth + 1)
    }

    /// Looks in the current directory, then in that of the including file.
    fn find(&self, name: &Node, file: &Path) -> Result<PathBuf, ConfigErrors> {
        let text = name.as_text().unwrap_or_default();
        let expanded = PathBuf::from(expand_home(text, self.variable));
        if expanded.is_absolute() {
            return Ok(expanded);
        }
        let current = std::env::current_dir().unwrap_or_default();
        let beside = file.parent().unwrap_or(Path::new("."));
        let beside = std::path::absolute(beside).unwrap_or_else(|_| beside.to_owned());
        let candidates = [current.join(&expanded), beside.join(&expanded)];
        candidates
            .iter()
            .find(|candidate| candidate.exists())
            .cloned()
            .ok_or_else(|| {
                let [one, other] = candidates.map(|path| path.display().to_string());
                let places = if one == other {
                    one
                } else {
                    format!("{one} or {other}")
                };
                include_error(
                    &name.at,
                    &format!("Could not find include {text} at {places}"),
                )
            })
    }
}

fn include_error(at: &Position, message: &str) -> ConfigErrors {
    ConfigError::Include {
        at: at.clone(),
        message: message.to_owned(),
    }
    .into()
}

/// Puts `local` over `base`.
fn merge_maps(base: Vec<Entry>, local: Vec<Entry>) -> Result<Vec<Entry>, ConfigErrors> {
    let mut merged = base;
    for entry in local {
        match merged.iter_mut().find(|known| known.key == entry.key) {
            Some(known) => {
                let below =
                    std::mem::replace(&mut known.value, Node::new(Value::Null, entry.at.clone()));
                known.value = merge_values(&entry.key, below, entry.value)?;
                known.at = entry.at;
            }
            None => merged.push(entry),
        }
    }
    Ok(merged)
}

fn merge_values(key: &str, base: Node, local: Node) -> Result<Node, ConfigErrors> {
    let retained = local.tag.as_deref() == Some("!retain");
    let at = local.at.clone();
    let value = match (base.value, local.value) {
        (Value::Map(_), local @ Value::Map(_)) | (Value::List(_), local @ Value::List(_))
            if retained =>
        {
            local
        }
        (Value::Map(base), Value::Map(local)) => Value::Map(merge_maps(base, local)?),
        (Value::List(base), Value::List(local)) => Value::List(merge_lists(base, local)),
        (Value::Map(_) | Value::List(_), _) | (_, Value::Map(_) | Value::List(_)) => {
            let message = format!("{key:?} is of another kind in the included file");
            return Err(include_error(&at, &message));
        }
        (_, value) => {
            return Ok(Node {
                value,
                ..local_node(at, local.tag)
            });
        }
    };
    Ok(Node::new(value, at))
}

fn local_node(at: Position, tag: Option<String>) -> Node {
    Node {
        tag,
        ..Node::new(Value::Null, at)
    }
}

/// Appends the local elements and takes out what `!omit` names, wherever it came from.
fn merge_lists(base: Vec<Node>, local: Vec<Node>) -> Vec<Node> {
    let omitted = |node: &Node| {
        let scalar = !matches!(node.value, Value::List(_) | Value::Map(_));
        scalar && node.tag.as_deref() == Some("!omit")
    };
    let all: Vec<Node> = base.into_iter().chain(local).collect();
    let values: Vec<Value> = all
        .iter()
        .filter(|node| omitted(node))
        .map(|node| node.value.clone())
        .collect();
    all.into_iter()
        .filter(|node| !values.contains(&node.value))
        .collect()
}

fn refuse_left_over_tags(node: &Node, errors: &mut Vec<ConfigError>) {
    if let Some(tag) = &node.tag {
        let message = match (tag.as_str(), &node.value) {
            ("!retain", Value::Map(_) | Value::List(_)) => {
                "!retain only goes with an option that a file merged by \"<<: !include\" has too"
            }
            ("!retain", _) => "!retain goes with a mapping or a list only",
            _ => {
                "!omit only goes with an element of a list that a file merged by \"<<: !include\" has too"
            }
        };
        errors.push(ConfigError::Include {
            at: node.at.clone(),
            message: message.to_owned(),
        });
    }
    for element in node.elements() {
        refuse_left_over_tags(element, errors);
    }
    for entry in node.entries() {
        refuse_left_over_tags(&entry.value, errors);
    }
}

#[cfg(test)]
mod tests {
    use super::super::show::yaml;
    use super::*;

    struct Files(tempfile::TempDir);

    impl Files {
        fn new(files: &[(&str, &str)]) -> Self {
            let directory = tempfile::tempdir().unwrap();
            for (name, text) in files {
                std::fs::write(directory.path().join(name), text).unwrap();
            }
            Self(directory)
        }

        fn resolved(&self) -> Result<(Node, Vec<PathBuf>), ConfigErrors> {
            let path = self.0.path().join("config.yaml");
            resolve(load_file(&path)?, &path, &|_| None)
        }

        fn yaml(&self) -> String {
            yaml(&self.resolved().unwrap().0)
        }

        fn error(&self) -> String {
            let top = format!("{}/", self.0.path().display());
            let current = format!("{}/", std::env::current_dir().unwrap().display());
            let text = self.resolved().unwrap_err().to_string();
            text.replace(&top, "").replace(&current, "CURRENT/")
        }
    }

    #[test]
    fn an_included_file_is_a_value() {
        let files = Files::new(&[
            (
                "config.yaml",
                "repositories: !include r.yaml\nkeep_daily: 1\n",
            ),
            ("r.yaml", "- path: /a\n"),
        ]);
        insta::assert_snapshot!(files.yaml(), @r"
        keep_daily: 1
        repositories:
            - path: /a
        ");
        let names: Vec<_> = files.resolved().unwrap().1;
        assert!(names[0].ends_with("config.yaml") && names[1].ends_with("r.yaml"));
    }

    #[test]
    fn merged_files_lie_under_the_local_options() {
        let files = Files::new(&[
            (
                "config.yaml",
                "<<: !include [a.yaml, b.yaml]\nkeep_daily: 3\nexclude_patterns: ['*.c']\nm: {y: 2}\n",
            ),
            (
                "a.yaml",
                "keep_daily: 1\nkeep_weekly: 1\nexclude_patterns: ['*.a']\nm: {x: 1, y: 1}\n",
            ),
            ("b.yaml", "keep_weekly: 2\nexclude_patterns: ['*.b']\n"),
        ]);
        insta::assert_snapshot!(files.yaml(), @r"
        exclude_patterns:
            - '*.a'
            - '*.b'
            - '*.c'
        keep_daily: 3
        keep_weekly: 2
        m:
            x: 1
            y: 2
        ");
    }

    #[test]
    fn retain_keeps_the_local_value_and_omit_drops_an_included_one() {
        let files = Files::new(&[
            (
                "config.yaml",
                "<<: !include a.yaml\nlist: [!omit x, y]\nkept: !retain [z]\nm: !retain {b: 2}\n",
            ),
            ("a.yaml", "list: [w, x]\nkept: [a]\nm: {a: 1}\n"),
        ]);
        insta::assert_snapshot!(files.yaml(), @r"
        kept:
            - z
        list:
            - w
            - y
        m:
            b: 2
        ");
    }

    #[test]
    fn included_files_include_others_from_their_own_place() {
        let files = Files::new(&[
            ("config.yaml", "<<: !include a.yaml\n"),
            ("a.yaml", "<<: !include b.yaml\nx: 1\n"),
            ("b.yaml", "y: 2\n"),
        ]);
        assert_eq!(files.yaml(), "x: 1\ny: 2\n");
        assert_eq!(files.resolved().unwrap().1.len(), 3);
    }

    #[test]
    fn the_first_of_merged_aliases_wins() {
        let files = Files::new(&[(
            "config.yaml",
            "a: &a {x: 1}\nb: &b {x: 2, y: 2}\nc: {<<: [*a, *b], z: 3}\n",
        )]);
        assert!(
            files.yaml().ends_with("c:\n    x: 1\n    y: 2\n    z: 3\n"),
            "{}",
            files.yaml()
        );
    }

    #[test]
    fn what_has_no_meaning_is_refused_with_its_place() {
        let error =
            |config: &str| Files::new(&[("config.yaml", config), ("a.yaml", "x: [1]\n")]).error();
        insta::assert_snapshot!(error("a: 1\nx: !include nowhere.yaml\n"), @"config.yaml:2: Could not find include nowhere.yaml at CURRENT/nowhere.yaml or nowhere.yaml");
        insta::assert_snapshot!(error("x: !include {a: 1}\n"), @"config.yaml:1: !include takes the name of a file, or a list of names");
        insta::assert_snapshot!(error("<<: !include a.yaml\nx: {a: 1}\n"), @r#"config.yaml:2: "x" is of another kind in the included file"#);
        insta::assert_snapshot!(error("x: !retain [1]\n"), @r#"config.yaml:1: !retain only goes with an option that a file merged by "<<: !include" has too"#);
        insta::assert_snapshot!(error("x: [!omit 1]\n"), @r#"config.yaml:1: !omit only goes with an element of a list that a file merged by "<<: !include" has too"#);
        insta::assert_snapshot!(error("<<: !include a.yaml\nx: !retain 1\n"), @r#"config.yaml:2: "x" is of another kind in the included file"#);
        insta::assert_snapshot!(error("<<: 3\n"), @"config.yaml:1: only a mapping can be merged by <<");
    }

    #[test]
    fn a_file_that_includes_itself_ends_with_an_error() {
        let files = Files::new(&[("config.yaml", "<<: !include config.yaml\n")]);
        assert!(
            files.error().contains("nested too deeply"),
            "{}",
            files.error()
        );
    }
}
