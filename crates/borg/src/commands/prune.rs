//! `prune`: archives that no rule keeps are deleted. Here are its arguments; [`run`] does it.

mod run;

use std::ffi::OsString;

use fastness_engine::prune::rules;

use crate::commands::{Action, Outputs, drop_stats_of_dry_run};
use crate::context::Context;
use crate::error::CommandError;
use crate::options::values::interval;
use crate::options::{CommonOptions, NameFilter};

/// Delete archives that no rule keeps
///
/// Each rule keeps the newest archive of as many periods as it says: --keep-daily 7 keeps the
/// last one of each of seven days that have archives. Rules go from the shortest period to the
/// longest, and what one keeps does not count for the next. --keep-within keeps everything that is
/// younger. A number of -1 keeps one of every period. If a rule finds less than it may keep, it
/// also keeps the oldest archive.
///
/// Use --glob-archives when several machines or jobs share the repository, or they count for each
/// other. Space becomes free at the next "borg compact".
#[derive(Clone, Debug, clap::Parser)]
pub struct Prune {
    /// The repository
    #[arg(value_name = "REPOSITORY")]
    pub location: Option<OsString>,
    /// Delete nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Also delete damaged archives; given twice, without looking into them
    #[arg(long = "force", action = clap::ArgAction::Count)]
    pub forced: u8,
    /// Print the space given back
    #[arg(short, long)]
    pub stats: bool,
    /// Print the space given back, without sizes of the repository
    #[arg(long)]
    pub quick_stats: bool,
    /// Show which archives are kept, by which rule, and which are not
    #[arg(long)]
    pub list: bool,
    /// What to keep.
    #[command(flatten)]
    pub keep: KeepOptions,
    /// Does nothing, as in Borg
    #[arg(long)]
    pub save_space: bool,
    /// Commit every SECONDS seconds
    #[arg(short, long, value_name = "SECONDS", default_value_t = 1800)]
    pub checkpoint_interval: u64,
    /// Which archives.
    #[command(flatten)]
    pub filter: NameFilter,
    /// Options of all commands.
    #[command(flatten)]
    pub common: CommonOptions,
}

/// The rules; a negative number is no limit.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(allow_negative_numbers = true)]
pub struct KeepOptions {
    /// Keep all archives younger than INTERVAL (24H, 7d, 4w, 6m, 1y)
    #[arg(long = "keep-within", value_name = "INTERVAL", value_parser = interval)]
    pub within_hours: Option<u64>,
    /// Keep the last N archives
    #[arg(long = "keep-last", visible_alias = "keep-secondly", value_name = "N")]
    pub secondly: Option<i64>,
    /// Keep an archive of each of N minutes
    #[arg(long = "keep-minutely", value_name = "N")]
    pub minutely: Option<i64>,
    /// Keep an archive of each of N hours
    #[arg(short = 'H', long = "keep-hourly", value_name = "N")]
    pub hourly: Option<i64>,
    /// Keep an archive of each of N days
    #[arg(short = 'd', long = "keep-daily", value_name = "N")]
    pub daily: Option<i64>,
    /// Keep an archive of each of N weeks
    #[arg(short = 'w', long = "keep-weekly", value_name = "N")]
    pub weekly: Option<i64>,
    /// Keep an archive of each of N months
    #[arg(short = 'm', long = "keep-monthly", value_name = "N")]
    pub monthly: Option<i64>,
    /// Keep an archive of each of N quarters of 13 weeks
    #[arg(
        long = "keep-13weekly",
        value_name = "N",
        conflicts_with = "quarterly_3monthly"
    )]
    pub quarterly_13weekly: Option<i64>,
    /// Keep an archive of each of N quarters of 3 months
    #[arg(long = "keep-3monthly", value_name = "N")]
    pub quarterly_3monthly: Option<i64>,
    /// Keep an archive of each of N years
    #[arg(short = 'y', long = "keep-yearly", value_name = "N")]
    pub yearly: Option<i64>,
}

impl KeepOptions {
    /// Returns the rules as the engine takes them.
    fn rules(&self) -> rules::KeepOptions {
        let count = |number: Option<i64>| number.unwrap_or(0);
        rules::KeepOptions {
            within_hours: self.within_hours,
            secondly: count(self.secondly),
            minutely: count(self.minutely),
            hourly: count(self.hourly),
            daily: count(self.daily),
            weekly: count(self.weekly),
            monthly: count(self.monthly),
            quarterly_13weekly: count(self.quarterly_13weekly),
            quarterly_3monthly: count(self.quarterly_3monthly),
            yearly: count(self.yearly),
        }
    }

    /// Makes sure that there is a rule.
    ///
    /// # Errors
    /// When there is none: everything would be deleted.
    pub fn require(&self) -> Result<(), CommandError> {
        if !self.rules().is_empty() {
            return Ok(());
        }
        Err(CommandError::command(
            "At least one of the \"keep-within\", \"keep-last\", \"keep-secondly\", \
             \"keep-minutely\", \"keep-hourly\", \"keep-daily\", \"keep-weekly\", \
             \"keep-monthly\", \"keep-13weekly\", \"keep-3monthly\", or \"keep-yearly\" settings \
             must be specified.",
        ))
    }
}

impl Action for Prune {
    fn common(&self) -> &CommonOptions {
        &self.common
    }

    fn outputs(&self) -> Outputs {
        Outputs {
            list: self.list,
            stats: self.stats || self.quick_stats,
        }
    }

    fn texts_with_placeholders(&mut self) -> Vec<&mut String> {
        self.filter.texts()
    }

    fn settle(&mut self) -> Result<Vec<String>, CommandError> {
        self.filter.glob()?;
        drop_stats_of_dry_run(self.dry_run, &mut self.stats, &mut self.quick_stats)
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError> {
        run::prune(&self, context)
    }
}
