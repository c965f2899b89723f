//! What a configuration must satisfy beyond the types of its values.
//!
//! Also the place where values are refused that borgmatic accepts for Borg 2 only.

use super::error::{ConfigError, closest};
use super::tree::Node;
use crate::checks::Frequency;
use crate::hooks::monitoring;
use crate::output::log_file::Form;
use crate::timers;

/// Encryption modes of Borg 1.4.
pub const ENCRYPTION_MODES: [&str; 7] = [
    "none",
    "authenticated",
    "authenticated-blake2",
    "repokey",
    "keyfile",
    "repokey-blake2",
    "keyfile-blake2",
];

/// What a spot check must have.
const SPOT_LIMITS: [&str; 3] = [
    "count_tolerance_percentage",
    "data_sample_percentage",
    "data_tolerance_percentage",
];

/// Examines a tree of today's spelling.
pub fn examine(root: &Node) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    let repositories = root
        .get("repositories")
        .map(Node::elements)
        .unwrap_or_default();
    for (index, repository) in repositories.iter().enumerate() {
        examine_repository(repository, index, &mut errors);
        examine_options(repository, &mut errors);
    }
    examine_options(root, &mut errors);
    monitoring::examine(root, &mut errors);
    timers::examine(root, &mut errors);
    if let Some(node) = root.get("log_file_format")
        && let Err(error) = Form::read(node.as_text())
    {
        errors.push(ConfigError::Invalid {
            at: node.at.clone(),
            option: "log_file_format".to_owned(),
            message: error.to_string(),
        });
    }
    errors
}

fn examine_repository(repository: &Node, index: usize, errors: &mut Vec<ConfigError>) {
    if let Some(node) = repository.get("path") {
        let path = node.as_text().unwrap_or_default();
        if path.is_empty() {
            errors.push(ConfigError::Invalid {
                at: node.at.clone(),
                option: format!("repositories[{index}].path"),
                message: "the path is empty".to_owned(),
            });
        } else if path.contains(':') && !path.starts_with("ssh://") {
            errors.push(ConfigError::Invalid {
                at: node.at.clone(),
                option: format!("repositories[{index}].path"),
                message: format!(
                    "{path:?} is for Borg 2; Borg 1 reaches other machines by ssh only: ssh://user@host/./path"
                ),
            });
        }
    }
    if let Some(node) = repository.get("encryption")
        && let Some(mode) = node.as_text()
        && !ENCRYPTION_MODES.contains(&mode)
    {
        errors.push(ConfigError::NotAllowed {
            at: node.at.clone(),
            option: format!("repositories[{index}].encryption"),
            found: mode.to_owned(),
            allowed: ENCRYPTION_MODES.join(", ").into(),
            closest: closest(mode, ENCRYPTION_MODES),
        });
    }
}

fn examine_options(node: &Node, errors: &mut Vec<ConfigError>) {
    let checks = node.get("checks").map(Node::elements).unwrap_or_default();
    for (index, check) in checks.iter().enumerate() {
        examine_check(check, index, errors);
    }
    let commands = node.get("commands").map(Node::elements);
    for (index, command) in commands.unwrap_or_default().iter().enumerate() {
        examine_command(command, index, errors);
    }
    for option in ["encryption_passcommand", "ssh_command"] {
        if let Some(value) = node.get(option)
            && value
                .as_text()
                .is_some_and(|text| shlex::split(text).is_none_or(|words| words.is_empty()))
        {
            errors.push(ConfigError::Invalid {
                at: value.at.clone(),
                option: option.to_owned(),
                message: "is no command: empty, or a quote is not closed".to_owned(),
            });
        }
    }
    if let Some(value) = node.get("umask") {
        examine_umask(value, errors);
    }
}

fn examine_umask(value: &Node, errors: &mut Vec<ConfigError>) {
    let digits = value.as_integer().unwrap_or_default().to_string();
    if u32::from_str_radix(&digits, 8).is_ok_and(|mask| mask <= 0o777) {
        return;
    }
    errors.push(ConfigError::Invalid {
        at: value.at.clone(),
        option: "umask".to_owned(),
        message: format!("{digits} are no octal digits from 0 to 777"),
    });
}

/// A hook runs before something or after something.
fn examine_command(command: &Node, index: usize, errors: &mut Vec<ConfigError>) {
    let message = match (command.get("before"), command.get("after")) {
        (Some(_), Some(_)) => "is either \"before\" or \"after\" something, not both",
        (None, None) => "needs \"before\" or \"after\"",
        (Some(_), None) if command.get("states").is_some() => "has \"states\" with \"after\" only",
        _ => return,
    };
    errors.push(ConfigError::Invalid {
        at: command.at.clone(),
        option: format!("commands[{index}]"),
        message: message.to_owned(),
    });
}

fn examine_check(check: &Node, index: usize, errors: &mut Vec<ConfigError>) {
    let name_text = check
        .get("name")
        .and_then(Node::as_text)
        .unwrap_or_default();
    for key in SPOT_LIMITS {
        if name_text == "spot" && check.get(key).is_none() {
            errors.push(ConfigError::Missing {
                at: check.at.clone(),
                key: key.to_owned(),
                place: format!("checks[{index}]"),
            });
        }
    }
    let belongs = [
        ("xxh64sum_command", "spot"),
        ("max_duration", "repository"),
        ("count_tolerance_percentage", "spot"),
        ("data_sample_percentage", "spot"),
        ("data_tolerance_percentage", "spot"),
    ];
    for (key, owner) in belongs {
        if let Some(node) = check.get(key)
            && name_text != owner
        {
            errors.push(ConfigError::Invalid {
                at: node.at.clone(),
                option: format!("checks[{index}].{key}"),
                message: format!("belongs to the {owner} check only"),
            });
        }
    }
    if let Some(node) = check.get("frequency")
        && let Some(Err(message)) = node.as_text().map(str::parse::<Frequency>)
    {
        errors.push(ConfigError::Invalid {
            at: node.at.clone(),
            option: format!("checks[{index}].frequency"),
            message: message.to_string(),
        });
    }
}
