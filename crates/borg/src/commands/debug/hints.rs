//! `debug dump-hints`: what a writer knows of the segments.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;

use fastness_repository::Repository;
use fastness_repository::local::lock::LockKind;

use super::write_failed;
use crate::commands::Action;
use crate::context::Context;
use crate::error::CommandError;
use crate::options::CommonOptions;
use crate::output::json::{Indent, Json, object};

/// Write what is known of the segments as JSON
#[derive(Clone, Debug, clap::Parser)]
pub struct DumpHints {
    /// The repository
    #[arg(value_name = "REPOSITORY")]
    location: OsString,
    /// Where it goes; - is standard output
    #[arg(value_name = "PATH")]
    path: OsString,
    /// Options of all commands.
    #[command(flatten)]
    common: CommonOptions,
}

impl Action for DumpHints {
    fn common(&self) -> &CommonOptions {
        &self.common
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError> {
        let place = context.repository_place(Some(&self.location))?;
        let mut repository = context.open_local(&place, Some(LockKind::Exclusive))?;
        let hints = repository.hints()?;
        repository.close()?;
        let numbers = |map: &BTreeMap<u32, i64>| {
            let member = |(segment, number): (&u32, &i64)| (segment.to_string(), (*number).into());
            Json::Map(map.iter().map(member).collect())
        };
        let mut shadows: Vec<(String, Json)> = hints
            .shadow_index
            .iter()
            .map(|(id, segments)| {
                let segments = segments.iter().map(|segment| Json::from(*segment));
                (id.to_string(), segments.collect())
            })
            .collect();
        shadows.sort_by(|(one, _), (other, _)| one.cmp(other));
        let document = object([
            ("segments", numbers(&hints.segments)),
            ("compact", numbers(&hints.compact)),
            ("storage_quota_use", hints.storage_quota_use.into()),
            ("shadow_index", Json::Map(shadows)),
        ]);
        let text = document.to_document_in_order(&Indent::default());
        let mut sink = context.sink(&self.path)?;
        sink.write_all(text.as_bytes())
            .and_then(|()| sink.flush())
            .map_err(write_failed)
    }
}
