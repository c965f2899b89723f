//! `help`: about everything, a command, or a topic.

use clap::Args;

use crate::commands::{Action, COMMANDS, Entry};
use crate::context::Context;
use crate::error::CommandError;
use crate::options::CommonOptions;

/// Topics of their own, beside the commands.
const TOPICS: [(&str, &str); 3] = [
    ("compression", include_str!("topics/compression.txt")),
    ("patterns", include_str!("topics/patterns.txt")),
    ("placeholders", include_str!("topics/placeholders.txt")),
];

/// Explain a command or a topic
///
/// Topics are patterns, placeholders and compression. Without a topic, all commands are listed.
#[derive(Debug, clap::Parser)]
pub struct Help {
    /// A command or a topic
    #[arg(value_name = "TOPIC")]
    topic: Vec<String>,
    /// Show only the explanation of a command
    #[arg(long)]
    epilog_only: bool,
    /// Show only the arguments of a command
    #[arg(long, conflicts_with = "epilog_only")]
    usage_only: bool,
    #[command(flatten)]
    common: CommonOptions,
}

impl Action for Help {
    fn common(&self) -> &CommonOptions {
        &self.common
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError> {
        let topic = self.topic.join(" ");
        if topic.is_empty() {
            return context.print(overview(None));
        }
        if let Some((_, text)) = TOPICS.iter().find(|(name, _)| *name == topic) {
            return context.print(text);
        }
        if COMMANDS
            .iter()
            .any(|entry| entry.words.len() > 1 && entry.words.first() == Some(&&*topic))
        {
            return context.print(overview(Some(&topic)));
        }
        match COMMANDS.iter().find(|entry| entry.name() == topic) {
            Some(entry) => context.print(self.about(entry)),
            None => Err(CommandError::usage(format!(
                "No help available on {topic}.\nTry one of the following:\n    \
                 Commands: {}\n    Topics: {}",
                COMMANDS
                    .iter()
                    .map(Entry::name)
                    .collect::<Vec<_>>()
                    .join(", "),
                TOPICS.map(|(name, _)| name).join(", ")
            ))),
        }
    }
}

impl Help {
    fn about(&self, entry: &Entry) -> String {
        let mut command = entry.command();
        if self.epilog_only {
            return command
                .get_about()
                .map(|text| format!("{text}\n"))
                .unwrap_or_default();
        }
        if self.usage_only {
            command = command.about(None::<&str>);
        }
        format!("{}\n", command.render_help().to_string().trim_end())
    }
}

/// Returns the options of all commands, as the help of a command shows them.
fn common_options() -> String {
    let mut command = CommonOptions::augment_args(clap::Command::new("borg"))
        .disable_help_flag(true)
        .help_template("{options}")
        .color(clap::ColorChoice::Never);
    let options = command.render_help().to_string();
    format!("\nCommon options:\n{}\n", options.trim_end())
}

/// Returns the list of all commands, or of those that begin with the word given.
pub fn overview(group: Option<&str>) -> String {
    let mut text = match group {
        Some(group) => format!("Usage: borg {group} <COMMAND> [OPTIONS]\n\nCommands:\n"),
        None => "Borg - Deduplicated Backups\n\nUsage: borg [OPTIONS] <COMMAND> ...\n\nCommands:\n"
            .to_owned(),
    };
    for entry in COMMANDS {
        if group.is_some_and(|group| entry.words.first() != Some(&group)) {
            continue;
        }
        let words = entry.words.iter().skip(usize::from(group.is_some()));
        let name = words.copied().collect::<Vec<_>>().join(" ");
        text.push_str(&format!("  {name:<22} {}\n", entry.summary()));
    }
    text.push_str(&common_options());
    text.push_str(
        "\nThe options of a command are listed by \"borg help COMMAND\"; the common ones may stand \
         before it.\nTopics: \"borg help patterns\", \"borg help placeholders\", \"borg help \
         compression\".\n  -V, --version          Print the version and exit\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_first_line_that_fits() {
        for entry in COMMANDS {
            let about = entry.summary();
            assert!(
                !about.ends_with('.') && about.len() < 60,
                "{}: {about}",
                entry.name()
            );
        }
    }

    #[test]
    fn parsers_are_sound() {
        for entry in COMMANDS {
            entry.command().debug_assert();
        }
    }
}
