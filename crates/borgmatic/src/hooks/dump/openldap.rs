//! OpenLDAP: `slapcat` and `slapadd`. The second wants a stopped server with an empty database.

use std::path::Path;

use super::source::Access;
use super::{Database, DumpError, DumpForm, PlannedDump, PlannedRestore};

/// The kind of database.
#[derive(Debug)]
pub struct OpenLdap;

/// Words that make the programs say as much as the run does.
fn debug_words(access: &Access<'_>) -> &'static [&'static str] {
    match access.tools.log.settings().verbosity {
        2.. => &["-d", "65535"],
        1 => &["-d", "256"],
        _ => &[],
    }
}

impl Database for OpenLdap {
    fn key(&self) -> &'static str {
        "openldap_databases"
    }

    fn title(&self) -> &'static str {
        "OpenLDAP"
    }

    fn default_port(&self) -> Option<i64> {
        None
    }

    fn plan(&self, access: &Access<'_>, _: &Path) -> Result<Vec<PlannedDump>, DumpError> {
        let source = access.source;
        let name = source.name();
        let what = access.describe(name);
        if name == "all" {
            let reason = "slapcat saves one database at a time; name each by its base DN";
            let reason = reason.to_owned();
            return Err(DumpError::Other { what, reason });
        }
        let program = access
            .tools
            .program(&what, source.command("slapcat_command", "slapcat"))
            .words(debug_words(access).iter().copied())
            .words(["-b", name]);
        Ok(vec![PlannedDump {
            name: name.to_owned(),
            program,
            form: DumpForm::Stream,
            last: None,
        }])
    }

    fn restore(
        &self,
        access: &Access<'_>,
        name: &str,
        _: &DumpForm,
    ) -> Result<PlannedRestore, DumpError> {
        let source = access.source;
        let command = source.command("slapadd_command", "slapadd");
        let program = access.tools.program(&access.describe(name), command);
        let program = program.words(debug_words(access).iter().copied());
        Ok(PlannedRestore::new(program.words(["-b", name])))
    }
}
