//! What the tables of a MariaDB server hold, noted with its backup: numbers of rows, and checksums.
//! A restore measures again and so proves itself.
//!
//! A server goes on while it is measured. Only tables that nobody wrote to since the backup began can
//! be told to be the same; the server remembers when it last changed each.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::mariadb::{self, MARIADB};
use super::program::Program;
use super::source::Access;
use super::{DumpError, Tools};
use crate::output::log::Log;

/// As many tables are measured by one call of the client.
const BATCH: usize = 100;

/// Tables that belong to databases of people, in engines whose files a backup has.
const TABLES: &str = "TABLE_TYPE = 'BASE TABLE' AND ENGINE IN ('InnoDB', 'Aria', 'MyISAM', 'ARCHIVE', 'CSV') \
     AND TABLE_SCHEMA NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema')";

/// The name of a table as statements have it.
const NAME: &str =
    "CONCAT('`', REPLACE(TABLE_SCHEMA, '`', '``'), '`.`', REPLACE(TABLE_NAME, '`', '``'), '`')";

/// What a table holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its name as statements have it, `` `shop`.`orders` ``.
    pub name: String,
    /// How many rows it has.
    pub rows: u64,
    /// The server's checksum over all of them, if it was asked for.
    pub checksum: Option<String>,
}

/// Measures the tables of a server.
#[derive(Debug, Clone)]
pub struct Prover {
    client: Program,
    checksums: bool,
}

impl Prover {
    /// One for a configured server, if its entry wants a proof.
    ///
    /// # Errors
    /// When a credential cannot be loaded.
    pub fn configured(access: &Access<'_>) -> Result<Option<Self>, DumpError> {
        let source = access.source;
        let checksums = match source.get("proof") {
            Some("counts") => false,
            Some("checksums") => true,
            _ => return Ok(None),
        };
        let command = source.command(MARIADB.client.0, MARIADB.client.1);
        let client = mariadb::program(access, "", command, None)?;
        let client = client.value("--socket", source.get("socket_path"));
        Ok(Some(Self { client, checksums }))
    }

    /// One for a server without passwords behind a socket, for what was noted once.
    pub fn of_socket(tools: &Tools<'_>, what: &str, socket: &str, noted: &Value) -> Self {
        let client = tools.program(what, MARIADB.client.1);
        let tables = noted.as_array().into_iter().flatten();
        Self {
            client: client.word("--no-defaults").value("--socket", Some(socket)),
            checksums: tables
                .into_iter()
                .any(|table| table["checksum"].is_string()),
        }
    }

    /// Runs statements and returns the rows.
    fn ask(&self, log: &Log, statements: &str) -> Result<Vec<String>, DumpError> {
        let client = self.client.clone();
        let client = client.words(["--batch", "--skip-column-names", "--execute", statements]);
        let text = client.output(log)?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// The server's clock, to be told apart from what it changes later.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn clock(&self, log: &Log) -> Result<i64, DumpError> {
        let rows = self.ask(log, "SELECT UNIX_TIMESTAMP()")?;
        let time = rows.first().and_then(|row| row.parse().ok());
        time.ok_or_else(|| DumpError::Other {
            what: self.client.what.clone(),
            reason: format!("its clock says {rows:?}"),
        })
    }

    /// Measures all tables of people's databases, and tells for each whether it is as it was at
    /// `since`.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn note(&self, log: &Log, since: i64) -> Result<Value, DumpError> {
        let names = self.ask(
            log,
            &format!("SELECT {NAME} FROM information_schema.TABLES WHERE {TABLES} ORDER BY 1"),
        )?;
        let names: Vec<String> = names.iter().map(|name| mariadb::unescaped(name)).collect();
        let tables = self.measure(log, &names)?;
        // Asked for last: what was written while tables were measured counts as well. A second
        // may have begun before the backup did.
        let moved = self.ask(
            log,
            &format!(
                "SELECT {NAME} FROM information_schema.TABLES WHERE {TABLES} AND UPDATE_TIME >= FROM_UNIXTIME({})",
                since - 1
            ),
        )?;
        let moved: Vec<String> = moved.iter().map(|name| mariadb::unescaped(name)).collect();
        let noted = tables.into_iter().map(|table| {
            let still = !moved.contains(&table.name);
            json!({"name": table.name, "rows": table.rows, "checksum": table.checksum, "still": still})
        });
        Ok(noted.collect())
    }

    /// Measures these tables. One that cannot be read, because it is gone by now, is left out.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn measure(&self, log: &Log, names: &[String]) -> Result<Vec<Table>, DumpError> {
        let mut tables = Vec::with_capacity(names.len());
        for batch in names.chunks(BATCH) {
            if let Some(found) = self.ask_about(log, batch).ok().flatten() {
                tables.extend(found);
                continue;
            }
            for name in batch {
                let found = self.ask_about(log, std::slice::from_ref(name));
                tables.extend(found.ok().flatten().into_iter().flatten());
            }
        }
        // A server that is gone has no tables either.
        self.clock(log)?;
        Ok(tables)
    }

    /// Measures these tables at once, if every one of them can be.
    fn ask_about(&self, log: &Log, names: &[String]) -> Result<Option<Vec<Table>>, DumpError> {
        let statements = names.iter().map(|name| match self.checksums {
            true => format!("SELECT COUNT(*) FROM {name}; CHECKSUM TABLE {name} EXTENDED;"),
            false => format!("SELECT COUNT(*) FROM {name};"),
        });
        let rows = self.ask(log, &statements.collect::<String>())?;
        Ok(tables(names, &rows, self.checksums))
    }
}

/// Reads the rows about these tables: a number for each, then its checksum where asked.
fn tables(names: &[String], rows: &[String], checksums: bool) -> Option<Vec<Table>> {
    let mut rows = rows.iter();
    let mut tables = Vec::with_capacity(names.len());
    for name in names {
        let count = rows.next()?.parse().ok()?;
        let checksum = match checksums {
            true => Some(rows.next()?.rsplit_once('\t')?.1.to_owned()),
            false => None,
        };
        tables.push(Table {
            name: name.clone(),
            rows: count,
            checksum,
        });
    }
    rows.next().is_none().then_some(tables)
}

/// What a comparison of restored tables with those of the backup gave.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Tables that hold what they held.
    pub same: usize,
    /// Tables that were written to while the backup was made.
    pub moved: usize,
    /// What is wrong with others, in words.
    pub wrong: Vec<String>,
}

/// The tables whose content is known as of the backup.
pub fn still(noted: &Value) -> Vec<String> {
    let tables = noted.as_array().into_iter().flatten();
    let still = tables.filter(|table| table["still"] == true);
    still
        .filter_map(|table| table["name"].as_str().map(str::to_owned))
        .collect()
}

/// Compares what was noted with the backup with restored tables.
pub fn compare(noted: &Value, now: &[Table]) -> Verdict {
    let now: HashMap<&str, &Table> = now
        .iter()
        .map(|table| (table.name.as_str(), table))
        .collect();
    let mut verdict = Verdict::default();
    for table in noted.as_array().into_iter().flatten() {
        let name = table["name"].as_str().unwrap_or_default();
        if table["still"] != true {
            verdict.moved += 1;
            continue;
        }
        let (rows, checksum) = (table["rows"].as_u64(), table["checksum"].as_str());
        match now.get(name) {
            None => verdict.wrong.push(format!("{name} cannot be read")),
            Some(found) if Some(found.rows) != rows => verdict.wrong.push(format!(
                "{name} has {} rows instead of {}",
                found.rows,
                rows.unwrap_or_default()
            )),
            Some(found) if checksum.is_some() && found.checksum.as_deref() != checksum => {
                verdict.wrong.push(format!("{name} has another checksum"));
            }
            Some(_) => verdict.same += 1,
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str, rows: u64, checksum: Option<&str>) -> Table {
        Table {
            name: name.to_owned(),
            rows,
            checksum: checksum.map(str::to_owned),
        }
    }

    #[test]
    fn each_table_has_its_own_rows_of_the_answer() {
        let names = ["`a`.`b`", "`a`.`c`"].map(str::to_owned);
        let rows = ["3", "a.b\t77", "0", "a.c\t0"].map(str::to_owned);
        let found = tables(&names, &rows, true).expect("a row each");
        assert_eq!(found[0], table("`a`.`b`", 3, Some("77")));
        assert_eq!(found[1], table("`a`.`c`", 0, Some("0")));
        assert_eq!(tables(&names, &rows[..3], true), None);
        assert_eq!(tables(&names, &rows, false), None);
    }

    #[test]
    fn only_tables_that_nobody_wrote_to_are_held_to_what_was_noted() {
        let noted = json!([
            {"name": "`a`.`same`", "rows": 3, "checksum": "77", "still": true},
            {"name": "`a`.`moved`", "rows": 3, "checksum": "77", "still": false},
            {"name": "`a`.`less`", "rows": 3, "checksum": "77", "still": true},
            {"name": "`a`.`other`", "rows": 3, "checksum": "77", "still": true},
            {"name": "`a`.`gone`", "rows": 3, "checksum": "77", "still": true},
        ]);
        let now = [
            table("`a`.`same`", 3, Some("77")),
            table("`a`.`moved`", 9, Some("1")),
            table("`a`.`less`", 2, Some("5")),
            table("`a`.`other`", 3, Some("78")),
        ];
        let verdict = compare(&noted, &now);
        assert_eq!((verdict.same, verdict.moved), (1, 1));
        assert_eq!(
            verdict.wrong,
            [
                "`a`.`less` has 2 rows instead of 3",
                "`a`.`other` has another checksum",
                "`a`.`gone` cannot be read"
            ]
        );
        assert_eq!(still(&noted).len(), 4);
    }
}
