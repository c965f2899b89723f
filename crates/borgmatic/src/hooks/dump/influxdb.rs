//! InfluxDB: `influx backup` and `influx restore`, which work on directories.

use std::path::Path;

use super::program::Program;
use super::source::Access;
use super::{Database, DumpError, DumpForm, PlannedDump, PlannedRestore};

/// The kind of database.
#[derive(Debug)]
pub struct InfluxDb;

/// Begins `influx backup` or `influx restore`. The token goes by the environment.
fn program(access: &Access<'_>, name: &str, verb: &str) -> Result<Program, DumpError> {
    let source = access.source;
    let command = source.command("influx_command", "influx");
    let program = access.tools.program(&access.describe(name), command);
    Ok(program
        .variable("INFLUX_TOKEN", access.secret("password")?)
        .word(verb))
}

/// The server's address.
fn host(access: &Access<'_>) -> Result<String, DumpError> {
    let scheme = match access.source.is("tls") {
        Some(false) => "http",
        _ => "https",
    };
    let hostname = access.hostname()?.filter(|host| !host.is_empty());
    let hostname = hostname.unwrap_or_else(|| "localhost".to_owned());
    let port = access.get("port").unwrap_or_else(|| "8086".to_owned());
    Ok(format!("{scheme}://{hostname}:{port}"))
}

/// Adds the organization and the bucket, each by its id if that is known.
fn choice(access: &Access<'_>, name: &str, program: Program) -> Program {
    let source = access.source;
    let (organization, bucket) = (source.get("organization_id"), source.get("bucket_id"));
    let by_name = source.get("organization_name");
    program
        .value("--org-id", organization)
        .value("--org", by_name.filter(|_| organization.is_none()))
        .value("--bucket-id", bucket)
        .value(
            "--bucket",
            (name != "all" && bucket.is_none()).then_some(name),
        )
}

impl Database for InfluxDb {
    fn key(&self) -> &'static str {
        "influxdb_databases"
    }

    fn title(&self) -> &'static str {
        "InfluxDB"
    }

    fn default_port(&self) -> Option<i64> {
        Some(8086)
    }

    fn plan(&self, access: &Access<'_>, directory: &Path) -> Result<Vec<PlannedDump>, DumpError> {
        let source = access.source;
        let name = source.name();
        let path = directory.join(name);
        let program = program(access, name, "backup")?
            .flag("--skip-verify", source.is("verify_tls") == Some(false))
            .word("--host")
            .word(host(access)?)
            .value("--configs-path", source.get("configurations_path"))
            .value("--active-config", source.get("active_configuration"));
        let program = choice(access, name, program)
            .value("--compression", source.get("compression"))
            .word(path.to_string_lossy());
        Ok(vec![PlannedDump {
            name: name.to_owned(),
            program,
            form: DumpForm::Directory(path),
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
        let program = program(access, name, "restore")?
            .word("--host")
            .word(host(access)?);
        let program = choice(access, name, program)
            .value("--new-bucket", source.get("restore_bucket"))
            .value("--new-org", source.get("restore_organization"))
            .value("--configs-path", source.get("configurations_path"))
            .value("--active-config", source.get("active_configuration"))
            .flag("--skip-verify", source.is("verify_tls") == Some(false))
            .flag("--full", source.is("full_replace") == Some(true));
        let DumpForm::Directory(path) = dump else {
            let what = access.describe(name);
            let reason = "its dump must be a directory, and is a file".to_owned();
            return Err(DumpError::Other { what, reason });
        };
        let program = program.word(path.to_string_lossy());
        Ok(PlannedRestore::new(program))
    }
}
