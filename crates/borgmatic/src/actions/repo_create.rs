//! `repo-create`: makes a repository, unless it is there already.

use crate::command_line::actions::RepoCreate;
use crate::plan::call::Show;
use crate::plan::{Context, PlanError, Step, Task};

/// Plans it.
///
/// # Errors
/// When no encryption mode is named anywhere, or something that only Borg 2 has.
pub fn plan(flags: &RepoCreate, context: &Context<'_>) -> Result<Step, PlanError> {
    let repository = context.repository;
    if let Some(option) = repository.borg2_choice {
        return Err(PlanError::Borg2 {
            repository: repository.name().to_owned(),
            option,
        });
    }
    let encryption = flags
        .encryption
        .as_ref()
        .or(repository.encryption.as_ref())
        .ok_or_else(|| PlanError::NoEncryption {
            repository: repository.name().to_owned(),
        })?;
    let quota = flags
        .storage_quota
        .as_ref()
        .or(repository.storage_quota.as_ref());
    let parents =
        flags.make_parent_directories || repository.make_parent_directories.unwrap_or(false);
    let create = context
        .call("init")
        .value("--encryption", Some(encryption))
        .flag(
            "--append-only",
            flags.append_only || repository.append_only.unwrap_or(false),
        )
        .value("--storage-quota", quota)
        .flag("--make-parent-dirs", parents)
        .flag("--info", context.info())
        .flag("--debug", context.debug())
        .number("--lock-wait", context.lock_wait())
        .number("--umask", context.umask())
        .words(context.extra("repo_create"))
        .words(context.extra("init"))
        .word(repository.path.as_str())
        .shown(Show::Through);
    Ok(Step {
        action: "repo-create",
        title: format!("Creating repository{}", context.dry_run_label()),
        title_is_answer: false,
        task: Task::RepoCreate {
            probe: context.identify(),
            encryption: encryption.clone(),
            create: (!context.dry_run).then_some(create),
        },
    })
}
