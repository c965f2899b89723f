//! Deletes a whole repository, with what is known of it on this machine.

use std::io;

use fastness_format::id::RepositoryId;
use fastness_repository::Repository;
use fastness_repository::local::lock::LockKind;

use super::Delete;
use super::run::line;
use crate::access::Place;
use crate::context::Context;
use crate::error::{CommandError, errno_text};
use crate::output::questions::Question;
use crate::output::stats::DASHES;

/// Deletes the repository, after a question that only YES answers.
pub fn delete(
    arguments: &Delete,
    context: &mut Context<'_>,
    place: &Place,
) -> Result<(), CommandError> {
    let mut repository = context.open_repository(place, Some(LockKind::Exclusive))?;
    let id = repository.id();
    let result = (|| {
        if !arguments.cache_only {
            if arguments.forced == 0 && !confirmed(arguments, context, place, &*repository)? {
                return Err(CommandError::cancelled());
            }
            destroy(arguments, context, place, &mut *repository)?;
        }
        destroy_caches(arguments, context, &id)
    })();
    let closed = repository.close();
    result?;
    Ok(closed?)
}

fn destroy(
    arguments: &Delete,
    context: &Context<'_>,
    place: &Place,
    repository: &mut dyn Repository,
) -> Result<(), CommandError> {
    let fate = match arguments.keep_security_info {
        true => "keep",
        false => "delete",
    };
    if arguments.dry_run {
        context.info("Would delete repository.");
        context.info(format!("Would {fate} security info."));
        return Ok(());
    }
    let id = repository.id();
    repository.destroy()?;
    context.info("Repository deleted.");
    if !arguments.keep_security_info {
        context.security(place, id).destroy()?;
    }
    Ok(())
}

/// Deletes our cache, and that of Borg itself beside it, which is of no use any more.
fn destroy_caches(
    arguments: &Delete,
    context: &Context<'_>,
    id: &RepositoryId,
) -> Result<(), CommandError> {
    if arguments.dry_run {
        context.info("Would delete cache.");
        return Ok(());
    }
    let failed = |error: &io::Error| CommandError::general(errno_text(error, None));
    let own = context.cache_directory(id).remove();
    own.map_err(|error| failed(&error))?;
    let borgs = context.environment.directories.cache_of(id);
    let config = borgs.join("config");
    if config.exists() {
        // Without its config a cache is none: so one that is half removed is never used.
        let removed = std::fs::remove_file(&config).and_then(|()| std::fs::remove_dir_all(&borgs));
        removed.map_err(|error| failed(&error))?;
    }
    context.info("Cache deleted.");
    Ok(())
}

fn confirmed(
    arguments: &Delete,
    context: &Context<'_>,
    place: &Place,
    repository: &dyn Repository,
) -> Result<bool, CommandError> {
    let catalogue = match context.catalogue(place, repository) {
        Ok(catalogue) => Some(catalogue),
        Err(error) if error.msgid == "NoManifestError" => None,
        Err(error) => return Err(error),
    };
    let what = match &catalogue {
        Some(catalogue) => format!(
            "{} archives it contains:",
            catalogue.manifest.archives.len()
        ),
        None => "all archives it may contain:".to_owned(),
    };
    let mut lines = vec![
        format!("You requested to completely DELETE the following repository *including* {what}"),
        DASHES.to_owned(),
        format!("Repository ID: {}", repository.id()),
        format!("Location: {}", place.name),
    ];
    if arguments.list {
        lines.extend([String::new(), "Archives:".to_owned()]);
        match &catalogue {
            None => lines.push(
                "This repository seems to have no manifest, so we can't tell anything about its \
                 contents."
                    .to_owned(),
            ),
            Some(catalogue) if catalogue.manifest.archives.is_empty() => {
                lines.push("This repository seems to not have any archives.".to_owned());
            }
            Some(catalogue) => {
                let mut archives: Vec<_> = catalogue.manifest.archives.iter().collect();
                archives.sort_by(|(_, one), (_, other)| one.time.cmp(&other.time));
                lines.extend(archives.iter().map(|(name, entry)| line(name, entry)));
            }
        }
    }
    lines.push(DASHES.to_owned());
    lines.push("Type 'YES' if you understand this and want to continue: ".to_owned());
    Ok(context.ask(&Question {
        message: &lines.join("\n"),
        variable: "BORG_DELETE_I_KNOW_WHAT_I_AM_DOING",
        truish: &["YES"],
        no_message: "Aborting.",
        invalid_message: "Invalid answer, aborting.",
        ..Question::default()
    }))
}
