//! A sample configuration: every option with what it does and an example, most of it commented
//! out.
//!
//! Three options stay active, so that the file is short to complete: what is saved, where to, and
//! how much is kept. Options of an older file that is brought along stay active as well.

use super::load::load_text;
use super::options::{EXTRAS, options, repository};
use super::schema::{Kind, OptionSpec, Support};
use super::show;
use super::tree::{Entry, Node, Value};

/// Options that the sample sets.
const ACTIVE: [&str; 3] = ["source_directories", "repositories", "keep_daily"];
/// Widest comment.
const WIDTH: usize = 76;

/// Writes the sample, with the options of `source` in place of the examples.
pub fn sample(source: Option<&Node>) -> String {
    let mut out = String::new();
    for spec in listed() {
        let own = source.and_then(|source| source.get(spec.name));
        if !out.is_empty() {
            out.push('\n');
        }
        let active = own.is_some() || (source.is_none() && ACTIVE.contains(&spec.name));
        out.push_str(&one(spec, own, active, false));
    }
    out
}

/// Writes one option as a file of its own: nothing is commented out.
pub fn single(spec: &'static OptionSpec, source: Option<&Node>) -> String {
    let own = source.and_then(|source| source.get(spec.name));
    one(spec, own, true, true)
}

/// The options that a sample has: those of borgmatic.
pub fn listed() -> impl Iterator<Item = &'static OptionSpec> {
    options().iter().filter(|spec| spec.name != EXTRAS)
}

fn one(spec: &'static OptionSpec, own: Option<&Node>, active: bool, all: bool) -> String {
    let mut writer = Writer {
        out: String::new(),
        active,
        all,
    };
    writer.comment(spec, 0);
    match own {
        Some(node) => {
            let entry = Entry {
                key: spec.name.to_owned(),
                at: node.at.clone(),
                value: node.clone(),
            };
            let map = Node::new(Value::Map(vec![entry]), node.at.clone());
            writer.out.push_str(&show::block(&map));
        }
        None => writer.option(spec, 0, ""),
    }
    writer.out
}

struct Writer {
    out: String,
    /// Whether what is written now is not commented out.
    active: bool,
    /// Whether nothing is.
    all: bool,
}

impl Writer {
    fn line(&mut self, indent: usize, text: &str) {
        self.out.push_str(&" ".repeat(indent));
        if !self.active {
            self.out.push_str("# ");
        }
        self.out.push_str(text);
        self.out.push('\n');
    }

    /// Says what an option does, in lines that are not too long.
    fn comment(&mut self, spec: &OptionSpec, indent: usize) {
        let default = spec.default.map(|default| format!(" (default: {default})"));
        let note = match spec.support {
            Support::Works => "",
            Support::Borg2 => " Borg 2 only, no effect.",
        };
        let text = format!("{}{}.{note}", spec.about, default.unwrap_or_default());
        let mut line = String::new();
        for word in text.split(' ') {
            if !line.is_empty() && indent + line.len() + word.len() > WIDTH {
                self.comment_line(indent, &line);
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        self.comment_line(indent, &line);
    }

    fn comment_line(&mut self, indent: usize, text: &str) {
        self.out.push_str(&" ".repeat(indent));
        self.out.push_str("# ");
        self.out.push_str(text);
        self.out.push('\n');
    }

    /// Writes an option with its example; `dash` is there for the first of a list's element.
    fn option(&mut self, spec: &'static OptionSpec, indent: usize, dash: &str) {
        let name = spec.name;
        match spec.kind {
            Kind::Fields(fields) | Kind::SwitchOrFields(fields) => {
                self.line(indent, &format!("{dash}{name}:"));
                let below = indent + 4;
                self.fields(fields, below, "");
            }
            Kind::List(fields) => {
                self.line(indent, &format!("{dash}{name}:"));
                self.fields(fields, indent + 4, "- ");
            }
            Kind::Repositories => {
                self.line(indent, &format!("{name}:"));
                self.fields(repository(), indent + 4, "- ");
            }
            Kind::TextList | Kind::ChoiceList(_) | Kind::Map | Kind::TextMap => {
                self.line(indent, &format!("{dash}{name}:"));
                let example = load_text(spec.example, "example").map(|node| show::block(&node));
                for line in example.unwrap_or_default().lines() {
                    self.line(indent + dash.len() + 4, line);
                }
            }
            _ => self.line(indent, &format!("{dash}{name}: {}", spec.example)),
        }
    }

    /// Writes fields; behind the first of an element the others are indented and, in the sample,
    /// commented out.
    fn fields(&mut self, fields: &'static [OptionSpec], indent: usize, dash: &'static str) {
        let (active, more) = (self.active, dash.len());
        for (index, spec) in fields.iter().enumerate() {
            let dash = if index == 0 { dash } else { "" };
            let indent = if index == 0 { indent } else { indent + more };
            if index > 0 {
                self.out.push('\n');
            }
            self.comment(spec, indent);
            self.active = active && (self.all || index == 0 || spec.required);
            self.option(spec, indent, dash);
        }
        self.active = active;
    }
}

#[cfg(test)]
mod tests {
    use super::super::normalize::normalize;
    use super::super::schema::validate;
    use super::*;

    #[test]
    fn the_sample_is_valid_and_names_every_option() {
        let text = sample(None);
        let tree = load_text(&text, "sample").unwrap();
        assert_eq!(validate(&tree, &mut Vec::new()).len(), 0);
        assert_eq!(tree.entries().len(), ACTIVE.len());
        for spec in listed() {
            assert!(text.contains(&format!("{}:", spec.name)), "{}", spec.name);
        }
        // Programs replace these texts.
        for line in [
            "    - path: ssh://user@backupserver/./sourcehostname.borg\n",
            "    - /home\n    - /etc\n    - /var/log/syslog*\n    - /home/user/path with spaces\n",
            "\nkeep_daily: 7\n",
            "\n# encryption_passphrase: correct horse battery staple\n",
        ] {
            assert!(text.contains(line), "{line}");
        }
    }

    #[test]
    fn options_of_an_older_file_stay_with_their_values() {
        let mut source = load_text(
            "location: {repositories: [/a], numeric_owner: true}\nencryption_passphrase: x\n",
            "",
        )
        .unwrap();
        let _ = normalize(&mut source).unwrap();
        let tree = load_text(&sample(Some(&source)), "sample").unwrap();
        assert_eq!(
            tree.get("encryption_passphrase").unwrap().as_text(),
            Some("x")
        );
        assert_eq!(tree.get("numeric_ids").unwrap().as_boolean(), Some(true));
        assert!(tree.get("keep_daily").is_none());
    }

    #[test]
    fn a_file_of_its_own_has_nothing_commented_out() {
        for spec in listed() {
            let text = single(spec, None);
            let tree = load_text(&text, spec.name).unwrap_or_else(|e| panic!("{e}\n{text}"));
            assert!(tree.get(spec.name).is_some());
        }
    }
}
