//! A configuration as YAML again, for people: as it is understood, without its secrets.

use super::tree::{Entry, Node, Value};

const SECRET: [&str; 6] = [
    "encryption_passphrase",
    "password",
    "restore_password",
    "access_token",
    "api_key",
    "integration_key",
];

/// Tells whether what stands under a key is a secret.
pub fn is_secret(key: &str) -> bool {
    SECRET.contains(&key)
}

/// Returns a value as YAML, with its secrets: somebody asked for it by name, or wrote it.
pub fn block(node: &Node) -> String {
    let mut out = String::new();
    match &node.value {
        Value::Map(entries) if !entries.is_empty() => map(entries, 0, Secrets::Told, &mut out),
        Value::List(elements) if !elements.is_empty() => list(elements, 0, Secrets::Told, &mut out),
        _ => value(node, 0, Secrets::Told, &mut out),
    }
    match out.strip_prefix(' ') {
        Some(scalar) if out.lines().count() == 1 => scalar.to_owned(),
        _ => out,
    }
}

/// Returns a tree as JSON, without its secrets.
pub fn json(node: &Node) -> serde_json::Value {
    use serde_json::Value as Json;
    match &node.value {
        Value::Null => Json::Null,
        Value::Boolean(value) => Json::Bool(*value),
        Value::Integer(number) => Json::from(*number),
        Value::Number(number) => Json::from(*number),
        Value::Text(text) if node.interpolated => node
            .as_integer()
            .map(Json::from)
            .or_else(|| node.as_boolean().map(Json::from))
            .unwrap_or_else(|| Json::from(text.as_str())),
        Value::Text(text) => Json::from(text.as_str()),
        Value::List(elements) => elements.iter().map(json).collect(),
        Value::Map(entries) => entries
            .iter()
            .map(|entry| match SECRET.contains(&entry.key.as_str()) {
                true => (entry.key.clone(), Json::from("***")),
                false => (entry.key.clone(), json(&entry.value)),
            })
            .collect(),
    }
}

/// Whether secrets are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Secrets {
    Hidden,
    Told,
}

/// Writes a tree as block YAML, each mapping sorted by key as borgmatic shows it.
pub fn yaml(root: &Node) -> String {
    let mut out = String::new();
    map(root.entries(), 0, Secrets::Hidden, &mut out);
    out
}

fn map(entries: &[Entry], indent: usize, secrets: Secrets, out: &mut String) {
    let mut sorted: Vec<&Entry> = entries.iter().collect();
    sorted.sort_by(|one, other| one.key.cmp(&other.key));
    for (index, entry) in sorted.into_iter().enumerate() {
        // The first key of a mapping in a list stands behind its dash.
        if index > 0 || !out.ends_with("- ") {
            out.push_str(&" ".repeat(indent));
        }
        out.push_str(&scalar_text(&entry.key));
        out.push(':');
        match secrets == Secrets::Hidden && SECRET.contains(&entry.key.as_str()) {
            true => out.push_str(" '***'\n"),
            false => value(&entry.value, indent, secrets, out),
        }
    }
}

fn value(node: &Node, indent: usize, secrets: Secrets, out: &mut String) {
    match &node.value {
        Value::Map(entries) if entries.is_empty() => out.push_str(" {}\n"),
        Value::List(elements) if elements.is_empty() => out.push_str(" []\n"),
        Value::Map(entries) => {
            out.push('\n');
            map(entries, indent + 4, secrets, out);
        }
        Value::List(elements) => {
            out.push('\n');
            list(elements, indent + 4, secrets, out);
        }
        _ => {
            out.push(' ');
            out.push_str(&scalar(node));
            out.push('\n');
        }
    }
}

fn list(elements: &[Node], indent: usize, secrets: Secrets, out: &mut String) {
    for element in elements {
        out.push_str(&" ".repeat(indent));
        out.push_str("- ");
        match &element.value {
            Value::Map(entries) if !entries.is_empty() => map(entries, indent + 2, secrets, out),
            Value::List(_) | Value::Map(_) => {
                out.pop();
                value(element, indent, secrets, out);
            }
            _ => {
                out.push_str(&scalar(element));
                out.push('\n');
            }
        }
    }
}

fn scalar(node: &Node) -> String {
    match &node.value {
        Value::Boolean(value) => value.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Number(number) => format!("{number:?}"),
        // What constants stand in may have become another type.
        Value::Text(text) if node.interpolated => match (node.as_integer(), node.as_boolean()) {
            (Some(number), _) => number.to_string(),
            (None, Some(value)) => value.to_string(),
            (None, None) => scalar_text(text),
        },
        Value::Text(text) => scalar_text(text),
        Value::Null | Value::List(_) | Value::Map(_) => "null".to_owned(),
    }
}

/// Text as it is where it reads back as the same text, else quoted.
fn scalar_text(text: &str) -> String {
    let safe = |c: char| c.is_alphanumeric() || "_-./+@ *:=".contains(c);
    let plain = text.starts_with(|c: char| c.is_alphabetic() || "/_.".contains(c))
        && !text.ends_with(' ')
        && text.chars().all(safe)
        && super::load::load_text(text, "").is_ok_and(|node| node.as_text() == Some(text));
    if plain {
        return text.to_owned();
    }
    if text.contains(char::is_control) {
        return serde_json::Value::from(text).to_string();
    }
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::super::load::load_text;
    use super::*;

    #[test]
    fn what_is_shown_reads_back_as_the_same() {
        let text = "b: ['yes', 'true', '7', x y, 'a: b', \"line\\nend\", '', '~', [1, [2]]]\na: {d: 0.5, c: null, e: {}}\nl:\n    - name: x\n      on: [a]\n    - {}\n";
        let shown = yaml(&load_text(text, "").unwrap());
        insta::assert_snapshot!(shown, @r#"
        a:
            c: null
            d: 0.5
            e: {}
        b:
            - yes
            - 'true'
            - '7'
            - x y
            - 'a: b'
            - "line\nend"
            - ''
            - '~'
            -
                - 1
                -
                    - 2
        l:
            - name: x
              on:
                  - a
            - {}
        "#);
        let again = load_text(&shown, "").unwrap();
        assert_eq!(yaml(&again), shown);
        let texts = |node: &Node| {
            format!(
                "{:?}",
                node.get("b")
                    .unwrap()
                    .elements()
                    .iter()
                    .map(Node::describe)
                    .collect::<Vec<_>>()
            )
        };
        assert_eq!(texts(&again), texts(&load_text(text, "").unwrap()));
    }

    #[test]
    fn secrets_are_not_shown() {
        let tree = load_text("encryption_passphrase: hunter2\n", "").unwrap();
        assert_eq!(yaml(&tree), "encryption_passphrase: '***'\n");
    }
}
