//! Reads one YAML 1.2 file into a [`Node`].
//!
//! Scalars get their type by the YAML 1.2 rules that borgmatic's parser uses: `yes` and `on` are
//! text, `0077` is seventy-seven, `0o77` sixty-three. A key that stands twice is an error, as is
//! a tag that is neither part of YAML nor one of ours. Size and depth are limited, so that a few
//! lines of aliases cannot fill the memory.

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, StrInput, Tag};

use super::error::{ConfigError, ConfigErrors};
use super::tree::{Entry, Node, Position, Value};

/// Most nodes that one file may hold, aliases counted each time they are used.
const MAX_NODES: usize = 200_000;
/// Deepest nesting of lists and mappings.
const MAX_DEPTH: usize = 64;
/// Largest file that is read.
const MAX_BYTES: u64 = 16 << 20;

/// Tags that stay on their node for the include rules to see.
pub const INCLUDE_TAGS: [&str; 3] = ["!include", "!retain", "!omit"];

/// Reads a file; an empty one is a null node.
///
/// # Errors
/// When it cannot be read or is no YAML of the accepted kind.
pub fn load_file(path: &Path) -> Result<Node, ConfigErrors> {
    let unreadable = |source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if length > MAX_BYTES {
        let at = Position::whole(&path.to_string_lossy());
        return Err(ConfigError::TooLarge { at }.into());
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    let text = String::from_utf8(bytes).map_err(|_| ConfigError::NotText {
        path: path.to_owned(),
    })?;
    load_text(&text, &path.to_string_lossy())
}

/// Reads YAML text; `name` stands for it in messages.
///
/// # Errors
/// When it is no YAML of the accepted kind.
pub fn load_text(text: &str, name: &str) -> Result<Node, ConfigErrors> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut loader = Loader {
        parser: Parser::new_from_str(text),
        file: name.into(),
        anchors: HashMap::new(),
        nodes: 0,
        errors: Vec::new(),
    };
    let node = loader.document();
    match node {
        Err(error) => {
            loader.errors.push(error);
            Err(ConfigErrors(loader.errors))
        }
        Ok(node) if loader.errors.is_empty() => Ok(node),
        Ok(_) => Err(ConfigErrors(loader.errors)),
    }
}

struct Loader<'input> {
    parser: Parser<'input, StrInput<'input>>,
    file: Rc<str>,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    /// What does not end the reading, so that all of it can be told.
    errors: Vec<ConfigError>,
}

impl<'input> Loader<'input> {
    fn position(&self, marker: &Marker) -> Position {
        Position {
            file: Rc::clone(&self.file),
            line: marker.line(),
            column: marker.col() + 1,
        }
    }

    fn next(&mut self) -> Result<(Event<'input>, Span), ConfigError> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(ConfigError::Syntax {
                at: self.position(error.marker()),
                message: error.info().to_owned(),
            }),
            None => Err(ConfigError::Syntax {
                at: Position::whole(&self.file),
                message: "unexpected end of file".to_owned(),
            }),
        }
    }

    fn document(&mut self) -> Result<Node, ConfigError> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentEnd | Event::Nothing => {}
                Event::DocumentStart(_) if root.is_some() => {
                    return Err(ConfigError::Syntax {
                        at: self.position(&span.start),
                        message: "a second document begins; one file holds one".to_owned(),
                    });
                }
                Event::DocumentStart(_) => {
                    let (event, span) = self.next()?;
                    root = Some(self.node(event, span, 0)?);
                }
                Event::StreamEnd => break,
                _ => {}
            }
        }
        let at = Position::whole(&self.file);
        Ok(root.unwrap_or_else(|| Node::new(Value::Null, at)))
    }

    fn count(&mut self, nodes: usize, depth: usize, at: &Position) -> Result<(), ConfigError> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES || depth > MAX_DEPTH {
            return Err(ConfigError::TooLarge { at: at.clone() });
        }
        Ok(())
    }

    fn node(
        &mut self,
        event: Event<'input>,
        span: Span,
        depth: usize,
    ) -> Result<Node, ConfigError> {
        let at = self.position(&span.start);
        self.count(1, depth, &at)?;
        let before = self.nodes;
        let (anchor, node) = match event {
            Event::Alias(anchor) => return self.alias(anchor, at, depth),
            Event::Scalar(text, style, anchor, tag) => {
                let value = self.scalar(&text, style, tag.as_deref(), &at);
                let tag = self.local_tag(tag.as_deref(), &at);
                (
                    anchor,
                    Node {
                        tag,
                        ..Node::new(value, at)
                    },
                )
            }
            Event::SequenceStart(anchor, tag) => {
                let tag = self.local_tag(tag.as_deref(), &at);
                let value = self.list(depth)?;
                (
                    anchor,
                    Node {
                        tag,
                        ..Node::new(value, at)
                    },
                )
            }
            Event::MappingStart(anchor, tag) => {
                let tag = self.local_tag(tag.as_deref(), &at);
                let value = self.map(depth)?;
                (
                    anchor,
                    Node {
                        tag,
                        ..Node::new(value, at)
                    },
                )
            }
            _ => {
                return Err(ConfigError::Syntax {
                    at,
                    message: "a value is missing".to_owned(),
                });
            }
        };
        if anchor > 0 {
            let size = self.nodes - before + 1;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        Ok(node)
    }

    fn alias(&mut self, anchor: usize, at: Position, depth: usize) -> Result<Node, ConfigError> {
        let Some((node, size)) = self.anchors.get(&anchor).cloned() else {
            return Err(ConfigError::Syntax {
                at,
                message: "an alias is used inside the value it stands for".to_owned(),
            });
        };
        self.count(size, depth, &at)?;
        Ok(Node { at, ..node })
    }

    fn list(&mut self, depth: usize) -> Result<Value, ConfigError> {
        let mut elements = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(Value::List(elements));
            }
            elements.push(self.node(event, span, depth + 1)?);
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, ConfigError> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                return Ok(Value::Map(entries));
            }
            let key_node = self.node(event, span, depth + 1)?;
            let (key, at) = (key_text(&key_node), key_node.at);
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            let Some(key) = key else {
                self.errors.push(ConfigError::Syntax {
                    at,
                    message: "a key must be text".to_owned(),
                });
                continue;
            };
            match entries.iter().find(|entry| entry.key == key) {
                Some(first) => self.errors.push(ConfigError::DuplicateKey {
                    at,
                    key,
                    first: first.at.clone(),
                }),
                None => entries.push(Entry { key, at, value }),
            }
        }
    }

    fn local_tag(&mut self, tag: Option<&Tag>, at: &Position) -> Option<String> {
        let tag = tag?;
        if tag.is_yaml_core_schema() {
            return None;
        }
        let name = format!("{}{}", tag.handle, tag.suffix);
        if INCLUDE_TAGS.contains(&name.as_str()) {
            return Some(name);
        }
        self.errors.push(ConfigError::UnknownTag {
            at: at.clone(),
            tag: name,
            hint: "; known are !include, !retain and !omit",
        });
        None
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&Tag>,
        at: &Position,
    ) -> Value {
        let core = tag.filter(|tag| tag.is_yaml_core_schema());
        let Some(tag) = core else {
            return match style {
                ScalarStyle::Plain if tag.is_none() => plain(text),
                _ => Value::Text(text.to_owned()),
            };
        };
        let value = match tag.suffix.as_str() {
            "str" => return Value::Text(text.to_owned()),
            _ => plain(text),
        };
        let fits = match tag.suffix.as_str() {
            "int" => matches!(value, Value::Integer(_)),
            "float" => matches!(value, Value::Integer(_) | Value::Number(_)),
            "bool" => matches!(value, Value::Boolean(_)),
            "null" => matches!(value, Value::Null),
            _ => false,
        };
        if !fits {
            self.errors.push(ConfigError::Syntax {
                at: at.clone(),
                message: format!("{text:?} is no value for the tag !!{}", tag.suffix),
            });
        }
        value
    }
}

fn key_text(node: &Node) -> Option<String> {
    match &node.value {
        Value::Text(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Boolean(value) => Some(value.to_string()),
        _ => None,
    }
}

/// Gives a plain scalar its type.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Boolean(true),
        "false" | "False" | "FALSE" => return Value::Boolean(false),
        _ => {}
    }
    if let Some(number) = integer(text) {
        return Value::Integer(number);
    }
    match number(text) {
        Some(number) => Value::Number(number),
        None => Value::Text(text.to_owned()),
    }
}

fn integer(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let (radix, digits) = match digits.get(..2) {
        Some("0x") => (16, digits.get(2..)?),
        Some("0o") => (8, digits.get(2..)?),
        Some("0b") => (2, digits.get(2..)?),
        _ => (10, digits),
    };
    let valid = |c: char| c.is_digit(radix) || c == '_';
    if !digits.starts_with(|c: char| c.is_digit(radix)) || !digits.chars().all(valid) {
        return None;
    }
    let digits = digits.replace('_', "");
    let sign = if negative { "-" } else { "" };
    i64::from_str_radix(&format!("{sign}{digits}"), radix).ok()
}

fn number(text: &str) -> Option<f64> {
    match text.trim_start_matches(['+', '-']) {
        ".inf" | ".Inf" | ".INF" => {
            let infinity = f64::INFINITY;
            return Some(if text.starts_with('-') {
                -infinity
            } else {
                infinity
            });
        }
        ".nan" | ".NaN" | ".NAN" => return Some(f64::NAN),
        _ => {}
    }
    let number_like = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-');
    let has_digit = text.contains(|c: char| c.is_ascii_digit());
    (has_digit && text.chars().all(number_like)).then_some(())?;
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Node {
        load_text(text, "config.yaml").unwrap()
    }

    fn errors(text: &str) -> String {
        load_text(text, "config.yaml").unwrap_err().to_string()
    }

    #[test]
    fn scalars_have_the_types_of_yaml_1_2() {
        for (text, value) in [
            ("yes", Value::Text("yes".into())),
            ("off", Value::Text("off".into())),
            ("0077", Value::Integer(77)),
            ("0o77", Value::Integer(63)),
            ("0x1F", Value::Integer(31)),
            ("-7", Value::Integer(-7)),
            ("1_000", Value::Integer(1000)),
            ("0.5", Value::Number(0.5)),
            ("1e3", Value::Number(1000.0)),
            ("24H", Value::Text("24H".into())),
            ("1.2.3", Value::Text("1.2.3".into())),
            ("e", Value::Text("e".into())),
            ("True", Value::Boolean(true)),
            ("~", Value::Null),
            ("\"7\"", Value::Text("7".into())),
            ("!!str 7", Value::Text("7".into())),
        ] {
            assert_eq!(
                load(&format!("key: {text}")).get("key").unwrap().value,
                value,
                "{text}"
            );
        }
    }

    #[test]
    fn nodes_know_their_line_and_column() {
        let root = load("a: 1\nb:\n    - x\n    - y: 2\n");
        let list = root.get("b").unwrap().elements();
        assert_eq!(format!("{:?}", list[0].at), "config.yaml:3:7");
        assert_eq!(format!("{:?}", list[1].entries()[0].at), "config.yaml:4:7");
    }

    #[test]
    fn a_key_may_stand_only_once() {
        insta::assert_snapshot!(
            errors("keep_daily: 1\nkeep_weekly: 2\nkeep_daily: 3\n"),
            @r#"config.yaml:3: "keep_daily" is already set at line 1; a key may stand only once"#
        );
    }

    #[test]
    fn syntax_errors_name_line_and_column() {
        insta::assert_snapshot!(
            errors("a: 1\nb: [1, 2\nc: 3\n"),
            @"config.yaml:3: not valid YAML: illegal placement of ':' indicator (column 2)"
        );
    }

    #[test]
    fn unknown_tags_are_refused() {
        insta::assert_snapshot!(
            errors("a: !secret x\n"),
            @r#"config.yaml:1: the tag "!secret" is not known; known are !include, !retain and !omit"#
        );
    }

    #[test]
    fn aliases_are_copies_at_their_own_place() {
        let root = load("a: &x [1, 2]\nb: *x\n");
        let copy = root.get("b").unwrap();
        assert_eq!(copy.elements().len(), 2);
        assert_eq!(copy.at.line, 2);
    }

    #[test]
    fn aliases_of_aliases_cannot_fill_the_memory() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for n in 1..12 {
            let list = vec![format!("*a{}", n - 1); 10].join(", ");
            text += &format!("a{n}: &a{n} [{list}]\n");
        }
        assert!(errors(&text).contains("too large"));
    }

    #[test]
    fn deep_nesting_ends_with_an_error() {
        assert!(errors(&"[".repeat(5000)).contains("config.yaml"));
    }

    #[test]
    fn empty_files_are_null() {
        assert_eq!(load("").value, Value::Null);
        assert_eq!(load("# nothing\n").value, Value::Null);
    }
}
