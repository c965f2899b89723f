//! PostgreSQL: `pg_dump` and `pg_dumpall`, `pg_restore` and `psql`.

use std::path::Path;

use super::program::Program;
use super::source::Access;
use super::{Database, DumpError, DumpForm, PlannedDump, PlannedRestore, matching};

/// The kind of database.
#[derive(Debug)]
pub struct PostgreSql;

/// Databases that every server has, and nobody's data is in.
const TEMPLATES: [&str; 2] = ["template0", "template1"];

/// Options that go to the programs by their environment.
const TLS: [(&str, &str); 5] = [
    ("ssl_mode", "PGSSLMODE"),
    ("ssl_cert", "PGSSLCERT"),
    ("ssl_key", "PGSSLKEY"),
    ("ssl_root_cert", "PGSSLROOTCERT"),
    ("ssl_crl", "PGSSLCRL"),
];

/// Begins a program that connects to the server.
fn program(access: &Access<'_>, name: &str, command: &str) -> Result<Program, DumpError> {
    let what = access.describe(name);
    let program = access.tools.program(&what, command);
    let secret = |text: &str| fastness_borg::environment::Secret::new(text.to_owned());
    let program = TLS.iter().fold(program, |program, (key, variable)| {
        program.variable(variable, access.source.get(key).map(secret))
    });
    Ok(program
        .variable("PGPASSWORD", access.secret("password")?)
        .word("--no-password"))
}

/// Adds how the server is reached.
fn server(access: &Access<'_>, program: Program) -> Result<Program, DumpError> {
    Ok(program
        .value("--host", access.hostname()?)
        .value("--port", access.get("port"))
        .value("--username", access.username()?))
}

/// The databases that a name stands for.
fn names(access: &Access<'_>) -> Result<Vec<String>, DumpError> {
    let source = access.source;
    let wanted = source.name();
    let alone = wanted != "all" && !wanted.contains('*');
    if alone || (wanted == "all" && source.get("format").is_none()) {
        return Ok(vec![wanted.to_owned()]);
    }
    let list = program(access, wanted, source.command("psql_command", "psql"))?;
    let list = list.words(["--list", "--no-psqlrc", "--csv", "--tuples-only"]);
    let list = server(access, list)?.split(source.get("list_options"));
    let text = list.output(access.tools.log)?;
    let names = first_fields(&text);
    let names = names
        .into_iter()
        .filter(|name| !TEMPLATES.contains(&name.as_str()));
    matching(access, names.collect())
}

/// The first field of each row of a CSV table, whose fields may be quoted and go over lines.
fn first_fields(text: &str) -> Vec<String> {
    let mut fields = Vec::new();
    let (mut field, mut first, mut quoted) = (String::new(), true, false);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' if quoted && rest.peek() == Some(&'"') => {
                rest.next();
                if first {
                    field.push('"');
                }
            }
            '"' => quoted = !quoted,
            ',' if !quoted => first = false,
            '\n' if !quoted => {
                fields.push(std::mem::take(&mut field));
                first = true;
            }
            c if first => field.push(c),
            _ => {}
        }
    }
    fields.retain(|field| !field.is_empty());
    fields
}

impl Database for PostgreSql {
    fn key(&self) -> &'static str {
        "postgresql_databases"
    }

    fn title(&self) -> &'static str {
        "PostgreSQL"
    }

    fn default_port(&self) -> Option<i64> {
        Some(5432)
    }

    fn plan(&self, access: &Access<'_>, directory: &Path) -> Result<Vec<PlannedDump>, DumpError> {
        let source = access.source;
        let mut dumps = Vec::new();
        for name in names(access)? {
            let all = name == "all";
            let format = source.get("format").or((!all).then_some("custom"));
            let default = if all { "pg_dumpall" } else { "pg_dump" };
            let command = source.command("pg_dump_command", default);
            let form = match format {
                Some("directory") => DumpForm::Directory(directory.join(&name)),
                _ => DumpForm::Stream,
            };
            let dump = program(access, &name, command)?.words(["--clean", "--if-exists"]);
            let dump = server(access, dump)?
                .flag("--no-owner", source.is("no_owner") == Some(true))
                .value("--format", format)
                .value("--compress", source.get("compression"));
            let dump = match &form {
                DumpForm::Directory(path) => dump.value("--file", path.to_str()),
                DumpForm::Stream => dump,
            };
            let dump = dump.split(source.get("options"));
            dumps.push(PlannedDump {
                program: if all { dump } else { dump.word(&name) },
                name,
                form,
                last: None,
            });
        }
        Ok(dumps)
    }

    fn restore(
        &self,
        access: &Access<'_>,
        name: &str,
        dump: &DumpForm,
    ) -> Result<PlannedRestore, DumpError> {
        let source = access.source;
        let all = name == "all";
        let database = (!all).then_some(name);
        let psql = source.command("psql_command", "psql");
        let plain = all || source.get("format") == Some("plain");
        let restore = if plain {
            program(access, name, psql)?.word("--no-psqlrc")
        } else {
            let command = source.command("pg_restore_command", "pg_restore");
            let flags = ["--if-exists", "--exit-on-error", "--clean"];
            program(access, name, command)?.words(flags)
        };
        // A dump of all databases makes roles that are there, so errors are normal in it.
        let restore = restore
            .flag("--set=ON_ERROR_STOP=1", plain && !all)
            .value("--dbname", database);
        let restore = server(access, restore)?
            .flag("--no-owner", !plain && source.is("no_owner") == Some(true))
            .split(source.get("restore_options"));
        let restore = match dump {
            DumpForm::Directory(path) => restore.word(path.to_string_lossy()),
            DumpForm::Stream => restore,
        };
        let schemas = access.restore.map(|flags| flags.schemas.as_slice());
        let schemas = schemas.unwrap_or_default().iter();
        let restore = schemas.fold(restore, |restore, schema| {
            restore.word("--schema").word(schema)
        });
        let analyze = program(access, name, psql)?.words(["--no-psqlrc", "--quiet"]);
        let analyze = server(access, analyze)?
            .value("--dbname", database)
            .split(source.get("analyze_options"))
            .words(["--command", "ANALYZE"]);
        Ok(PlannedRestore {
            then: vec![analyze],
            ..PlannedRestore::new(restore)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_whatever_is_in_them() {
        let table =
            "users,me,UTF8\n\"a,b\",me,UTF8\n\"a \"\"quote\"\"\",me,\"x\ny\"\n\"two\nlines\",me,\n";
        assert_eq!(
            first_fields(table),
            ["users", "a,b", "a \"quote\"", "two\nlines"]
        );
        assert_eq!(first_fields(""), [""; 0]);
    }
}
