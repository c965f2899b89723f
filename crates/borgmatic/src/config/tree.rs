//! A configuration as a tree in which every node knows where it was written.
//!
//! YAML becomes this tree first; interpolation, normalisation and validation work on it, so that
//! each of them can name file, line and column. The typed options are read from it at the end.

use std::fmt;
use std::rc::Rc;

/// Where a node was written.
#[derive(Clone, PartialEq, Eq)]
pub struct Position {
    /// The file, or a name for what is no file (such as `command line`).
    pub file: Rc<str>,
    /// Line, from 1; 0 where there are no lines.
    pub line: usize,
    /// Column in characters, from 1; 0 where there are no columns.
    pub column: usize,
}

impl Position {
    /// A place that has no lines, such as the command line or a whole file.
    pub fn whole(file: &str) -> Self {
        Self {
            file: file.into(),
            line: 0,
            column: 0,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        match self.line {
            0 => Ok(()),
            line => write!(f, ":{line}"),
        }
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}:{}", self.column)
    }
}

/// One key of a mapping with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key was written.
    pub at: Position,
    /// The value.
    pub value: Node,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing: an empty value, `~` or `null`.
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Number(f64),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the file.
    Map(Vec<Entry>),
}

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where it begins.
    pub at: Position,
    /// Set when constants were applied to this text: it may then stand for a number or a boolean.
    pub interpolated: bool,
    /// A local tag such as `!retain`, where the file has one.
    pub tag: Option<String>,
}

impl Node {
    /// Makes a node without a tag.
    pub fn new(value: Value, at: Position) -> Self {
        Self {
            value,
            at,
            interpolated: false,
            tag: None,
        }
    }

    /// Makes a text node.
    pub fn text(text: &str, at: Position) -> Self {
        Self::new(Value::Text(text.to_owned()), at)
    }

    /// Returns the value of a key, if this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries()
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| &entry.value)
    }

    /// Returns the value of a key to change it.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        let Value::Map(entries) = &mut self.value else {
            return None;
        };
        let entry = entries.iter_mut().find(|entry| entry.key == key)?;
        Some(&mut entry.value)
    }

    /// Returns an element of a list to change it.
    pub fn element(&mut self, index: usize) -> Option<&mut Node> {
        match &mut self.value {
            Value::List(elements) => elements.get_mut(index),
            _ => None,
        }
    }

    /// Returns the entries of a mapping; of anything else, none.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Returns the elements of a list; of anything else, none.
    pub fn elements(&self) -> &[Node] {
        match &self.value {
            Value::List(elements) => elements,
            _ => &[],
        }
    }

    /// Returns the text of a text node.
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Takes an entry out of a mapping.
    pub fn remove(&mut self, key: &str) -> Option<Entry> {
        let Value::Map(entries) = &mut self.value else {
            return None;
        };
        let index = entries.iter().position(|entry| entry.key == key)?;
        Some(entries.remove(index))
    }

    /// Sets a key of a mapping, in place of the value it may have.
    pub fn set(&mut self, entry: Entry) {
        if let Value::Map(entries) = &mut self.value {
            match entries.iter_mut().find(|old| old.key == entry.key) {
                Some(old) => *old = entry,
                None => entries.push(entry),
            }
        }
    }

    /// Returns the integer this node stands for.
    pub fn as_integer(&self) -> Option<i64> {
        match &self.value {
            Value::Integer(number) => Some(*number),
            Value::Text(text) if self.interpolated => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// Returns the boolean this node stands for.
    pub fn as_boolean(&self) -> Option<bool> {
        match &self.value {
            Value::Boolean(value) => Some(*value),
            Value::Text(text) if self.interpolated => match text.as_str() {
                "true" | "True" => Some(true),
                "false" | "False" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    /// Returns the number this node stands for.
    pub fn as_number(&self) -> Option<f64> {
        match &self.value {
            Value::Number(number) => Some(*number),
            Value::Text(text) if self.interpolated => text.trim().parse().ok(),
            _ => self.as_integer().map(|number| number as f64),
        }
    }

    /// Says what this is, for a message such as "must be a list, not …".
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Boolean(value) => format!("the boolean {value}"),
            Value::Integer(number) => format!("the number {number}"),
            Value::Number(number) => format!("the number {number}"),
            Value::Text(text) => format!("the text {text:?}"),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        }
    }
}
