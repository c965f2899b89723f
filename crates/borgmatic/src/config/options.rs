//! The table of all options: name, type, what it does, an example, and whether it works yet.
//!
//! It is the one place where an option is declared, and it is data: `options.yaml` beside this
//! file, part of the program, read once. Validation, the command line flags, the sample
//! configuration, the JSON Schema and the reference are made of it; [`super::typed`] gives the
//! working ones their meaning. The names are those of borgmatic 2.1; one that means something to
//! Borg 2 only is [`Support::Borg2`], and whoever uses it is told that it has no effect.

use std::sync::LazyLock;

use super::load::load_text;
use super::schema::{Kind, OptionSpec, Support};
use super::tree::{Entry, Node};

/// Old section names; their options are options of the top level.
pub const SECTIONS: [&str; 6] = [
    "location",
    "storage",
    "retention",
    "consistency",
    "output",
    "hooks",
];

/// The option under which everything stands that borgmatic does not have.
pub const EXTRAS: &str = "fastness";

struct Table {
    options: &'static [OptionSpec],
    repository: &'static [OptionSpec],
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    read(include_str!("options.yaml")).expect("every line of the table is tested")
});

/// Returns all options of the top level.
pub fn options() -> &'static [OptionSpec] {
    TABLE.options
}

/// Returns the fields of an entry of `repositories`; any top-level option may stand there too.
pub fn repository() -> &'static [OptionSpec] {
    TABLE.repository
}

fn read(text: &str) -> Option<Table> {
    let root = load_text(text, "options.yaml").ok()?;
    let options = root.get("options")?;
    Some(Table {
        options: specs(options)?,
        repository: specs(options.get("repositories")?.get("fields")?)?,
    })
}

/// The table lives as long as the program.
fn specs(node: &Node) -> Option<&'static [OptionSpec]> {
    let specs: Option<Vec<OptionSpec>> = node.entries().iter().map(spec).collect();
    Some(Box::leak(specs?.into_boxed_slice()))
}

fn spec(entry: &Entry) -> Option<OptionSpec> {
    let text = |key: &str| entry.value.get(key).and_then(Node::as_text).map(leak);
    let given = |key: &str| entry.value.get(key).is_some();
    Some(OptionSpec {
        name: leak(&entry.key),
        kind: kind(&entry.value)?,
        about: text("about")?,
        example: text("example")?,
        default: text("default"),
        support: match given("borg2") {
            true => Support::Borg2,
            false => Support::Works,
        },
        required: given("required"),
        may_be_empty: given("empty"),
    })
}

fn kind(node: &Node) -> Option<Kind> {
    let fields = || specs(node.get("fields")?);
    Some(match node.get("is")?.as_text()? {
        "boolean" => Kind::Boolean,
        "integer" => Kind::Integer,
        "level" => Kind::Level,
        "number" => Kind::Number,
        "text" => Kind::Text,
        "texts" => Kind::TextList,
        "value" => Kind::TextOrInteger,
        "choice" => Kind::Choice(words(node)?),
        "choices" => Kind::ChoiceList(words(node)?),
        "statistics" => Kind::Statistics,
        "map" => Kind::Map,
        "labels" => Kind::TextMap,
        "fields" => Kind::Fields(fields()?),
        "switch" => Kind::SwitchOrFields(fields()?),
        "list" => Kind::List(fields()?),
        "repositories" => Kind::Repositories,
        _ => return None,
    })
}

fn words(node: &Node) -> Option<&'static [&'static str]> {
    let words = node.get("words")?.elements().iter();
    let words: Option<Vec<&'static str>> = words.map(|word| word.as_text().map(leak)).collect();
    Some(Box::leak(words?.into_boxed_slice()))
}

fn leak(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}
