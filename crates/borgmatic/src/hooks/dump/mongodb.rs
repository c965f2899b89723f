//! MongoDB: `mongodump` and `mongorestore`.

use std::path::Path;

use fastness_borg::environment::Secret;

use super::program::Program;
use super::source::Access;
use super::{Database, DumpError, DumpForm, PlannedDump, PlannedRestore};

/// The kind of database.
#[derive(Debug)]
pub struct MongoDb;

/// Adds how the server is reached. The password goes by a file in YAML.
fn server(access: &Access<'_>, program: Program) -> Result<Program, DumpError> {
    let program = program
        .value("--host", access.hostname()?)
        .value("--port", access.get("port"))
        .value("--username", access.username()?);
    let password = access.secret("password")?;
    let password = password.filter(|password| !password.reveal().is_empty());
    let program = match password {
        None => program,
        Some(password) => {
            // A JSON string is a YAML string.
            let text = serde_json::Value::from(password.reveal());
            let text = Secret::new(format!("password: {text}"));
            match access.source.get("password_transport") {
                Some("file") => {
                    let file = access.tools.private_file("mongodb.yaml", &text)?;
                    program.value("--config", file.to_str())
                }
                _ => program.word("--config").private_file("", text),
            }
        }
    };
    let database = access.source.get("authentication_database");
    Ok(program.value("--authenticationDatabase", database))
}

impl Database for MongoDb {
    fn key(&self) -> &'static str {
        "mongodb_databases"
    }

    fn title(&self) -> &'static str {
        "MongoDB"
    }

    fn default_port(&self) -> Option<i64> {
        Some(27017)
    }

    fn plan(&self, access: &Access<'_>, directory: &Path) -> Result<Vec<PlannedDump>, DumpError> {
        let source = access.source;
        let name = source.name();
        let form = match source.get("format") {
            Some("directory") => DumpForm::Directory(directory.join(name)),
            _ => DumpForm::Stream,
        };
        let command = source.command("mongodump_command", "mongodump");
        let program = access.tools.program(&access.describe(name), command);
        let program = match &form {
            DumpForm::Directory(path) => program.value("--out", path.to_str()),
            DumpForm::Stream => program,
        };
        let program = server(access, program)?
            .value("--db", (name != "all").then_some(name))
            .split(source.get("options"))
            .flag("--archive", form == DumpForm::Stream);
        Ok(vec![PlannedDump {
            name: name.to_owned(),
            program,
            form,
            last: None,
        }])
    }

    fn restore(
        &self,
        access: &Access<'_>,
        name: &str,
        dump: &DumpForm,
    ) -> Result<PlannedRestore, DumpError> {
        let source = access.source;
        let command = source.command("mongorestore_command", "mongorestore");
        let program = access.tools.program(&access.describe(name), command);
        let program = match dump {
            DumpForm::Stream => program.word("--archive"),
            DumpForm::Directory(path) => program.value("--dir", path.to_str()),
        };
        let program = server(access, program.flag("--drop", name != "all"))?
            .split(source.get("restore_options"));
        let schemas = access.restore.map(|flags| flags.schemas.as_slice());
        let schemas = schemas.unwrap_or_default().iter();
        Ok(PlannedRestore::new(
            schemas.fold(program, |program, schema| {
                program.word("--nsInclude").word(schema)
            }),
        ))
    }
}
