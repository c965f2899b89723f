//! `config validate`, `config show`, and JSON as Python prints it.

use std::fmt::Write;

use serde_json::Value;

use crate::command_line::CommandLine;
use crate::command_line::actions::{Action, ConfigShow};
use crate::config::{Configuration, show};

/// Tells whether validation is asked for, and whether the configurations are to be shown.
pub fn asked(line: &CommandLine) -> Option<bool> {
    line.actions.iter().find_map(|action| match action {
        Action::ConfigValidate { show } => Some(*show),
        _ => None,
    })
}

/// The configurations as YAML, as they are understood. Secrets stay out.
pub fn shown(configurations: &[Configuration]) -> String {
    let mut text = String::new();
    for configuration in configurations {
        if configurations.len() > 1 {
            text.push_str("---\n");
        }
        text.push_str(&show::yaml(&configuration.tree));
    }
    text
}

/// Tells what `config show` is asked for.
pub fn show_asked(line: &CommandLine) -> Option<&ConfigShow> {
    line.actions.iter().find_map(|action| match action {
        Action::ConfigShow(show) => Some(show),
        _ => None,
    })
}

/// One option of the configurations as YAML. It was asked for by name: a secret is told.
pub fn shown_option(configurations: &[Configuration], option: &str) -> String {
    let mut text = String::new();
    for configuration in configurations {
        if configurations.len() > 1 {
            text.push_str("---\n");
        }
        match configuration.tree.get(option) {
            Some(node) => text.push_str(show::block(node).trim_end()),
            None => text.push_str("null"),
        }
        text.push('\n');
    }
    text
}

/// The configurations, or one option of each, as a JSON list.
pub fn shown_as_json(configurations: &[Configuration], option: Option<&str>) -> String {
    let all = configurations.iter().map(|configuration| match option {
        Some(option) => configuration
            .tree
            .get(option)
            .map_or(Value::Null, show::json),
        None => show::json(&configuration.tree),
    });
    python_json(&all.collect())
}

/// JSON on one line with Python's separators and escapes, as borgmatic prints its results.
pub fn python_json(value: &Value) -> String {
    let mut out = String::new();
    write_value(value, &mut out);
    out
}

fn write_value(value: &Value, out: &mut String) {
    match value {
        Value::String(text) => write_text(text, out),
        Value::Array(values) => {
            out.push('[');
            for (index, value) in values.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write_value(value, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (index, (key, value)) in members.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write_text(key, out);
                out.push_str(": ");
                write_value(value, out);
            }
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
}

fn write_text(text: &str, out: &mut String) {
    let quoted = Value::String(text.to_owned()).to_string();
    for c in quoted.chars() {
        if c.is_ascii() {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a string cannot fail.
            let _ = write!(out, "\\u{unit:04x}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_looks_as_python_prints_it() {
        let value = serde_json::json!([{"a": 1, "b": [true, null, "ä\n😀"]}]);
        assert_eq!(
            python_json(&value),
            r#"[{"a": 1, "b": [true, null, "\u00e4\n\ud83d\ude00"]}]"#
        );
    }
}
