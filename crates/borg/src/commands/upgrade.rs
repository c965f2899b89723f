//! `upgrade`: brings the authentication of manifest and archives up to date.

use std::ffi::OsString;

use fastness_engine::cache::{ChunkTable, sync};
use fastness_engine::error::EngineError;
use fastness_engine::keys::KeyTarget;
use fastness_engine::security::Authenticity;
use fastness_engine::times::parse_archive_time;
use fastness_engine::upgrade::{Upgrade as State, forced};
use fastness_format::id::ChunkId;
use fastness_format::manifest::Operation;
use fastness_repository::Repository;
use fastness_repository::local::lock::LockKind;
use jiff::tz::TimeZone;

use crate::access::Place;
use crate::commands::Action;
use crate::context::Context;
use crate::error::{CommandError, with_causes};
use crate::options::CommonOptions;
use crate::output::archive_info::archive_line;

/// Bring a repository that older versions used up to date
///
/// Manifests are authenticated since Borg 1.0.9 and archives since 1.2.5, so that nobody without
/// the key can put others in their place. Check the archives that a repository has before you add
/// authentication: it makes whatever is there authentic.
///
/// Without one of these options nothing is done: repositories of Borg 1.x need no conversion, and
/// those of Attic and Borg 0.x cannot be converted here.
#[derive(Clone, Debug, clap::Parser)]
pub struct Upgrade {
    /// Change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Accepted for repositories of Attic, without effect
    #[arg(long)]
    inplace: bool,
    /// Go on with a manifest that has no authentication, whatever the key says
    #[arg(long)]
    force: bool,
    /// Require authentication of the manifest: in key, manifest and on this machine
    #[arg(long)]
    tam: bool,
    /// Tell whether authentication of the manifest is required
    #[arg(long)]
    check_tam: bool,
    /// No longer require authentication of the manifest
    #[arg(long)]
    disable_tam: bool,
    /// Tell which archives have authentication
    #[arg(long)]
    check_archives_tam: bool,
    /// Add authentication to all archives
    #[arg(long)]
    archives_tam: bool,
    /// The repository
    #[arg(value_name = "REPOSITORY")]
    location: Option<OsString>,
    /// Options of all commands.
    #[command(flatten)]
    common: CommonOptions,
}

impl Action for Upgrade {
    fn common(&self) -> &CommonOptions {
        &self.common
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError> {
        let place = context.repository_place(self.location.as_deref())?;
        let archives = self.archives_tam || self.check_archives_tam;
        if !(archives || self.tam || self.check_tam || self.disable_tam) {
            let mut repository = context.open_repository(&place, None)?;
            context.info("Nothing to upgrade.");
            return Ok(repository.close()?);
        }
        let mut repository = context.open_repository(&place, Some(LockKind::Exclusive))?;
        let result = if archives {
            self.archives(context, &place, &mut *repository)
        } else if self.tam || self.check_tam {
            self.manifest(context, &place, &mut *repository)
        } else {
            disable(context, &place, &mut *repository)
        };
        // Rolls back what was not committed and gives the lock back.
        let closed = repository.close();
        result?;
        Ok(closed?)
    }
}

fn open(
    context: &Context<'_>,
    place: &Place,
    repository: &dyn Repository,
    force: bool,
    operations: &[Operation],
) -> Result<State, CommandError> {
    let id = repository.id();
    let security = context.security(place, id);
    let mut opening = context.opening(place, &security, &id, operations);
    opening.requirement = forced(force);
    Ok(State::open(repository, &opening, operations)?)
}

/// Names, ids and times of all archives, the oldest first.
fn archives(state: &State) -> Result<Vec<(Vec<u8>, ChunkId, i64)>, CommandError> {
    let mut archives = Vec::new();
    for (name, entry) in &state.catalogue.manifest.archives {
        let time = parse_archive_time(&entry.time)
            .map_err(|error| CommandError::general(with_causes(&error)))?;
        archives.push((name.clone(), entry.id, time.as_microsecond()));
    }
    archives.sort_by_key(|(_, _, time)| *time);
    Ok(archives)
}

/// Counts the references to all chunks.
fn count(
    context: &Context<'_>,
    repository: &dyn Repository,
    state: &State,
) -> Result<ChunkTable, CommandError> {
    let catalogue = &state.catalogue;
    let archives = catalogue.manifest.archives.values();
    let ids: Vec<ChunkId> = archives.map(|entry| entry.id).collect();
    let threads = context.threads();
    let counted = sync::rebuild(repository, &catalogue.crypto, &ids, threads, &mut |_| {});
    Ok(counted.map_err(EngineError::from)?)
}

/// Remembers on this machine what was committed.
fn remember(
    context: &Context<'_>,
    place: &Place,
    repository: &dyn Repository,
    state: &State,
) -> Result<(), CommandError> {
    let security = context.security(place, repository.id());
    let catalogue = &state.catalogue;
    let timestamp = &catalogue.manifest.timestamp;
    Ok(security.save(catalogue.crypto.key_type(), timestamp)?)
}

impl Upgrade {
    fn archives(
        &self,
        context: &mut Context<'_>,
        place: &Place,
        repository: &mut dyn Repository,
    ) -> Result<(), CommandError> {
        let read_only = self.check_archives_tam;
        let mut state = open(context, place, repository, self.force, &[Operation::Check])?;
        let (world, zone) = (crate::world::real(), TimeZone::system());
        let mut chunks = None;
        let mut issues = 0;
        for (name, id, time) in archives(&state)? {
            let monitor = std::sync::Arc::clone(&context.reporter);
            let archive = state.archive(repository, &name, monitor.as_ref())?;
            let line = archive_line(&name, time, &id, &zone);
            if matches!(archive.authenticity, Authenticity::Verified(_)) {
                context.print(format!("Archive TAM present: {line}\n"))?;
                continue;
            }
            issues += 1;
            if read_only {
                context.print(format!("Archive TAM missing: {line}\n"))?;
                continue;
            }
            let chunks = match &chunks {
                Some(chunks) => chunks,
                None => &*chunks.insert(count(context, repository, &state)?),
            };
            let new = state.authenticate_archive(repository, chunks, &name, archive, world)?;
            context.print(format!("Added archive TAM:   {line} -> [{new}]\n"))?;
        }
        if !read_only {
            let required = state.catalogue.manifest.tam_required();
            state.write_manifest(repository, required, world)?;
            remember(context, place, repository, &state)?;
        }
        let found = format!("{issues} archives with TAM issues!");
        match (issues, read_only) {
            (0, _) => context.print("All archives are TAM authenticated.\n"),
            (_, true) => {
                context.reporter.warn(None, &format!("Found {found}"));
                Ok(())
            }
            (_, false) => context.print(format!(
                "Fixed {found}\nAll archives are TAM authenticated now.\n"
            )),
        }
    }

    fn manifest(
        &self,
        context: &mut Context<'_>,
        place: &Place,
        repository: &mut dyn Repository,
    ) -> Result<(), CommandError> {
        let mut state = open(context, place, repository, self.force, &[Operation::Check])?;
        let (world, zone) = (crate::world::real(), TimeZone::system());
        if self.check_tam {
            return self.check(context, place, repository, &state);
        }
        if !state.manifest_is_protected() {
            context.print("Manifest contents:\n")?;
            for (name, id, time) in archives(&state)? {
                context.print(archive_line(&name, time, &id, &zone) + "\n")?;
            }
            state.write_manifest(repository, true, world)?;
        }
        if state.key_requires() == Some(false) {
            state.write_key(repository, true, world)?;
            tell_key(context, place, &state)?;
        }
        let security = context.security(place, repository.id());
        if !security.tam_required() {
            security.follow_manifest(true)?;
            context.print("Updated security database\n")?;
        }
        Ok(())
    }

    fn check(
        &self,
        context: &mut Context<'_>,
        place: &Place,
        repository: &dyn Repository,
        state: &State,
    ) -> Result<(), CommandError> {
        let security = context.security(place, repository.id());
        let issues = [
            (
                !state.manifest_is_protected(),
                "Repository Manifest is not TAM verified or a TAM is not required!",
            ),
            (
                state.key_requires() == Some(false),
                "Key does not require TAM authentication!",
            ),
            (
                !security.tam_required(),
                "Client-side security database does not require a TAM!",
            ),
        ];
        let found: Vec<&str> = issues
            .iter()
            .filter(|(issue, _)| *issue)
            .map(|(_, text)| *text)
            .collect();
        for text in &found {
            context.reporter.warn(None, text);
        }
        if found.is_empty() {
            context
                .print("Manifest authentication setup OK for this client and this repository.\n")?;
        }
        Ok(())
    }
}

fn disable(
    context: &mut Context<'_>,
    place: &Place,
    repository: &mut dyn Repository,
) -> Result<(), CommandError> {
    let mut state = open(context, place, repository, true, &[])?;
    let world = crate::world::real();
    let security = context.security(place, repository.id());
    security.follow_manifest(false)?;
    if state.key_requires() == Some(true) {
        state.write_key(repository, false, world)?;
        tell_key(context, place, &state)?;
    }
    Ok(state.write_manifest(repository, false, world)?)
}

fn tell_key(context: &mut Context<'_>, place: &Place, state: &State) -> Result<(), CommandError> {
    let location = match &state.target {
        KeyTarget::File(path) => path.display().to_string(),
        _ => place.name.clone(),
    };
    context.print(format!("Key updated\nKey location: {location}\n"))
}
