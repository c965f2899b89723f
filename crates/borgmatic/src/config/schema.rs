//! What a declared option is, and the comparison of a tree with the declarations.
//!
//! All that is wrong is collected, each with its place. Nothing is ignored: a key is known and
//! works, is refused as unknown (with the closest known key), or is told to have no effect.

use super::error::{ConfigError, closest};
use super::options::{options, repository};
use super::tree::{Entry, Node, Value};

/// The type of an option's value.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Integer,
    /// A whole number from -2 to 2.
    Level,
    /// Any number.
    Number,
    /// Text.
    Text,
    /// One of some words.
    Choice(&'static [&'static str]),
    /// `standard`, `quick`, `none`, or a boolean (deprecated).
    Statistics,
    /// A list of texts.
    TextList,
    /// A list of some words.
    ChoiceList(&'static [&'static str]),
    /// A mapping with these keys.
    Fields(&'static [OptionSpec]),
    /// `true`, `false`, or a mapping with these keys, which switches on as well.
    SwitchOrFields(&'static [OptionSpec]),
    /// A list of mappings with these keys.
    List(&'static [OptionSpec]),
    /// The list of repositories: their own keys, and those of the top level.
    Repositories,
    /// A mapping of names to anything.
    Map,
    /// A mapping of names to texts.
    TextMap,
    /// Text or a whole number.
    TextOrInteger,
}

/// Whether an option does anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// It works.
    Works,
    /// Only Borg 2 knows what it is about: it has no effect.
    Borg2,
}

/// The declaration of an option.
#[derive(Debug)]
pub struct OptionSpec {
    /// Its key.
    pub name: &'static str,
    /// The type of its value.
    pub kind: Kind,
    /// What it does, in one line.
    pub about: &'static str,
    /// A value it could have, in YAML.
    pub example: &'static str,
    /// What holds without it, where that can be said.
    pub default: Option<&'static str>,
    /// Whether it works.
    pub support: Support,
    /// Whether it must be there.
    pub required: bool,
    /// Whether an empty value switches it on.
    pub may_be_empty: bool,
}

/// Returns the declaration of a top-level option.
pub fn find(name: &str) -> Option<&'static OptionSpec> {
    lookup(options(), name)
}

/// Returns the declaration of the option with this name.
pub fn lookup(specs: &'static [OptionSpec], name: &str) -> Option<&'static OptionSpec> {
    specs.iter().find(|spec| spec.name == name)
}

/// Compares a whole configuration with the declared options. Returns what is wrong with it, and
/// puts into `warnings` what has no effect.
pub fn validate(root: &Node, warnings: &mut Vec<String>) -> Vec<ConfigError> {
    let mut validator = Validator {
        errors: Vec::new(),
        warnings,
    };
    validator.fields(root, "", options(), &[]);
    validator.errors
}

struct Validator<'a> {
    warnings: &'a mut Vec<String>,
    errors: Vec<ConfigError>,
}

impl Validator<'_> {
    /// Checks a mapping against its declarations; `more` are accepted beside them.
    fn fields(
        &mut self,
        node: &Node,
        place: &str,
        specs: &'static [OptionSpec],
        more: &'static [OptionSpec],
    ) {
        if !matches!(node.value, Value::Map(_)) {
            self.wrong_type(node, place, "a mapping");
            return;
        }
        for entry in node.entries() {
            let spec = lookup(specs, &entry.key).or_else(|| lookup(more, &entry.key));
            let Some(spec) = spec else {
                self.unknown(entry, place, specs, more);
                continue;
            };
            if spec.support == Support::Borg2 {
                let option = join(place, &entry.key);
                let text = format!(
                    "{}: {option:?} is for Borg 2 only and has no effect",
                    entry.at
                );
                self.warnings.push(text);
            }
            if !(spec.may_be_empty && entry.value.value == Value::Null) {
                self.value(&entry.value, &join(place, &entry.key), spec.kind);
            }
        }
        for spec in specs.iter().filter(|spec| spec.required) {
            if node.get(spec.name).is_none() {
                self.errors.push(ConfigError::Missing {
                    at: node.at.clone(),
                    key: spec.name.to_owned(),
                    place: place.to_owned(),
                });
            }
        }
    }

    fn unknown(
        &mut self,
        entry: &Entry,
        place: &str,
        specs: &'static [OptionSpec],
        more: &'static [OptionSpec],
    ) {
        let names = specs.iter().chain(more).map(|spec| spec.name);
        self.errors.push(ConfigError::UnknownOption {
            at: entry.at.clone(),
            key: entry.key.clone(),
            place: place.to_owned(),
            closest: closest(&entry.key, names),
        });
    }

    fn value(&mut self, node: &Node, path: &str, kind: Kind) {
        match kind {
            Kind::Boolean => self.require(node.as_boolean().is_some(), node, path, "true or false"),
            Kind::Integer => {
                self.require(node.as_integer().is_some(), node, path, "a whole number")
            }
            Kind::Number => self.require(node.as_number().is_some(), node, path, "a number"),
            Kind::Text => self.require(node.as_text().is_some(), node, path, "text"),
            Kind::Level => {
                let fits = node
                    .as_integer()
                    .is_some_and(|level| (-2..=2).contains(&level));
                self.require(fits, node, path, "a whole number from -2 to 2");
            }
            Kind::Choice(words) => self.choice(node, path, words),
            Kind::Statistics if node.as_boolean().is_some() => {}
            Kind::Statistics => self.choice(node, path, &["standard", "quick", "none"]),
            Kind::TextList => self.elements(node, path, Kind::Text),
            Kind::ChoiceList(words) => self.elements(node, path, Kind::Choice(words)),
            Kind::SwitchOrFields(_) if node.as_boolean().is_some() => {}
            Kind::Fields(specs) | Kind::SwitchOrFields(specs) => {
                self.fields(node, path, specs, &[]);
            }
            Kind::List(specs) => self.maps(node, path, specs, &[]),
            Kind::Repositories => self.maps(node, path, repository(), options()),
            Kind::Map => {
                let map = matches!(node.value, Value::Map(_));
                self.require(map, node, path, "a mapping");
            }
            Kind::TextMap => self.texts(node, path),
            Kind::TextOrInteger => {
                let fits = node.as_text().is_some() || node.as_integer().is_some();
                self.require(fits, node, path, "text or a whole number");
            }
        }
    }

    fn choice(&mut self, node: &Node, path: &str, words: &'static [&'static str]) {
        let Some(text) = node.as_text() else {
            self.wrong_type(node, path, &format!("one of {}", words.join(", ")));
            return;
        };
        if !words.contains(&text) {
            self.errors.push(ConfigError::NotAllowed {
                at: node.at.clone(),
                option: path.to_owned(),
                found: text.to_owned(),
                allowed: words.join(", ").into(),
                closest: closest(text, words.iter().copied()),
            });
        }
    }

    fn elements(&mut self, node: &Node, path: &str, kind: Kind) {
        if !matches!(node.value, Value::List(_)) {
            self.wrong_type(node, path, "a list");
        }
        for (index, element) in node.elements().iter().enumerate() {
            self.value(element, &format!("{path}[{index}]"), kind);
        }
    }

    fn maps(
        &mut self,
        node: &Node,
        path: &str,
        specs: &'static [OptionSpec],
        more: &'static [OptionSpec],
    ) {
        if !matches!(node.value, Value::List(_)) {
            self.wrong_type(node, path, "a list");
        }
        for (index, element) in node.elements().iter().enumerate() {
            self.fields(element, &format!("{path}[{index}]"), specs, more);
        }
    }

    fn texts(&mut self, node: &Node, path: &str) {
        self.require(matches!(node.value, Value::Map(_)), node, path, "a mapping");
        for entry in node.entries() {
            self.value(&entry.value, &join(path, &entry.key), Kind::Text);
        }
    }

    fn require(&mut self, holds: bool, node: &Node, path: &str, expected: &str) {
        if !holds {
            self.wrong_type(node, path, expected);
        }
    }

    fn wrong_type(&mut self, node: &Node, path: &str, expected: &str) {
        self.errors.push(ConfigError::WrongType {
            at: node.at.clone(),
            option: path.to_owned(),
            expected: expected.to_owned(),
            found: node.describe(),
        });
    }
}

fn join(place: &str, key: &str) -> String {
    match place {
        "" => key.to_owned(),
        place => format!("{place}.{key}"),
    }
}
