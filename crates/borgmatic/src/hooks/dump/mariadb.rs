//! MariaDB: `mariadb-dump` and `mariadb`. MySQL differs in names only (see `mysql`).

use std::path::Path;

use fastness_borg::environment::Secret;

use super::program::Program;
use super::source::Access;
use super::{Database, DumpError, DumpForm, PlannedDump, PlannedRestore, matching};
use crate::output::log::Level;

/// MariaDB.
pub static MARIADB: Family = Family {
    key: "mariadb_databases",
    title: "MariaDB",
    dump: ("mariadb_dump_command", "mariadb-dump"),
    client: ("mariadb_command", "mariadb"),
    left_out: &["information_schema", "performance_schema", "sys"],
    saves_users: true,
};

/// A server of this family, with the names of its programs.
#[derive(Debug)]
pub struct Family {
    /// The option with its databases.
    pub key: &'static str,
    /// Its name.
    pub title: &'static str,
    /// The option for the dump program, and that program.
    pub dump: (&'static str, &'static str),
    /// The same for the client.
    pub client: (&'static str, &'static str),
    /// What `all` does not mean.
    pub left_out: &'static [&'static str],
    /// Whether the dump program can save users and the like of the database `mysql`.
    pub saves_users: bool,
}

/// The database with the server's own tables.
const SYSTEM: &str = "mysql";

/// Begins a program: what must come first are the files with options.
///
/// # Errors
/// When a credential cannot be loaded.
pub(super) fn program(
    access: &Access<'_>,
    name: &str,
    command: &str,
    options: Option<&str>,
) -> Result<Program, DumpError> {
    let source = access.source;
    let program = access.tools.program(&access.describe(name), command);
    let mut words = shlex::split(options.unwrap_or_default()).unwrap_or_default();
    // Clients take one such file only.
    let first = words
        .first()
        .and_then(|word| word.strip_prefix("--defaults-extra-file="));
    let include = first.map(str::to_owned);
    if include.is_some() {
        words.remove(0);
    }
    let (username, password) = (access.username()?, access.secret("password")?);
    let program = match source.get("password_transport") {
        Some("environment") => program
            .value("--user", username.filter(|user| !user.is_empty()))
            .variable("MYSQL_PWD", password),
        _ => match (defaults(username.as_deref(), password.as_ref()), include) {
            (None, None) => program,
            (None, Some(file)) => program.word(format!("--defaults-extra-file={file}")),
            (Some(text), include) => {
                let include = include.map(|file| format!("!include {file}\n"));
                let text = include.unwrap_or_default() + text.reveal();
                program.private_file("--defaults-extra-file=", Secret::new(text))
            }
        },
    };
    Ok(program.words(words))
}

/// The file that tells a client who it is.
fn defaults(username: Option<&str>, password: Option<&Secret>) -> Option<Secret> {
    let quoted = |key: &str, value: &str| {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"");
        format!("{key}=\"{}\"\n", value.replace('\n', "\\n"))
    };
    let user = username.map(|user| quoted("user", user));
    let password = password.map(|password| quoted("password", password.reveal()));
    if user.is_none() && password.is_none() {
        return None;
    }
    let (user, password) = (user.unwrap_or_default(), password.unwrap_or_default());
    Some(Secret::new(format!("[client]\n{user}{password}")))
}

/// Adds how the server is reached.
fn server(access: &Access<'_>, program: Program) -> Result<Program, DumpError> {
    let (hostname, port) = (access.hostname()?, access.get("port"));
    let tcp = hostname.is_some() || port.is_some();
    let tls = access.get("tls");
    Ok(program
        .value("--host", hostname)
        .value("--port", port)
        .value("--protocol", tcp.then_some("tcp"))
        .value("--socket", access.get("socket_path"))
        .flag("--ssl", tls.as_deref() == Some("true"))
        .flag("--skip-ssl", tls.as_deref() == Some("false")))
}

impl Family {
    fn names(&self, access: &Access<'_>) -> Result<Vec<String>, DumpError> {
        let source = access.source;
        let wanted = source.name();
        if wanted != "all" && !wanted.contains('*') {
            if !source.list("skip_names").is_empty() {
                let text = format!(
                    "{}: \"skip_names\" means nothing beside a single name",
                    access.describe(wanted)
                );
                access.tools.log.record(Level::Warning, &text);
            }
            return Ok(vec![wanted.to_owned()]);
        }
        let command = source.command(self.client.0, self.client.1);
        let list = program(access, wanted, command, source.get("list_options"))?;
        let list = server(access, list)?.words(["--skip-column-names", "--batch"]);
        let list = list.words(["--execute", "show schemas"]);
        let text = list.output(access.tools.log)?;
        let names = text.lines().map(unescaped);
        let names = names.filter(|name| !self.left_out.contains(&name.as_str()));
        matching(access, names.collect())
    }

    fn dump(
        &self,
        access: &Access<'_>,
        name: &str,
        databases: &[String],
    ) -> Result<PlannedDump, DumpError> {
        let source = access.source;
        let wanted = |key: &str| source.is(key) != Some(false);
        let command = source.command(self.dump.0, self.dump.1);
        let dump = program(access, name, command, source.get("options"))?
            .flag("--add-drop-database", wanted("add_drop_database"))
            .word("--single-transaction");
        let is_system = |name: &&String| self.saves_users && *name == SYSTEM;
        let saves_users = databases.iter().any(|name| is_system(&name));
        let dump = server(access, dump)?
            .flag("--events", wanted("events"))
            .flag("--routines", wanted("routines"))
            .flag("--all-tablespaces", wanted("tablespaces"))
            .flag("--system=users,udfs,servers", saves_users)
            // Users that the server has already do not end the restore. Never --replace: it would
            // take the rights of the user who restores.
            .flag("--insert-ignore", saves_users)
            .word("--databases")
            .words(databases.iter().filter(|name| !is_system(name)));
        Ok(PlannedDump {
            name: name.to_owned(),
            program: dump,
            form: DumpForm::Stream,
            last: None,
        })
    }
}

/// A name as the client prints it in batches.
pub(super) fn unescaped(line: &str) -> String {
    let mut name = String::new();
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => name.extend(rest.next().map(|c| match c {
                'n' => '\n',
                't' => '\t',
                '0' => '\0',
                other => other,
            })),
            c => name.push(c),
        }
    }
    name
}

impl Database for Family {
    fn key(&self) -> &'static str {
        self.key
    }

    fn title(&self) -> &'static str {
        self.title
    }

    fn default_port(&self) -> Option<i64> {
        Some(3306)
    }

    fn plan(&self, access: &Access<'_>, _: &Path) -> Result<Vec<PlannedDump>, DumpError> {
        let source = access.source;
        let names = self.names(access)?;
        let each = source.name().contains('*')
            || (source.name() == "all" && source.get("format").is_some());
        if !each {
            return Ok(vec![self.dump(access, source.name(), &names)?]);
        }
        names
            .iter()
            .map(|name| self.dump(access, name, std::slice::from_ref(name)))
            .collect()
    }

    fn restore(
        &self,
        access: &Access<'_>,
        name: &str,
        _: &DumpForm,
    ) -> Result<PlannedRestore, DumpError> {
        let source = access.source;
        let command = source.command(self.client.0, self.client.1);
        let restore = program(access, name, command, source.get("restore_options"))?;
        let restore = server(access, restore.word("--batch"))?;
        Ok(PlannedRestore::new(restore))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_breaks_out_of_its_quotes() {
        let password = Secret::new("a\"b\\c\nhost=evil".to_owned());
        let text = defaults(Some("me"), Some(&password)).unwrap();
        assert_eq!(
            text.reveal(),
            "[client]\nuser=\"me\"\npassword=\"a\\\"b\\\\c\\nhost=evil\"\n"
        );
        assert!(defaults(None, None).is_none());
    }

    #[test]
    fn names_are_read_as_the_client_prints_them() {
        assert_eq!(unescaped("plain"), "plain");
        assert_eq!(unescaped("two\\nlines\\\\"), "two\nlines\\");
    }
}
