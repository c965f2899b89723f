//! `{constants}` and `${ENVIRONMENT}` in the texts of a configuration.
//!
//! Constants come first. Unknown names in braces stay as they are, so that Borg's own
//! placeholders pass through; an unknown environment variable without a default is an error.

use super::error::{ConfigError, ConfigErrors};
use super::tree::{Node, Value};
use crate::plan::call::quoted;

/// Replaces `{name}` by the constant of that name in all texts but those of `constants` itself.
///
/// A text that was looked at may then stand for a number or a boolean where one is needed:
/// `keep_daily: "{days}"`.
pub fn apply_constants(root: &mut Node) {
    let Some(constants) = root.get("constants").cloned() else {
        return;
    };
    if constants.entries().is_empty() {
        return;
    }
    let Value::Map(entries) = &mut root.value else {
        return;
    };
    for entry in entries.iter_mut().filter(|entry| entry.key != "constants") {
        let place = Place::default().below(&entry.key);
        replace_constants(&mut entry.value, &constants, place);
    }
}

/// Where a text stands: in commands for a shell, constants are quoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Place {
    #[default]
    Option,
    Command,
}

impl Place {
    /// The place of what stands under a key.
    fn below(self, key: &str) -> Self {
        let hook = key.starts_with("before_") || key.starts_with("after_");
        match hook || matches!(key, "on_error" | "run") {
            true => Self::Command,
            false => self,
        }
    }
}

fn replace_constants(node: &mut Node, constants: &Node, place: Place) {
    match &mut node.value {
        Value::Text(text) => {
            *text = with_constants(text, constants, place);
            node.interpolated = true;
        }
        Value::List(elements) => elements
            .iter_mut()
            .for_each(|element| replace_constants(element, constants, place)),
        Value::Map(entries) => entries.iter_mut().for_each(|entry| {
            let place = place.below(&entry.key);
            replace_constants(&mut entry.value, constants, place);
        }),
        _ => {}
    }
}

fn with_constants(text: &str, constants: &Node, place: Place) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let name_end = after
            .find(|c: char| !(c.is_alphanumeric() || c == '_'))
            .unwrap_or(after.len());
        let (name, tail) = after.split_at_checked(name_end).unwrap_or((after, ""));
        let escaped = before.strip_suffix('\\');
        if let (Some(before), Some(tail)) = (escaped, tail.strip_prefix("\\}")) {
            match place {
                Place::Option => out.extend([before, "{", name, "}"]),
                // Variables of the command itself come later, and must see it as escaped.
                Place::Command => out.extend([before, "\\{", name, "\\}"]),
            }
            rest = tail;
        } else if let (Some(value), Some(tail)) = (
            constants.get(name).and_then(constant_text),
            tail.strip_prefix('}').or_else(|| tail.strip_prefix("\\}")),
        ) {
            out.push_str(before);
            match place {
                Place::Option => out.push_str(&value),
                Place::Command => out.push_str(&quoted(&value)),
            }
            rest = tail;
        } else {
            out.extend([before, "{"]);
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

fn constant_text(node: &Node) -> Option<String> {
    match &node.value {
        Value::Text(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Number(number) => Some(number.to_string()),
        // Borgmatic writes booleans as Python does.
        Value::Boolean(true) => Some("True".to_owned()),
        Value::Boolean(false) => Some("False".to_owned()),
        Value::Null | Value::List(_) | Value::Map(_) => None,
    }
}

/// Replaces `${NAME}`, `${NAME-default}` and `${NAME:-default}` in all texts.
///
/// # Errors
/// For each variable that is not set and has no default.
pub fn apply_environment(
    root: &mut Node,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<(), ConfigErrors> {
    let mut errors = Vec::new();
    replace_variables(root, variable, &mut errors);
    match errors.is_empty() {
        true => Ok(()),
        false => Err(ConfigErrors(errors)),
    }
}

fn replace_variables(
    node: &mut Node,
    variable: &dyn Fn(&str) -> Option<String>,
    errors: &mut Vec<ConfigError>,
) {
    match &mut node.value {
        Value::Text(text) if text.contains("${") => match with_variables(text, variable) {
            Ok(replaced) => *text = replaced,
            Err(name) => errors.push(ConfigError::MissingVariable {
                at: node.at.clone(),
                name,
            }),
        },
        Value::List(elements) => elements
            .iter_mut()
            .for_each(|element| replace_variables(element, variable, errors)),
        Value::Map(entries) => entries
            .iter_mut()
            .for_each(|entry| replace_variables(&mut entry.value, variable, errors)),
        _ => {}
    }
}

/// Returns the text with its variables replaced, or the name of a missing one.
fn with_variables(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some(reference) = Reference::parse(after) else {
            out.extend([before, "${"]);
            rest = after;
            continue;
        };
        if let Some(before) = before.strip_suffix('\\') {
            out.extend([before, "${", reference.inner, "}"]);
        } else {
            out.push_str(before);
            let value = variable(reference.name).or_else(|| reference.default.map(str::to_owned));
            out.push_str(&value.ok_or_else(|| reference.name.to_owned())?);
        }
        rest = reference.tail;
    }
    out.push_str(rest);
    Ok(out)
}

/// What follows `${`.
struct Reference<'a> {
    name: &'a str,
    default: Option<&'a str>,
    inner: &'a str,
    tail: &'a str,
}

impl<'a> Reference<'a> {
    fn parse(after: &'a str) -> Option<Self> {
        let (inner, tail) = after.split_once('}')?;
        let name_end = inner
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .unwrap_or(inner.len());
        let (name, extra) = inner.split_at_checked(name_end)?;
        let default = match extra {
            "" => None,
            extra => {
                let default = extra.strip_prefix(':').unwrap_or(extra).strip_prefix('-')?;
                Some((!default.is_empty()).then_some(default)?)
            }
        };
        (!name.is_empty()).then_some(Self {
            name,
            default,
            inner,
            tail,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::load_text;
    use super::*;

    fn constants(text: &str) -> String {
        let constants = load_text("host: web\nn: 3\non: true\n", "c").unwrap();
        with_constants(text, &constants, Place::Option)
    }

    #[test]
    fn constants_replace_their_names_and_leave_the_rest() {
        assert_eq!(constants("{host}-{now:%Y}"), "web-{now:%Y}");
        assert_eq!(constants("{n}{n}"), "33");
        assert_eq!(constants("{on}"), "True");
        assert_eq!(constants("{unknown} {"), "{unknown} {");
        assert_eq!(constants(r"\{host\} {host}"), "{host} web");
    }

    #[test]
    fn interpolated_text_can_stand_for_a_number_or_a_boolean() {
        let mut root = load_text(
            "constants: {days: 7}\nkeep_daily: '{days}'\natime: 'true'\n",
            "c",
        )
        .unwrap();
        apply_constants(&mut root);
        assert_eq!(root.get("keep_daily").unwrap().as_integer(), Some(7));
        assert_eq!(root.get("atime").unwrap().as_boolean(), Some(true));
    }

    #[test]
    fn variables_have_defaults_and_can_be_escaped() {
        let set = |name: &str| (name == "SET").then(|| "value".to_owned());
        for (text, expected) in [
            ("a ${SET} b", "a value b"),
            ("${NOT-x y}", "x y"),
            ("${NOT:-x}", "x"),
            (r"\${SET}", "${SET}"),
            ("$SET ${} ${a b}", "$SET ${} ${a b}"),
        ] {
            assert_eq!(
                with_variables(text, &set).as_deref(),
                Ok(expected),
                "{text}"
            );
        }
        assert_eq!(with_variables("${NOT}", &set), Err("NOT".to_owned()));
    }

    #[test]
    fn constants_in_commands_are_quoted() {
        let text = "constants: {name: a b}\non_error: ['x {name} \\{name\\}']\ncommands: [{run: ['y {name}']}]\nlabel: '{name}'\n";
        let mut root = super::super::load::load_text(text, "").unwrap();
        apply_constants(&mut root);
        insta::assert_snapshot!(super::super::show::yaml(&root), @r"
        commands:
            - run:
                  - 'y ''a b'''
        constants:
            name: a b
        label: a b
        on_error:
            - 'x ''a b'' \{name\}'
        ");
    }
}
