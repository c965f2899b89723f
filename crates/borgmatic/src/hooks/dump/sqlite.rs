//! SQLite: `sqlite3 .dump`, and back.
//!
//! A restore makes a new file, which takes the place of the old one when it is complete.

use std::path::{Path, PathBuf};

use super::source::Access;
use super::{Database, DumpError, DumpForm, PlannedDump, PlannedRestore};

/// The kind of database.
#[derive(Debug)]
pub struct Sqlite;

/// How long a dump waits for writers, in milliseconds.
const PATIENCE: &str = ".timeout 60000";

impl Database for Sqlite {
    fn key(&self) -> &'static str {
        "sqlite_databases"
    }

    fn title(&self) -> &'static str {
        "SQLite"
    }

    fn default_port(&self) -> Option<i64> {
        None
    }

    fn plan(&self, access: &Access<'_>, _: &Path) -> Result<Vec<PlannedDump>, DumpError> {
        let source = access.source;
        let (name, path) = (source.name(), source.get("path").unwrap_or_default());
        let what = access.describe(name);
        // Elsewhere than here, such as in a container, it cannot be seen.
        let here = source.get("sqlite_command").is_none();
        if here && !access.tools.working_directory.join(path).exists() {
            // sqlite3 would make an empty database, and its dump pass for one.
            let reason = format!("there is no file {path:?}; correct \"path\"");
            return Err(DumpError::Other { what, reason });
        }
        let program = access
            .tools
            .program(&what, source.command("sqlite_command", "sqlite3"))
            .words(["-bail", "-cmd", PATIENCE, path, ".dump"]);
        Ok(vec![PlannedDump {
            name: name.to_owned(),
            program,
            form: DumpForm::Stream,
            // It tells of damage in its output alone.
            last: Some("\nCOMMIT;\n"),
        }])
    }

    fn restore(
        &self,
        access: &Access<'_>,
        name: &str,
        _: &DumpForm,
    ) -> Result<PlannedRestore, DumpError> {
        let source = access.source;
        let flag = access
            .restore
            .and_then(|flags| flags.restore_path.as_deref());
        let target = flag.or_else(|| access.source.get("restore_path"));
        let target = target.or_else(|| source.get("path")).unwrap_or_default();
        let target = access.tools.working_directory.join(target);
        let here = source.get("sqlite_restore_command").is_none();
        let new = match here {
            true => beside(&target),
            false => target.clone(),
        };
        let what = access.describe(name);
        let program = access
            .tools
            .program(&what, source.command("sqlite_restore_command", "sqlite3"))
            .word("-bail")
            .word(new.to_string_lossy());
        Ok(PlannedRestore {
            replaces: here.then_some((new, target)),
            ..PlannedRestore::new(program)
        })
    }
}

/// A name for a new file in the same directory.
fn beside(target: &Path) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(format!(".restored-{}", std::process::id()));
    target.with_file_name(name)
}
