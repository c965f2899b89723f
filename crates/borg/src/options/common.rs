//! Options that every command has.
//!
//! They may stand before, between and after the words of a command; where the same option is
//! given several times the last one wins, which is the innermost.

use std::path::PathBuf;

use clap::ArgAction;

use super::values::octal;
use crate::output::log::Level;
use crate::output::text::Units;

const LEVELS: [&str; 5] = ["critical", "error", "warning", "info", "debug"];

/// Options of all commands.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Common options")]
pub struct CommonOptions {
    /// Show this help and exit
    #[arg(short = 'h', long = "help", action = ArgAction::HelpShort)]
    help: Option<bool>,
    /// Log only what makes work impossible
    #[arg(long, overrides_with_all = LEVELS)]
    critical: bool,
    /// Log only errors
    #[arg(long, overrides_with_all = LEVELS)]
    error: bool,
    /// Log warnings and errors (the default)
    #[arg(long, overrides_with_all = LEVELS)]
    warning: bool,
    /// Also log what is being done
    #[arg(long, short = 'v', visible_alias = "verbose", overrides_with_all = LEVELS)]
    info: bool,
    /// Log every detail
    #[arg(long, overrides_with_all = LEVELS)]
    debug: bool,
    /// Log the details of TOPIC, which is borg.debug.TOPIC unless it has a dot; repeatable
    #[arg(long = "debug-topic", value_name = "TOPIC", action = ArgAction::Append)]
    pub debug_topics: Vec<String>,
    /// Show how far the work is
    #[arg(long, short = 'p')]
    pub progress: bool,
    /// Count sizes in units of 1024 (1 KiB = 1024 bytes)
    #[arg(long)]
    pub iec: bool,
    /// Write log lines as JSON objects, one per line
    #[arg(long)]
    pub log_json: bool,
    /// Wait at most SECONDS for a lock that somebody else holds
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 1,
        allow_negative_numbers = true
    )]
    pub lock_wait: i64,
    /// Read without taking a lock
    #[arg(long)]
    pub bypass_lock: bool,
    /// Log the version of this program
    #[arg(long)]
    pub show_version: bool,
    /// Log the exit code
    #[arg(long)]
    pub show_rc: bool,
    /// Take away these permission bits from files that are made here
    #[arg(long, value_name = "M", value_parser = octal, default_value = "0077")]
    pub umask: u32,
    /// Use PATH as the program on the server, in place of borg
    #[arg(long, value_name = "PATH")]
    pub remote_path: Option<String>,
    /// Send at most RATE KiB per second, 0 for no limit
    #[arg(long, visible_alias = "remote-ratelimit", value_name = "RATE")]
    pub upload_ratelimit: Option<u64>,
    /// Receive at most RATE KiB per second, 0 for no limit
    #[arg(long, value_name = "RATE")]
    pub download_ratelimit: Option<u64>,
    /// Hold up to SIZE MiB of data on its way to the server, 0 for none
    #[arg(long, visible_alias = "remote-buffer", value_name = "SIZE")]
    pub upload_buffer: Option<u64>,
    /// Treat parts of files, left by interrupted runs of old versions, like files
    #[arg(long)]
    pub consider_part_files: bool,
    /// Write into FILE how long each stage of the work took; for Python's tools when it ends in .pyprof
    #[arg(long, value_name = "FILE")]
    pub debug_profile: Option<PathBuf>,
    /// Reach the server with this command in place of ssh
    #[arg(long, value_name = "CMD")]
    pub rsh: Option<String>,
}

impl CommonOptions {
    /// Returns the least level to be logged.
    pub fn level(&self) -> Level {
        match (self.critical, self.error, self.info, self.debug) {
            (true, ..) => Level::Critical,
            (_, true, ..) => Level::Error,
            (_, _, true, _) => Level::Info,
            (_, _, _, true) => Level::Debug,
            _ => Level::Warning,
        }
    }

    /// Takes over what a client of a server may decide, and nothing else.
    pub fn follow(&mut self, client: &Self) {
        self.critical = client.critical;
        self.error = client.error;
        self.warning = client.warning;
        self.info = client.info;
        self.debug = client.debug;
        self.debug_topics.clone_from(&client.debug_topics);
        self.lock_wait = client.lock_wait;
    }

    /// Returns the full logger names of the debug topics.
    pub fn topics(&self) -> Vec<String> {
        let full = |topic: &String| match topic.contains('.') {
            true => topic.clone(),
            false => format!("borg.debug.{topic}"),
        };
        self.debug_topics.iter().map(full).collect()
    }

    /// Returns how sizes are counted.
    pub fn units(&self) -> Units {
        if self.iec {
            Units::Binary
        } else {
            Units::Decimal
        }
    }
}
