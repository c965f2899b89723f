//! `diff`: what differs between two archives. Here are its arguments and its run; [`show`] makes
//! text and JSON of a difference, [`order`] sorts.

mod order;
mod show;

use std::ffi::OsString;
use std::sync::Arc;

use fastness_engine::archives::diff::{Comparison, Finding};
use fastness_engine::error::EngineError;
use fastness_engine::event::{Event, Monitor, Warning};
use fastness_format::manifest::Operation;
use fastness_repository::local::lock::LockKind;
use jiff::tz::TimeZone;

use crate::access::Opened;
use crate::commands::Action;
use crate::context::{Context, Wanted};
use crate::error::CommandError;
use crate::options::{CommonOptions, ExcludeOptions, only_one};
use crate::output::text::replace_foreign;
use order::Order;
use show::Shown;

/// Show what differs between two archives
///
/// For each path: content that was added and removed, or items that came, went or became another
/// kind; then owner, mode and times. Content is counted by chunks, so a changed byte counts as the
/// chunk it lies in. Archives that were cut by different chunker parameters are compared byte by
/// byte, and it is not counted how much differs.
///
/// FIELDS are: path, size, size_added, size_removed, size_diff, user, group, uid, gid, ctime,
/// mtime, ctime_diff and mtime_diff; with > in front the greatest comes first.
#[derive(Clone, Debug, clap::Parser)]
pub struct Diff {
    /// Accepted and, as in Borg 1.4, without effect: names of owners are compared
    #[arg(long, alias = "numeric-owner")]
    numeric_ids: bool,
    /// Both archives were cut by the same rules, whatever they say
    #[arg(long)]
    same_chunker_params: bool,
    /// Sort by path; use --sort-by=path
    #[arg(long)]
    sort: bool,
    /// Sort by these fields, separated by commas
    #[arg(long, value_name = "FIELDS", value_parser = order::parse, action = clap::ArgAction::Append)]
    sort_by: Vec<Order>,
    /// Leave owner, mode and times out of it
    #[arg(long)]
    content_only: bool,
    /// Print JSON, one object per line
    #[arg(long)]
    json_lines: bool,
    /// The repository and the archive before
    #[arg(value_name = "REPO::ARCHIVE1")]
    location: OsString,
    /// The archive after, its name alone
    #[arg(value_name = "ARCHIVE2")]
    second: OsString,
    /// What to compare
    #[arg(value_name = "PATH")]
    paths: Vec<OsString>,
    /// What to leave out.
    #[command(flatten)]
    exclude: ExcludeOptions,
    /// Options of all commands.
    #[command(flatten)]
    common: CommonOptions,
}

impl Action for Diff {
    fn common(&self) -> &CommonOptions {
        &self.common
    }

    fn settle(&mut self) -> Result<Vec<String>, CommandError> {
        only_one("--sort-by", &self.sort_by)?;
        Ok(Vec::new())
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError> {
        let location = context.location("REPO::ARCHIVE1", Some(&self.location), Wanted::Archive)?;
        let second = context.archive_name("ARCHIVE2", &self.second)?;
        let place = context.place(location);
        let mut opened = context.open(place, LockKind::Shared, &[Operation::Read])?;
        let result = self.compare(context, &opened, &second);
        let closed = opened.session.repository.close();
        result?;
        Ok(closed?)
    }
}

impl Diff {
    fn compare(
        &self,
        context: &mut Context<'_>,
        opened: &Opened,
        second: &[u8],
    ) -> Result<(), CommandError> {
        let first = opened.place.archive_name()?.to_vec();
        let (before, after) = (
            context.archive(opened, &first)?.metadata,
            context.archive(opened, second)?.metadata,
        );
        let same_chunker = match (before.chunker_params, after.chunker_params) {
            _ if self.same_chunker_params => true,
            (Some(before), Some(after)) if before == after => true,
            (Some(_), Some(_)) => {
                context
                    .warning("--chunker-params are different between archives, diff will be slow.");
                false
            }
            _ => {
                context.warning(
                    "--chunker-params might be different between archives, diff will be slow.\n\
                     If you know for certain that they are the same, pass --same-chunker-params \
                     to override this check.",
                );
                false
            }
        };
        let matcher = self.exclude.matcher(&self.paths)?;
        let comparison = Comparison {
            repository: opened.session.repository.as_ref(),
            crypto: &opened.session.crypto,
            archives: [(&first, &before.items), (second, &after.items)],
            matcher: &matcher,
            part_files: context.common.consider_part_files,
            same_chunker,
            content_only: self.content_only,
            threads: context.threads(),
        };
        self.show(context, &comparison)?;
        for pattern in matcher.unmatched_include_paths() {
            let text = format!(
                "Include pattern '{}' never matched.",
                replace_foreign(pattern)
            );
            context.reporter.event(Event::Warning(Warning {
                msgid: "IncludePatternNeverMatchedWarning",
                text,
            }));
        }
        Ok(())
    }

    fn show(
        &self,
        context: &mut Context<'_>,
        comparison: &Comparison<'_>,
    ) -> Result<(), CommandError> {
        let order = match self.sort_by.first() {
            None if self.sort => Some(Order::by_path()),
            order => order.cloned(),
        };
        let zone = TimeZone::system();
        let reporter = Arc::clone(&context.reporter);
        let mut kept = Vec::new();
        let mut failed = None;
        let result = comparison.run(&mut |finding| {
            let difference = match finding {
                Finding::Difference(difference) => difference,
                Finding::NoSource { path, source } => {
                    let text = format!(
                        "cannot find hardlink source for {} ({}), skipping compare.",
                        replace_foreign(path),
                        replace_foreign(source)
                    );
                    reporter.warn(None, &text);
                    return Ok(());
                }
            };
            if reporter.interrupted() {
                return Err(EngineError::Interrupted);
            }
            let shown = Shown::new(difference, self.content_only, &zone);
            let line = match self.json_lines {
                true => shown.json(difference),
                false => shown.text(difference),
            };
            if let Some(order) = &order {
                kept.push((order.keys(difference, &shown), line));
                return Ok(());
            }
            context.print(line).map_err(|error| {
                failed = Some(error);
                EngineError::Abandoned
            })
        });
        match failed {
            Some(error) => return Err(error),
            None => result?,
        }
        if let Some(order) = &order {
            kept.sort_by(|(one, _), (other, _)| order.compare(one, other));
        }
        for (_, line) in kept {
            context.print(line)?;
        }
        Ok(())
    }
}
