//! Old spellings of a configuration, turned into today's, with a warning for each.
//!
//! After this only one form of everything is left, and validation need not know the others.

use super::error::{ConfigError, ConfigErrors};
use super::old_commands;
use super::options::SECTIONS;
use super::tree::{Entry, Node, Position, Value};

/// Options that were renamed.
const RENAMED: [(&str, &str); 3] = [
    ("numeric_owner", "numeric_ids"),
    ("bsd_flags", "flags"),
    ("remote_rate_limit", "upload_rate_limit"),
];

/// Monitoring services that were a text, and the field that it became.
const SERVICES: [(&str, &str); 3] = [
    ("healthchecks", "ping_url"),
    ("cronitor", "ping_url"),
    ("pagerduty", "integration_key"),
];

/// Options that still work and will not for ever.
const DEPRECATED: [(&str, &str); 2] = [
    (
        "borgmatic_source_directory",
        "use \"user_runtime_directory\" and \"user_state_directory\"",
    ),
    (
        "prefix",
        "use \"archive_name_format\" or \"match_archives\"",
    ),
];

/// Brings a configuration to today's spelling and returns the warnings.
///
/// # Errors
/// When old sections contradict each other, or the tree is no mapping.
pub fn normalize(root: &mut Node) -> Result<Vec<String>, ConfigErrors> {
    if !matches!(root.value, Value::Map(_)) {
        let at = root.at.clone();
        return Err(ConfigError::NoOptions { at }.into());
    }
    let mut warnings = Vec::new();
    flatten_sections(root, &mut warnings)?;
    old_commands::normalize(root, &mut warnings);
    exclude_if_present(root, &mut warnings);
    statistics(root, &mut warnings);
    checks(root, &mut warnings);
    for (old, new) in RENAMED {
        if let Some(entry) = root.remove(old) {
            warnings.push(format!("{}: {old:?} is now called {new:?}", entry.at));
            root.set(Entry {
                key: new.to_owned(),
                ..entry
            });
        }
    }
    store_config_files(root, &mut warnings);
    services(root, &mut warnings);
    for (old, advice) in DEPRECATED {
        if let Some(node) = root.get(old) {
            warnings.push(format!("{}: {old:?} is deprecated; {advice}", node.at));
        }
    }
    repositories(root, &mut warnings);
    Ok(warnings)
}

fn flatten_sections(root: &mut Node, warnings: &mut Vec<String>) -> Result<(), ConfigErrors> {
    for (one, other, option) in [
        ("location", "consistency", "prefix"),
        ("storage", "hooks", "umask"),
    ] {
        let value = |section| root.get(section).and_then(|node: &Node| node.get(option));
        if let (Some(first), Some(second)) = (value(one), value(other))
            && first.value != second.value
        {
            return Err(ConfigError::Conflict {
                at: second.at.clone(),
                message: format!("{option:?} has another value in the section {one:?}"),
            }
            .into());
        }
    }
    for section in SECTIONS {
        let Some(entry) = root.remove(section) else {
            continue;
        };
        if entry.value.value != Value::Null {
            warnings.push(format!(
                "{}: sections such as {section:?} are no longer needed: move their options to the top level",
                entry.at
            ));
        }
        if let Value::Map(entries) = entry.value.value {
            entries.into_iter().for_each(|entry| root.set(entry));
        }
    }
    Ok(())
}

fn exclude_if_present(root: &mut Node, warnings: &mut Vec<String>) {
    if let Some(entry) = root.remove("exclude_if_present") {
        let text = matches!(entry.value.value, Value::Text(_));
        if text {
            warnings.push(format!(
                "{}: \"exclude_if_present\" is now a list",
                entry.at
            ));
        }
        root.set(if text { as_list(entry) } else { entry });
    }
}

fn as_list(entry: Entry) -> Entry {
    let at = entry.value.at.clone();
    Entry {
        value: Node::new(Value::List(vec![entry.value]), at),
        ..entry
    }
}

fn statistics(root: &mut Node, warnings: &mut Vec<String>) {
    for (key, yes) in [("statistics", "standard"), ("quick_statistics", "quick")] {
        let Some(value) = root.get(key).and_then(Node::as_boolean) else {
            continue;
        };
        if let Some(entry) = root.remove(key) {
            let word = if value { yes } else { "none" };
            warnings.push(format!(
                "{}: write \"statistics: {word}\" for this",
                entry.at
            ));
            root.set(text_entry("statistics", word, entry.at));
        }
    }
}

fn checks(root: &mut Node, warnings: &mut Vec<String>) {
    let Some(mut entry) = root.remove("checks") else {
        return;
    };
    if let Value::List(elements) = &mut entry.value.value
        && elements.iter().any(|element| element.as_text().is_some())
    {
        warnings.push(format!(
            "{}: \"checks\" is now a list of mappings with \"name\"",
            entry.at
        ));
        elements
            .iter_mut()
            .for_each(|element| wrap_text(element, "name"));
    }
    root.set(entry);
}

/// Makes a mapping `{key: text}` of a text.
fn wrap_text(element: &mut Node, key: &str) {
    if let Some(text) = element.as_text() {
        let entry = text_entry(key, text, element.at.clone());
        *element = Node::new(Value::Map(vec![entry]), element.at.clone());
    }
}

fn text_entry(key: &str, text: &str, at: Position) -> Entry {
    Entry {
        key: key.to_owned(),
        value: Node::text(text, at.clone()),
        at,
    }
}

fn store_config_files(root: &mut Node, warnings: &mut Vec<String>) {
    let Some(entry) = root.remove("store_config_files") else {
        return;
    };
    warnings.push(format!(
        "{}: \"store_config_files\" now stands under \"bootstrap\"",
        entry.at
    ));
    if root.get("bootstrap").is_none() {
        let at = entry.at.clone();
        root.set(Entry {
            key: "bootstrap".to_owned(),
            value: Node::new(Value::Map(Vec::new()), at.clone()),
            at,
        });
    }
    if let Some(bootstrap) = root.get_mut("bootstrap") {
        bootstrap.set(entry);
    }
}

fn services(root: &mut Node, warnings: &mut Vec<String>) {
    for (service, field) in SERVICES {
        if let Some(node) = root.get_mut(service)
            && node.as_text().is_some()
        {
            warnings.push(format!(
                "{}: {service:?} is now a mapping with {field:?}",
                node.at
            ));
            wrap_text(node, field);
        }
    }
}

fn repositories(root: &mut Node, warnings: &mut Vec<String>) {
    let Some(mut entry) = root.remove("repositories") else {
        return;
    };
    if let Value::List(elements) = &mut entry.value.value {
        if elements.iter().any(|element| element.as_text().is_some()) {
            warnings.push(format!(
                "{}: \"repositories\" is now a list of mappings with \"path\"",
                entry.at
            ));
            elements
                .iter_mut()
                .for_each(|element| wrap_text(element, "path"));
        }
        elements
            .iter_mut()
            .for_each(|element| repository_path(element, warnings));
    }
    root.set(entry);
}

/// Gives the path of a repository its present form: `file://` goes, `host:path` becomes a URL.
fn repository_path(repository: &mut Node, warnings: &mut Vec<String>) {
    let Some(node) = repository.get("path") else {
        return;
    };
    let (Some(path), at) = (node.as_text(), node.at.clone()) else {
        return;
    };
    if path.contains('~') {
        warnings.push(format!(
            "{at}: \"~\" in the path of a repository is deprecated"
        ));
    }
    let new = if let Some(local) = path.strip_prefix("file://") {
        local.to_owned()
    } else if !path.contains(':') || is_url(path) {
        return;
    } else {
        let rest = path
            .replace(":~", "/~")
            .replace(":/", "/")
            .replace(':', "/./");
        let url = format!("ssh://{rest}");
        warnings.push(format!(
            "{at}: {path:?} is taken for {url:?}; write that instead"
        ));
        url
    };
    repository.set(text_entry("path", &new, at));
}

fn is_url(path: &str) -> bool {
    ["ssh://", "sftp://", "rclone:", "s3:", "b2:"]
        .iter()
        .any(|scheme| path.starts_with(scheme))
}

#[cfg(test)]
mod tests {
    use super::super::load::load_text;
    use super::*;

    fn normalized(text: &str) -> (Node, String) {
        let mut root = load_text(text, "config.yaml").unwrap();
        let warnings = normalize(&mut root).unwrap();
        (root, warnings.join("\n"))
    }

    #[test]
    fn plain_texts_become_repositories_and_checks() {
        let (root, warnings) =
            normalized("repositories: [/a, 'host:b', 'file:///c']\nchecks: [repository]\n");
        let paths = root.get("repositories").unwrap().elements().iter();
        let paths = paths.map(|r| r.get("path").unwrap().as_text().unwrap());
        assert_eq!(paths.collect::<Vec<_>>(), ["/a", "ssh://host/./b", "/c"]);
        let check = &root.get("checks").unwrap().elements()[0];
        assert_eq!(check.get("name").unwrap().as_text(), Some("repository"));
        insta::assert_snapshot!(warnings, @r#"
        config.yaml:2: "checks" is now a list of mappings with "name"
        config.yaml:1: "repositories" is now a list of mappings with "path"
        config.yaml:1: "host:b" is taken for "ssh://host/./b"; write that instead
        "#);
    }

    #[test]
    fn sections_are_flattened() {
        let (root, warnings) =
            normalized("location:\n    numeric_owner: true\nretention:\n    keep_daily: 7\n");
        assert_eq!(root.get("numeric_ids").unwrap().as_boolean(), Some(true));
        assert_eq!(root.get("keep_daily").unwrap().as_integer(), Some(7));
        insta::assert_snapshot!(warnings, @r#"
        config.yaml:1: sections such as "location" are no longer needed: move their options to the top level
        config.yaml:3: sections such as "retention" are no longer needed: move their options to the top level
        config.yaml:2: "numeric_owner" is now called "numeric_ids"
        "#);
    }

    #[test]
    fn statistics_of_old_are_words() {
        for (text, word) in [
            ("statistics: true", "standard"),
            ("statistics: false", "none"),
            ("quick_statistics: true", "quick"),
        ] {
            let (root, _) = normalized(text);
            assert_eq!(
                root.get("statistics").unwrap().as_text(),
                Some(word),
                "{text}"
            );
            assert!(root.get("quick_statistics").is_none());
        }
    }
}
