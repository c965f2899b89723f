//! Options that the command line puts over a configuration file.
//!
//! A flag `--compression zstd`, `--healthchecks.ping-url URL` or `--repositories[0].label nas`
//! names a place in the file by a path; [`Setting`] is that path with the value for it. The
//! deprecated `--override option.suboption=value` comes to the same.

use super::error::{ConfigError, closest};
use super::load::load_text;
use super::options::{SECTIONS, options, repository};
use super::schema::{Kind, OptionSpec, lookup};
use super::tree::{Entry, Node, Position, Value};

/// Options that have no flag of their own: flags of actions set them.
const WITHOUT_FLAG: [&str; 6] = [
    "match_archives",
    "progress",
    "statistics",
    "list_details",
    "file_list_format",
    "archive_list_format",
];

/// One part of a path: a key, and the element of its list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    key: String,
    index: Option<usize>,
}

/// A place in a configuration, and what is put there.
#[derive(Debug, Clone)]
pub struct Setting {
    path: Vec<Step>,
    /// None takes the option out.
    value: Option<Node>,
}

/// A flag of the command line that stands for an option.
#[derive(Debug, Clone)]
pub struct OptionFlag {
    path: Vec<Step>,
    /// The flag as it was written.
    name: String,
    effect: Effect,
}

#[derive(Debug, Clone, Copy)]
enum Effect {
    Take(Kind),
    Set(bool),
    Remove,
}

impl OptionFlag {
    /// Finds the option that a flag stands for; `name` is without its dashes.
    pub fn find(name: &str) -> Option<Self> {
        if WITHOUT_FLAG.contains(&name.replace('-', "_").as_str()) {
            return None;
        }
        let (before, last) = name.rsplit_once('.').unwrap_or(("", name));
        let mut path = Vec::new();
        let mut specs = [options(), &[]];
        for part in before.split('.').filter(|part| !part.is_empty()) {
            let step = Step::parse(part)?;
            specs = below(specs, &step)?;
            path.push(step);
        }
        let top = path.is_empty();
        let (key, effect) = effect(last, specs, top)?;
        path.push(key);
        let name = name.to_owned();
        Some(Self { path, name, effect })
    }

    /// Tells whether a value follows it.
    pub fn takes_value(&self) -> bool {
        matches!(self.effect, Effect::Take(_))
    }

    /// Makes the setting; `value` is there when the flag takes one.
    ///
    /// # Errors
    /// When a value that must be YAML is none.
    pub fn setting(self, value: Option<&str>) -> Result<Setting, String> {
        let flag = format!("--{}", self.name);
        let value = match (self.effect, value) {
            (Effect::Remove, _) => None,
            (Effect::Set(value), _) => {
                Some(Node::new(Value::Boolean(value), Position::whole(&flag)))
            }
            (Effect::Take(kind), text) => Some(scalar(&flag, text.unwrap_or_default(), kind)?),
        };
        let path = self.path;
        Ok(Setting { path, value })
    }
}

impl Step {
    fn parse(part: &str) -> Option<Self> {
        let (key, index) = match part.strip_suffix(']') {
            Some(part) => {
                let (key, digits) = part.split_once('[')?;
                (key, Some(digits.parse().ok()?))
            }
            None => (part, None),
        };
        let key = key.replace('-', "_");
        Some(Self { key, index })
    }
}

type Specs = [&'static [OptionSpec]; 2];

fn among(specs: Specs, key: &str) -> Option<&'static OptionSpec> {
    let [own, more] = specs;
    lookup(own, key).or_else(|| lookup(more, key))
}

/// The options below a mapping, or below an element of a list of mappings.
fn below(specs: Specs, step: &Step) -> Option<Specs> {
    match (among(specs, &step.key)?.kind, step.index) {
        (Kind::Fields(fields) | Kind::SwitchOrFields(fields), None)
        | (Kind::List(fields), Some(_)) => Some([fields, &[]]),
        (Kind::Repositories, Some(_)) => Some([repository(), options()]),
        _ => None,
    }
}

/// What the last part of a flag does to which option.
fn effect(last: &str, specs: Specs, top: bool) -> Option<(Step, Effect)> {
    let step = Step::parse(last)?;
    if let Some(spec) = among(specs, &step.key) {
        let effect = match (spec.kind, step.index) {
            (Kind::Boolean, None) => Effect::Set(true),
            (Kind::TextList, Some(_)) => Effect::Take(Kind::Text),
            (Kind::ChoiceList(words), Some(_)) => Effect::Take(Kind::Choice(words)),
            (Kind::List(fields), Some(_)) => Effect::Take(Kind::Fields(fields)),
            (Kind::Fields(_), None) | (_, Some(_)) => return None,
            (kind, None) => Effect::Take(kind),
        };
        return Some((step, effect));
    }
    let key = |key: &str| Step {
        key: key.to_owned(),
        index: None,
    };
    if let Some(name) = step.key.strip_prefix("no_")
        && let Some(spec) = among(specs, name)
    {
        return match spec.kind {
            Kind::Boolean => Some((key(name), Effect::Set(false))),
            Kind::Fields(_) | Kind::Map if top => Some((key(name), Effect::Remove)),
            _ => None,
        };
    }
    let negated = format!("no_{}", step.key);
    let spec = among(specs, &negated)?;
    matches!(spec.kind, Kind::Boolean).then(|| (key(&negated), Effect::Set(false)))
}

/// Reads the value of a flag: text for an option that is text, YAML for any other.
fn scalar(flag: &str, text: &str, kind: Kind) -> Result<Node, String> {
    let at = Position::whole(flag);
    if matches!(kind, Kind::Text | Kind::Choice(_) | Kind::Statistics) {
        return Ok(Node::new(Value::Text(text.to_owned()), at));
    }
    let read = load_text(text, flag).map_err(|error| error.to_string())?;
    Ok(Node { at, ..read })
}

impl Setting {
    /// Sets an option of the top level as a flag of an action does.
    ///
    /// # Errors
    /// When a value that must be YAML is none.
    pub fn option(flag: &str, option: &str, text: &str) -> Result<Self, String> {
        let kind = lookup(options(), option).map_or(Kind::Text, |spec| spec.kind);
        let key = option.to_owned();
        Ok(Self {
            path: vec![Step { key, index: None }],
            value: Some(scalar(&format!("--{flag}"), text, kind)?),
        })
    }

    /// Understands the value of `--override`. A name with an old section stands for two places.
    ///
    /// # Errors
    /// When it is not of the form `OPTION=VALUE`.
    pub fn from_override(text: &str) -> Result<Vec<Self>, String> {
        let invalid = || {
            format!(
                "Invalid override '{text}'. Use the form OPTION=VALUE or OPTION.SUBOPTION=VALUE"
            )
        };
        let (name, value) = text.split_once('=').ok_or_else(invalid)?;
        let keys: Vec<&str> = name.split('.').collect();
        let without = match keys.split_first() {
            Some((section, rest)) if SECTIONS.contains(section) && !rest.is_empty() => rest,
            _ => keys.as_slice(),
        };
        let value = scalar("--override", value, kind_of(without))
            .map_err(|error| format!("Invalid override '{text}': {error}"))?;
        let make = |keys: &[&str]| Self {
            path: keys
                .iter()
                .map(|key| Step {
                    key: (*key).to_owned(),
                    index: None,
                })
                .collect(),
            value: Some(value.clone()),
        };
        Ok(match without.len() == keys.len() {
            true => vec![make(&keys)],
            false => vec![make(&keys), make(without)],
        })
    }

    /// Returns the option of the top level that is set, with its value.
    pub fn top(&self) -> Option<(&str, &Node)> {
        match (self.path.as_slice(), &self.value) {
            ([step], Some(value)) if step.index.is_none() => Some((&step.key, value)),
            _ => None,
        }
    }

    /// Puts the value into a configuration.
    ///
    /// # Errors
    /// When the path leads through an element that is not there.
    pub fn apply(&self, root: &mut Node) -> Result<(), ConfigError> {
        if root.value == Value::Null {
            root.value = Value::Map(Vec::new());
        }
        put(root, &self.path, self.value.as_ref())
    }
}

fn kind_of(keys: &[&str]) -> Kind {
    let mut specs = options();
    let mut kind = Kind::Map;
    for key in keys {
        let Some(spec) = lookup(specs, key) else {
            return Kind::Map;
        };
        kind = spec.kind;
        specs = match kind {
            Kind::Fields(fields) | Kind::SwitchOrFields(fields) => fields,
            _ => &[],
        };
    }
    kind
}

fn put(node: &mut Node, path: &[Step], value: Option<&Node>) -> Result<(), ConfigError> {
    let Some((step, rest)) = path.split_first() else {
        if let Some(value) = value {
            *node = value.clone();
        }
        return Ok(());
    };
    if let (Some(index), _) = (step.index, ()) {
        let element = node.get_mut(&step.key).and_then(|list| list.element(index));
        return match element {
            Some(element) => put(element, rest, value),
            None => Err(ConfigError::Conflict {
                at: Position::whole("command line"),
                message: format!("Argument list index {}[{index}] is out of range", step.key),
            }),
        };
    }
    if rest.is_empty() && value.is_none() {
        node.remove(&step.key);
        return Ok(());
    }
    if matches!(node.value, Value::List(_)) {
        return Err(ConfigError::Conflict {
            at: Position::whole("command line"),
            message: "an override sets a whole list: [a, b] or [{key: value}]".to_owned(),
        });
    }
    let at = value.map_or_else(|| node.at.clone(), |value| value.at.clone());
    let missing = node
        .get(&step.key)
        .is_none_or(|node| node.value == Value::Null);
    if missing {
        node.set(Entry {
            key: step.key.clone(),
            at: at.clone(),
            value: Node::new(Value::Map(Vec::new()), at),
        });
    }
    match node.get_mut(&step.key) {
        Some(child) => put(child, rest, value),
        // Not a mapping: validation tells.
        None => Ok(()),
    }
}

/// Returns the flag that differs least from a word, if one is close.
pub fn closest_flag(word: &str) -> Option<String> {
    let names = options().iter().map(|spec| spec.name);
    closest(word, names).map(|name| format!("--{}", name.replace('_', "-")))
}

#[cfg(test)]
mod tests {
    use super::super::show::yaml;
    use super::*;

    fn set(text: &str, flags: &[(&str, Option<&str>)]) -> String {
        let mut root = load_text(text, "").unwrap();
        for (flag, value) in flags {
            let flag = OptionFlag::find(flag).unwrap_or_else(|| panic!("{flag}"));
            assert_eq!(flag.takes_value(), value.is_some());
            flag.setting(*value).unwrap().apply(&mut root).unwrap();
        }
        yaml(&root)
    }

    #[test]
    fn flags_reach_nested_options_and_elements_of_lists() {
        let text = "repositories: [{path: /a}, {path: /b}]\npostgresql_databases: [{name: x}]\nbtrfs: {}\n";
        let flags = [
            ("repositories[1].label", Some("nas")),
            ("repositories[0].compression", Some("zstd")),
            ("healthchecks.ping-url", Some("http://x")),
            ("healthchecks.no-verify-tls", None),
            ("postgresql-databases[0].no-owner", None),
            ("no-btrfs", None),
            ("exclude-patterns", Some("[a, b]")),
            ("exclude-patterns[1]", Some("7")),
        ];
        insta::assert_snapshot!(set(text, &flags), @r"
        exclude_patterns:
            - a
            - '7'
        healthchecks:
            ping_url: http://x
            verify_tls: false
        postgresql_databases:
            - name: x
              no_owner: true
        repositories:
            - compression: zstd
              path: /a
            - label: nas
              path: /b
        ");
        assert_eq!(
            set(
                "{}",
                &[
                    ("no-atime", None),
                    ("postgresql-databases", Some("[{}]")),
                    ("postgresql-databases[0].owner", None)
                ]
            ),
            "atime: false\npostgresql_databases:\n    - no_owner: false\n"
        );
    }

    #[test]
    fn what_is_no_option_has_no_flag() {
        for flag in [
            "progress",
            "frobnicate",
            "bootstrap",
            "checks.name",
            "no-keep-daily",
            "x[1",
        ] {
            assert!(OptionFlag::find(flag).is_none(), "{flag}");
        }
    }

    #[test]
    fn an_element_that_is_not_there_cannot_be_set() {
        let mut root = load_text("checks: []\n", "").unwrap();
        let flag = OptionFlag::find("checks[2].name").unwrap();
        let error = flag.setting(Some("data")).unwrap().apply(&mut root);
        insta::assert_snapshot!(error.unwrap_err(), @"command line: Argument list index checks[2] is out of range");
    }

    #[test]
    fn overrides_name_options_with_and_without_old_sections() {
        let mut root = load_text("hooks: {umask: 1}\n", "").unwrap();
        for text in [
            "hooks.umask=2",
            "keep_daily=3",
            "compression=yes",
            "bootstrap.store_config_files=false",
        ] {
            for setting in Setting::from_override(text).unwrap() {
                setting.apply(&mut root).unwrap();
            }
        }
        insta::assert_snapshot!(yaml(&root), @r"
        bootstrap:
            store_config_files: false
        compression: yes
        hooks:
            umask: 2
        keep_daily: 3
        umask: 2
        ");
        assert!(Setting::from_override("nothing").is_err());
    }
}
