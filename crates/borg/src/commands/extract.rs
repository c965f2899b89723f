//! `extract`: files from an archive.

use std::ffi::OsString;

use fastness_engine::attributes::AttributeOptions;
use fastness_engine::extract::{ExtractOptions, extract, extract_to};
use fastness_format::manifest::Operation;
use fastness_repository::local::lock::LockKind;

use crate::access::Opened;
use crate::commands::{Action, Outputs};
use crate::context::{Context, Wanted};
use crate::error::CommandError;
use crate::options::{CommonOptions, ExcludeOptions, StripOptions};
use crate::signals::Watch;

/// Extract the contents of an archive
///
/// Files come into the current directory, under the paths they are stored with. With PATH, only
/// what lies at or below it; a PATH is a literal beginning unless it names another style ("borg
/// help patterns").
///
/// What stands in the way of a file is replaced, except for directories that are not empty.
/// Nothing is ever written outside the current directory.
#[derive(Clone, Debug, clap::Parser)]
pub struct Extract {
    /// The archive
    #[arg(value_name = "ARCHIVE")]
    location: OsString,
    /// What to extract
    #[arg(value_name = "PATH")]
    paths: Vec<OsString>,
    /// Show the path of everything extracted
    #[arg(long)]
    list: bool,
    /// Write nothing, but read and check everything
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Restore owners by number only
    #[arg(long, alias = "numeric-owner")]
    numeric_ids: bool,
    /// Do not restore flags such as NODUMP and IMMUTABLE
    #[arg(long, alias = "nobsdflags")]
    noflags: bool,
    /// Do not restore access control lists
    #[arg(long)]
    noacls: bool,
    /// Do not restore extended attributes
    #[arg(long)]
    noxattrs: bool,
    /// Write the contents of files to standard output
    #[arg(long)]
    stdout: bool,
    /// Make holes in place of zeros
    #[arg(long)]
    sparse: bool,
    /// What to leave out.
    #[command(flatten)]
    exclude: ExcludeOptions,
    /// What is cut off paths.
    #[command(flatten)]
    strip: StripOptions,
    /// Options of all commands.
    #[command(flatten)]
    common: CommonOptions,
}

impl Action for Extract {
    fn common(&self) -> &CommonOptions {
        &self.common
    }

    fn outputs(&self) -> Outputs {
        Outputs {
            list: self.list,
            ..Outputs::default()
        }
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError> {
        let location = context.location("ARCHIVE", Some(&self.location), Wanted::Archive)?;
        let name = location.archive.clone().unwrap_or_default();
        let options = self.options(context)?;
        let place = context.place(location);
        let mut opened = context.open(place, LockKind::Shared, &[Operation::Read])?;
        let watch = Watch::begin();
        let result = self.extract(context, &opened, &name, &options);
        drop(watch);
        let closed = opened.session.repository.close();
        result?;
        Ok(closed?)
    }
}

impl Extract {
    fn options(&self, context: &Context<'_>) -> Result<ExtractOptions, CommandError> {
        Ok(ExtractOptions {
            patterns: self.exclude.matcher(&self.paths)?,
            strip_components: self.strip.components(),
            attributes: AttributeOptions {
                numeric_ids: self.numeric_ids,
                no_flags: self.noflags,
                no_acls: self.noacls,
                no_xattrs: self.noxattrs,
                ..AttributeOptions::default()
            },
            existing: context.existing,
            sparse: self.sparse,
            dry_run: self.dry_run,
            list: self.list,
            progress: self.common.progress,
            part_files: self.common.consider_part_files,
            threads: context.threads(),
        })
    }

    fn extract(
        &self,
        context: &mut Context<'_>,
        opened: &Opened,
        name: &[u8],
        options: &ExtractOptions,
    ) -> Result<(), CommandError> {
        let session = &opened.session;
        let monitor = context.reporter.as_ref();
        let repository = session.repository.as_ref();
        let archive = session.catalogue.archive(repository, name, monitor)?;
        if self.stdout && !self.dry_run {
            extract_to(session, &archive, context.stdout, options, monitor)?;
        } else {
            extract(session, &archive, &context.directory, options, monitor)?;
        }
        Ok(())
    }
}
