//! `debug info`: what to tell with a report of a mistake.

use fastness_sys::{host, process};

use crate::BORG_VERSION;
use crate::commands::Action;
use crate::context::Context;
use crate::error::CommandError;
use crate::options::CommonOptions;

/// Show what belongs into a report about a mistake
#[derive(Clone, Debug, clap::Parser)]
pub struct Info {
    /// Options of all commands.
    #[command(flatten)]
    common: CommonOptions,
}

impl Action for Info {
    fn common(&self) -> &CommonOptions {
        &self.common
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError> {
        if context.environment.text("BORG_SHOW_SYSINFO").as_deref() == Some("no") {
            return context.print("\n");
        }
        let words: Vec<String> = context
            .command_line
            .iter()
            .map(|word| format!("'{}'", word.to_string_lossy()))
            .collect();
        let text = format!(
            "Platform: {}\n\
             Borg: {BORG_VERSION}  Fastness: {}  Python: none\n\
             PID: {}  CWD: {}\n\
             Arguments: [{}]\n\n\
             CRC implementation: crc32fast\n\
             Threads: {}\n",
            host::platform(),
            env!("CARGO_PKG_VERSION"),
            process::own_pid(),
            context.directory.display(),
            words.join(", "),
            context.threads(),
        );
        context.print(text)
    }
}
