//! A configuration as YAML again, for people: as it is understood, without its secrets.

use super::tree::{Entry, Node, Value};

const SECRET: [&str; 1] = ["encryption_passphrase"];

/// Writes a tree as block YAML, each mapping sorted by key as borgmatic shows it.
pub fn yaml(root: &Node) -> String {
    let mut out = String::new();
    map(root.entries(), 0, &mut out);
    out
}

fn map(entries: &[Entry], indent: usize, out: &mut String) {
    let mut sorted: Vec<&Entry> = entries.iter().collect();
    sorted.sort_by(|one, other| one.key.cmp(&other.key));
    for (index, entry) in sorted.into_iter().enumerate() {
        // The first key of a mapping in a list stands behind its dash.
        if index > 0 || !out.ends_with("- ") {
            out.push_str(&" ".repeat(indent));
        }
        out.push_str(&scalar_text(&entry.key));
        out.push(':');
        match SECRET.contains(&entry.key.as_str()) {
            true => out.push_str(" '***'\n"),
            false => value(&entry.value, indent, out),
        }
    }
}

fn value(node: &Node, indent: usize, out: &mut String) {
    match &node.value {
        Value::Map(entries) if entries.is_empty() => out.push_str(" {}\n"),
        Value::List(elements) if elements.is_empty() => out.push_str(" []\n"),
        Value::Map(entries) => {
            out.push('\n');
            map(entries, indent + 4, out);
        }
        Value::List(elements) => {
            out.push('\n');
            list(elements, indent + 4, out);
        }
        _ => {
            out.push(' ');
            out.push_str(&scalar(node));
            out.push('\n');
        }
    }
}

fn list(elements: &[Node], indent: usize, out: &mut String) {
    for element in elements {
        out.push_str(&" ".repeat(indent));
        out.push_str("- ");
        match &element.value {
            Value::Map(entries) if !entries.is_empty() => map(entries, indent + 2, out),
            Value::List(_) | Value::Map(_) => {
                out.pop();
                value(element, indent, out);
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
        Value::Text(text) => scalar_text(text),
        Value::Null | Value::List(_) | Value::Map(_) => "null".to_owned(),
    }
}

/// Text as it is where it reads back as the same text, else quoted.
fn scalar_text(text: &str) -> String {
    let safe = |c: char| c.is_alphanumeric() || "_-./+@ ".contains(c);
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
