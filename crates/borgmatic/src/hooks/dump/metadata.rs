//! Which dumps an archive holds: `borgmatic/<hook>/dumps.json`, as borgmatic writes it.

use serde_json::{Map, Value, json};

use super::source::Source;
use crate::glob;

/// One dump, as its archive describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dump {
    /// `postgresql_databases` and so on.
    pub hook: String,
    /// The database.
    pub name: String,
    /// The server.
    pub hostname: Option<String>,
    /// Its port.
    pub port: Option<i64>,
    /// Name of the source.
    pub label: Option<String>,
    /// The container of the server.
    pub container: Option<String>,
}

impl Dump {
    /// Describes one of the databases of an entry.
    pub fn new(source: &Source, name: &str) -> Self {
        let text = |key: &str| source.get(key).map(str::to_owned);
        Self {
            hook: source.database.key().to_owned(),
            name: name.to_owned(),
            hostname: text("hostname"),
            port: source.port(),
            label: text("label"),
            container: text("container"),
        }
    }

    /// The name of its directory in archives.
    pub fn directory(&self, port: Option<i64>) -> String {
        if let Some(label) = self.label.as_ref().filter(|label| !label.is_empty()) {
            return label.clone();
        }
        let host = self.container.as_ref().or(self.hostname.as_ref());
        let host = host.map_or("localhost", String::as_str);
        match port {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }

    /// Tells whether an entry of the configuration is about this dump, under its own name or that
    /// of `all`.
    pub fn is_of(&self, source: &Source, name: &str) -> bool {
        if self.hook != source.database.key() || !names_match(source.name(), name) {
            return false;
        }
        let own = Self::new(source, name);
        let label = own.label.as_ref().filter(|label| !label.is_empty());
        if label.is_some() && own.label == self.label {
            return true;
        }
        let default = source.database.default_port();
        let port = |port: Option<i64>| port.or(default);
        // An entry without a label may have made a dump under one that it had before.
        let label = label.is_none() || own.label == self.label;
        label
            && own.hostname == self.hostname
            && port(own.port) == port(self.port)
            && own.container == self.container
    }

    fn json(&self) -> Value {
        json!({
            "container": self.container,
            "data_source_name": self.name,
            "hook_name": self.hook,
            "hostname": self.hostname,
            "label": self.label,
            "port": self.port,
        })
    }

    fn read(value: &Value) -> Option<Self> {
        let members: &Map<String, Value> = value.as_object()?;
        let text = |key: &str| Some(members.get(key)?.as_str()?.to_owned());
        Some(Self {
            hook: text("hook_name")?,
            name: text("data_source_name")?,
            hostname: text("hostname"),
            port: members.get("port").and_then(Value::as_i64),
            label: text("label"),
            container: text("container"),
        })
    }
}

impl std::fmt::Display for Dump {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, hook, .. } = self;
        write!(f, "{name}@{} ({hook})", self.directory(self.port))
    }
}

/// Tells whether two names mean the same database; each may be a glob.
pub fn names_match(one: &str, other: &str) -> bool {
    one == other || glob::matches(one, other) || glob::matches(other, one)
}

/// Writes the description of some dumps.
pub fn write(dumps: &[Dump]) -> String {
    let dumps: Vec<Value> = dumps.iter().map(Dump::json).collect();
    json!({ "dumps": dumps }).to_string()
}

/// Reads the description of some dumps; none when it is damaged.
pub fn read(text: &[u8]) -> Option<Vec<Dump>> {
    let value: Value = serde_json::from_slice(text).ok()?;
    let dumps = value.get("dumps")?.as_array()?;
    dumps.iter().map(Dump::read).collect()
}

/// Understands the path of a dump in an archive without a description:
/// `HOOK/HOST[:PORT]/NAME`.
pub fn from_path(below: &str) -> Option<Dump> {
    let mut parts = below.split('/');
    let (hook, host, name) = (parts.next()?, parts.next()?, parts.next()?);
    let (host, port) = match host.split_once(':') {
        Some((host, port)) => (host, port.parse().ok()),
        None => (host, None),
    };
    Some(Dump {
        hook: hook.to_owned(),
        name: name.to_owned(),
        hostname: (host != "localhost").then(|| host.to_owned()),
        port,
        label: None,
        container: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_are_read_as_borgmatic_writes_them() {
        let text = br#"{"dumps": [{"container": null, "data_source_name": "a b", "hook_name": "mysql_databases", "hostname": "h", "label": null, "port": 3307}]}"#;
        let dumps = read(text).unwrap();
        assert_eq!(dumps[0].directory(dumps[0].port), "h:3307");
        assert_eq!(dumps[0].to_string(), "a b@h:3307 (mysql_databases)");
        assert_eq!(read(write(&dumps).as_bytes()).unwrap(), dumps);
        for damaged in [&b"{}"[..], b"[]", b"{\"dumps\": [1]}", b"x", b""] {
            assert_eq!(read(damaged), None);
        }
    }

    #[test]
    fn a_path_tells_what_the_dump_is() {
        let dump = from_path("postgresql_databases/localhost/users").unwrap();
        assert_eq!((dump.hostname, dump.port), (None, None));
        let dump = from_path("mariadb_databases/db.example.org:3307/users").unwrap();
        assert_eq!(dump.hostname.as_deref(), Some("db.example.org"));
        assert_eq!((dump.port, dump.name.as_str()), (Some(3307), "users"));
        assert_eq!(from_path("postgresql_databases/localhost"), None);
    }
}
