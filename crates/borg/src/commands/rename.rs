//! `rename`: another name for an archive.

use std::ffi::OsString;

use fastness_engine::archives::rename::rename;
use fastness_format::manifest::Operation;
use fastness_repository::local::lock::LockKind;

use crate::access::Opened;
use crate::commands::Action;
use crate::context::{Context, Wanted};
use crate::error::CommandError;
use crate::options::CommonOptions;

/// Rename an archive
///
/// The archive gets a new id with its new name; its data is not touched.
#[derive(Clone, Debug, clap::Parser)]
pub struct Rename {
    /// The archive
    #[arg(value_name = "ARCHIVE")]
    location: OsString,
    /// Its new name
    #[arg(value_name = "NEWNAME")]
    name: OsString,
    /// Options of all commands.
    #[command(flatten)]
    common: CommonOptions,
}

impl Action for Rename {
    fn common(&self) -> &CommonOptions {
        &self.common
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError> {
        let location = context.location("ARCHIVE", Some(&self.location), Wanted::Archive)?;
        let new_name = context.archive_name("NEWNAME", &self.name)?;
        let place = context.place(location);
        let mut opened = context.open(place, LockKind::Exclusive, &[Operation::Check])?;
        let result = in_session(context, &mut opened, &new_name);
        // Rolls back what was not committed and gives the lock back.
        let closed = opened.session.repository.close();
        result?;
        Ok(closed?)
    }
}

fn in_session(
    context: &Context<'_>,
    opened: &mut Opened,
    new_name: &[u8],
) -> Result<(), CommandError> {
    let name = opened.place.archive_name()?.to_vec();
    // Before the references are counted, which may take a while.
    context.archive(opened, &name)?;
    let chunks = context.load_chunks(opened)?;
    let (world, monitor) = (crate::world::real(), context.reporter.as_ref());
    rename(
        &mut opened.session,
        &chunks,
        &name,
        new_name,
        world,
        monitor,
    )?;
    context.remember(opened)?;
    context.save_chunks(opened, &chunks);
    Ok(())
}
