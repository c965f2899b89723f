//! The old forms of command hooks (`before_backup`, `on_error`, …), turned into `commands`.
//!
//! Part of the normalisation. They come after the commands that stand there already, in a fixed
//! order.

use super::tree::{Entry, Node, Position, Value};

/// Each old option with what it means: `before` or `after`, what, and with which actions.
const OLD: [(&str, &str, &str, &[&str]); 15] = [
    ("before_actions", "before", "repository", &[]),
    ("after_actions", "after", "repository", &[]),
    ("before_backup", "before", "action", &["create"]),
    ("after_backup", "after", "action", &["create"]),
    ("before_prune", "before", "action", &["prune"]),
    ("after_prune", "after", "action", &["prune"]),
    ("before_compact", "before", "action", &["compact"]),
    ("after_compact", "after", "action", &["compact"]),
    ("before_check", "before", "action", &["check"]),
    ("after_check", "after", "action", &["check"]),
    ("before_extract", "before", "action", &["extract"]),
    ("after_extract", "after", "action", &["extract"]),
    (
        "on_error",
        "after",
        "error",
        &["create", "prune", "compact", "check"],
    ),
    ("before_everything", "before", "everything", &["create"]),
    ("after_everything", "after", "everything", &["create"]),
];

/// Brings the command hooks of a file, and of its repositories, to today's form.
pub fn normalize(root: &mut Node, warnings: &mut Vec<String>) {
    convert(root, None, warnings);
    let commands = root.get("commands").cloned();
    let Some(mut repositories) = root.remove("repositories") else {
        return;
    };
    if let Value::List(elements) = &mut repositories.value.value {
        for repository in elements {
            convert(repository, commands.as_ref(), warnings);
        }
    }
    root.set(repositories);
}

/// Converts the options of one mapping; its hooks follow `inherited` where it has none of its own.
fn convert(node: &mut Node, inherited: Option<&Node>, warnings: &mut Vec<String>) {
    let mut converted = Vec::new();
    for (name, side, scope, when) in OLD {
        let Some(entry) = node.remove(name) else {
            continue;
        };
        if matches!(&entry.value.value, Value::List(commands) if !commands.is_empty()) {
            warnings.push(format!(
                "{}: {name:?} now stands under \"commands\": {side}: {scope}",
                entry.at
            ));
            converted.push(hook(entry, side, scope, when));
        } else if !matches!(entry.value.value, Value::Null | Value::List(_)) {
            // Of the wrong type: validation tells.
            node.set(entry);
        }
    }
    let Some(at) = converted.first().map(|hook| hook.at.clone()) else {
        return;
    };
    let mut commands = match node.get("commands").or(inherited) {
        Some(commands) => commands.clone(),
        None => Node::new(Value::List(Vec::new()), at.clone()),
    };
    if let Value::List(hooks) = &mut commands.value {
        hooks.extend(converted);
    }
    node.set(Entry {
        key: "commands".to_owned(),
        at,
        value: commands,
    });
}

fn hook(entry: Entry, side: &str, scope: &str, when: &[&str]) -> Node {
    let at = entry.at;
    let mut entries = vec![field(side, Node::text(scope, at.clone()), &at)];
    if !when.is_empty() {
        let names = when.iter().map(|name| Node::text(name, at.clone()));
        let names = Node::new(Value::List(names.collect()), at.clone());
        entries.push(field("when", names, &at));
    }
    entries.push(field("run", entry.value, &at));
    Node::new(Value::Map(entries), at)
}

fn field(key: &str, value: Node, at: &Position) -> Entry {
    Entry {
        key: key.to_owned(),
        at: at.clone(),
        value,
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::load_text;
    use super::super::show::yaml;
    use super::*;

    #[test]
    fn old_hooks_follow_the_commands_that_are_there() {
        let text = "on_error: [c]\nbefore_backup: [b]\ncommands: [{before: everything, run: [a]}]\nafter_prune: []\nrepositories: [{path: /x, after_actions: [d]}, {path: /y}]\n";
        let mut root = load_text(text, "").unwrap();
        let mut warnings = Vec::new();
        normalize(&mut root, &mut warnings);
        assert_eq!(warnings.len(), 3);
        insta::assert_snapshot!(yaml(&root), @r"
        commands:
            - before: everything
              run:
                  - a
            - before: action
              run:
                  - b
              when:
                  - create
            - after: error
              run:
                  - c
              when:
                  - create
                  - prune
                  - compact
                  - check
        repositories:
            - commands:
                  - before: everything
                    run:
                        - a
                  - before: action
                    run:
                        - b
                    when:
                        - create
                  - after: error
                    run:
                        - c
                    when:
                        - create
                        - prune
                        - compact
                        - check
                  - after: repository
                    run:
                        - d
              path: /x
            - path: /y
        ");
    }

    #[test]
    fn hooks_of_the_wrong_type_are_left_for_validation() {
        let mut root = load_text("on_error: 7\n", "").unwrap();
        normalize(&mut root, &mut Vec::new());
        assert!(root.get("on_error").is_some());
    }
}
