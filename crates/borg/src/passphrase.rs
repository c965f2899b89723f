//! Passphrases: from variables, a command, an open file, or a person.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::console::Prompt;
use crate::environment::{Environment, PassphraseSources, Secret};
use crate::output::log::Log;
use crate::output::questions::{Question, ask};

/// Returns the passphrase that is given without asking: `BORG_PASSPHRASE`, else what
/// `BORG_PASSCOMMAND` prints, else what `BORG_PASSPHRASE_FD` holds; or the same of other variables.
///
/// # Errors
/// When the command fails; the text says how.
pub fn given(sources: &PassphraseSources) -> Result<Option<Secret>, String> {
    if let Some(passphrase) = &sources.passphrase {
        return Ok(Some(passphrase.clone()));
    }
    if let Some(command) = &sources.passcommand {
        return from_command(command).map(Some);
    }
    match sources
        .passphrase_fd
        .as_deref()
        .and_then(|text| text.trim().parse().ok())
    {
        Some(descriptor) => Ok(from_descriptor(descriptor)),
        None => Ok(None),
    }
}

fn from_command(line: &str) -> Result<Secret, String> {
    let words = shlex::split(line).ok_or_else(|| "No closing quotation".to_owned())?;
    let Some((program, arguments)) = words.split_first() else {
        return Err("the command is empty".to_owned());
    };
    let output = Command::new(program)
        .args(arguments)
        .env_remove("BORG_PASSPHRASE")
        .env_remove("BORG_OTHER_PASSPHRASE")
        .stdin(Stdio::inherit())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| crate::error::errno_text(&error, Some(program.as_ref())))?;
    if !output.status.success() {
        let words: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
        return Err(match output.status.code() {
            Some(code) => {
                let words = words.join(", ");
                format!("Command '[{words}]' returned non-zero exit status {code}.")
            }
            None => format!("Command '[{}]' died.", words.join(", ")),
        });
    }
    let text =
        String::from_utf8(output.stdout).map_err(|_| "its output is no UTF-8 text".to_owned())?;
    Ok(Secret::new(text.trim_end_matches('\n').to_owned()))
}

/// Reads the first line of a file that the parent left open.
fn from_descriptor(descriptor: u32) -> Option<Secret> {
    let file = std::fs::File::open(format!("/dev/fd/{descriptor}")).ok()?;
    let mut text = String::new();
    BufReader::new(file).read_line(&mut text).ok()?;
    Some(Secret::new(text.trim_end_matches('\n').to_owned()))
}

/// Says why nobody could be asked.
pub fn nobody_to_ask(environment: &Environment) -> String {
    let mut text = String::new();
    for name in ["BORG_PASSPHRASE", "BORG_PASSCOMMAND"] {
        let is = if environment.get(name).is_some() {
            "is set"
        } else {
            "is not set"
        };
        text.push_str(&format!("{name} {is}. "));
    }
    text + "Interactive password query failed."
}

/// Offers to show a passphrase that was just typed twice.
pub fn offer_display(
    passphrase: &str,
    log: &Log,
    environment: &Environment,
    prompt: &mut dyn Prompt,
) {
    let question = Question {
        message: "Do you want your passphrase to be displayed for verification? [yN]: ",
        variable: "BORG_DISPLAY_PASSPHRASE",
        invalid_message: "Invalid answer, try again.",
        retry_message: Some("Display it? [yN]: "),
        ..Question::default()
    };
    if !ask(&question, log, environment, prompt) {
        return;
    }
    log.write(
        &format!("Your passphrase (between double-quotes): \"{passphrase}\""),
        "\n",
    );
    log.write(
        "Make sure the passphrase displayed above is exactly what you wanted.",
        "\n",
    );
    if !passphrase.is_ascii() {
        let hex: String = passphrase
            .bytes()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        log.write(
            &format!("Your passphrase (UTF-8 encoding in hex): {hex}"),
            "\n",
        );
        log.write(
            "It has characters outside of ASCII: be sure that you can type them on every machine.",
            "\n",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (name.into(), value.into()));
        Environment::from_variables(pairs, None, 0)
    }

    fn text(pairs: &[(&str, &str)]) -> Result<Option<String>, String> {
        Ok(given(&environment(pairs).passphrases)?.map(|secret| secret.reveal().to_owned()))
    }

    #[test]
    fn the_variable_wins_over_the_command() {
        let both = [("BORG_PASSPHRASE", ""), ("BORG_PASSCOMMAND", "echo no")];
        assert_eq!(text(&both), Ok(Some(String::new())));
        assert_eq!(text(&[]), Ok(None));
    }

    #[test]
    fn commands_lose_only_the_line_end() {
        let echo = [("BORG_PASSCOMMAND", "printf 'a b \\n'")];
        assert_eq!(text(&echo), Ok(Some("a b ".into())));
    }

    #[test]
    fn failed_commands_are_named() {
        assert_eq!(
            text(&[("BORG_PASSCOMMAND", "false x")]),
            Err("Command '['false', 'x']' returned non-zero exit status 1.".into())
        );
        assert_eq!(
            text(&[("BORG_PASSCOMMAND", "/nowhere/x")]),
            Err("[Errno 2] No such file or directory: '/nowhere/x'".into())
        );
    }
}
