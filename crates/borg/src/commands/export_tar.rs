//! `export-tar`: an archive as a tar file.

use std::ffi::OsString;

use fastness_engine::tar::export::{ExportOptions, export};
use fastness_format::manifest::Operation;
use fastness_repository::local::lock::LockKind;

use crate::access::Opened;
use crate::commands::{Action, Outputs};
use crate::context::{Context, Wanted};
use crate::error::CommandError;
use crate::options::{CommonOptions, ExcludeOptions, StripOptions};
use crate::signals::Watch;
use crate::tar_stream::{self, Direction, TarOutput};

/// Write the contents of an archive into a tar file
///
/// FILE is overwritten; - stands for standard output. With PATH, only what lies at or below it is
/// written ("borg help patterns").
///
/// The ending of FILE tells which program compresses the tar: gzip (.tar.gz, .tgz), bzip2
/// (.tar.bz2, .tbz), xz (.tar.xz, .txz), zstd (.tar.zstd, .tar.zst) or lz4 (.tar.lz4). It has to
/// be installed. --tar-filter names any other command that reads the tar from its standard input
/// and writes to its standard output.
///
/// The tar is in the GNU format. It has whole seconds only, and neither extended attributes nor
/// access control lists nor file flags; holes of sparse files are written as zeros.
#[derive(Clone, Debug, clap::Parser)]
pub struct ExportTar {
    /// The archive
    #[arg(value_name = "ARCHIVE")]
    location: OsString,
    /// The tar file
    #[arg(value_name = "FILE")]
    file: OsString,
    /// What to export
    #[arg(value_name = "PATH")]
    paths: Vec<OsString>,
    /// Send the tar through this command; auto goes by the ending of FILE
    #[arg(long, value_name = "COMMAND", default_value = "auto")]
    tar_filter: String,
    /// Show the path of everything exported
    #[arg(long)]
    list: bool,
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

impl Action for ExportTar {
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
        let options = ExportOptions {
            patterns: self.exclude.matcher(&self.paths)?,
            strip_components: self.strip.components(),
            list: self.list,
            progress: self.common.progress,
            part_files: self.common.consider_part_files,
            threads: context.threads(),
        };
        let place = context.place(location);
        let mut opened = context.open(place, LockKind::Shared, &[Operation::Read])?;
        let watch = Watch::begin();
        let result = self.export(context, &opened, &name, &options);
        drop(watch);
        let closed = opened.session.repository.close();
        result?;
        Ok(closed?)
    }
}

impl ExportTar {
    fn export(
        &self,
        context: &mut Context<'_>,
        opened: &Opened,
        name: &[u8],
        options: &ExportOptions,
    ) -> Result<(), CommandError> {
        let session = &opened.session;
        let repository = session.repository.as_ref();
        let monitor = std::sync::Arc::clone(&context.reporter);
        let archive = session
            .catalogue
            .archive(repository, name, monitor.as_ref())?;
        let filter = tar_stream::filter(&self.tar_filter, &self.file, Direction::Compress);
        let mut output = TarOutput::create(context, &self.file, filter.as_deref())?;
        let writer = output.writer(context.stdout);
        let exported = export(session, &archive, writer, options, monitor.as_ref());
        output.finish(exported.map_err(CommandError::from))
    }
}
