//! One entry of the options about databases, and what it says for dumps and for restores.

use std::collections::BTreeMap;
use std::fmt;

use super::{Database, DumpError, Tools, container};
use crate::config::tree::{Node, Value};
use fastness_borg::environment::Secret;

/// One entry, such as one of `postgresql_databases`. Its values may be secrets: they are not printed.
#[derive(Clone)]
pub struct Source {
    /// The database hook it belongs to.
    pub database: &'static dyn Database,
    values: BTreeMap<String, String>,
    lists: BTreeMap<String, Vec<String>>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.database.key(), self.name())
    }
}

impl Source {
    /// Reads an entry that was validated.
    pub fn read(database: &'static dyn Database, node: &Node) -> Self {
        let (mut values, mut lists) = (BTreeMap::new(), BTreeMap::new());
        for entry in node.entries() {
            let (key, node) = (entry.key.clone(), &entry.value);
            if let Value::List(_) = node.value {
                let texts = node.elements().iter().filter_map(Node::as_text);
                lists.insert(key, texts.map(str::to_owned).collect());
            } else if let Some(text) = scalar(node) {
                values.insert(key, text);
            }
        }
        Self {
            database,
            values,
            lists,
        }
    }

    /// The value of an option.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    /// The value of a switch.
    pub fn is(&self, key: &str) -> Option<bool> {
        self.get(key).map(|value| value == "true")
    }

    /// The words of a list.
    pub fn list(&self, key: &str) -> &[String] {
        self.lists.get(key).map(Vec::as_slice).unwrap_or_default()
    }

    /// Its name, which may stand for several databases.
    pub fn name(&self) -> &str {
        self.get("name").unwrap_or_default()
    }

    /// The port as a number.
    pub fn port(&self) -> Option<i64> {
        self.get("port")?.parse().ok()
    }

    /// The command of an option, or what it is by default.
    pub fn command<'a>(&'a self, key: &str, default: &'a str) -> &'a str {
        self.get(key)
            .filter(|command| !command.is_empty())
            .unwrap_or(default)
    }

    /// The name of its directory in archives.
    pub fn directory(&self) -> String {
        if let Some(label) = self.get("label").filter(|label| !label.is_empty()) {
            return label.to_owned();
        }
        let host = self.get("container").or_else(|| self.get("hostname"));
        let host = host.filter(|host| !host.is_empty()).unwrap_or("localhost");
        match self.get("port") {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }
}

fn scalar(node: &Node) -> Option<String> {
    let boolean = || node.as_boolean().map(|value| value.to_string());
    let integer = || node.as_integer().map(|number| number.to_string());
    boolean()
        .or_else(integer)
        .or_else(|| node.as_text().map(str::to_owned))
}

/// What the flags of `restore` say instead of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overrides {
    /// The container restored to.
    pub container: Option<String>,
    /// The server.
    pub hostname: Option<String>,
    /// Its port.
    pub port: Option<String>,
    /// The user.
    pub username: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// The file restored to.
    pub restore_path: Option<String>,
    /// Only these schemas.
    pub schemas: Vec<String>,
}

/// How a server is reached: for a dump by the options, for a restore by flags, `restore_…` options,
/// options, whichever is there first.
#[derive(Clone, Copy)]
pub struct Access<'a> {
    /// The entry.
    pub source: &'a Source,
    /// For restores: the flags.
    pub restore: Option<&'a Overrides>,
    /// What the run lends.
    pub tools: &'a Tools<'a>,
}

impl Access<'_> {
    /// One of the databases it stands for, or without a name the server, for messages.
    pub fn describe(&self, name: &str) -> String {
        let title = self.source.database.title();
        let flags = self.restore;
        let flag = flags.and_then(|flags| flags.container.clone().or(flags.hostname.clone()));
        let host = flag
            .or_else(|| self.get("container"))
            .or_else(|| self.get("hostname"))
            .or_else(|| self.get("socket_path"));
        let port = self.get("port").map(|port| format!(":{port}"));
        let what = match name {
            "" => title.to_owned(),
            name => format!("{title} database {name:?}"),
        };
        match (host, self.get("path")) {
            (None, Some(path)) => format!("{what} in {path}"),
            (host, _) => format!(
                "{what} on {}{}",
                host.unwrap_or_else(|| "localhost".to_owned()),
                port.unwrap_or_default()
            ),
        }
    }

    /// An option that may have another value for restores.
    pub fn get(&self, key: &str) -> Option<String> {
        let source = self.source;
        let Some(flags) = self.restore else {
            return source.get(key).map(str::to_owned);
        };
        let flag = match key {
            "port" => flags.port.clone(),
            "username" => flags.username.clone(),
            "password" => flags.password.as_ref().map(|text| text.reveal().to_owned()),
            _ => None,
        };
        let own = || source.get(&format!("restore_{key}"));
        flag.or_else(|| own().or_else(|| source.get(key)).map(str::to_owned))
    }

    /// The server; a container is asked for its address.
    ///
    /// # Errors
    /// When a container has none.
    pub fn hostname(&self) -> Result<Option<String>, DumpError> {
        let ask = |name: &str| container::address(name, self.tools).map(Some);
        if let Some(flags) = self.restore {
            let own = |key: &str| self.source.get(key).map(str::to_owned);
            return match (&flags.container, &flags.hostname) {
                (Some(container), _) => ask(container),
                (None, Some(hostname)) => Ok(Some(hostname.clone())),
                (None, None) => match (own("restore_container"), own("restore_hostname")) {
                    (Some(container), _) => ask(&container),
                    (None, Some(hostname)) => Ok(Some(hostname)),
                    (None, None) => self.configured(),
                },
            };
        }
        self.configured()
    }

    fn configured(&self) -> Result<Option<String>, DumpError> {
        match self.source.get("container") {
            Some(name) => container::address(name, self.tools).map(Some),
            None => Ok(self.source.get("hostname").map(str::to_owned)),
        }
    }

    /// A value that may name a credential.
    ///
    /// # Errors
    /// When that cannot be loaded.
    pub fn secret(&self, key: &str) -> Result<Option<Secret>, DumpError> {
        let value = self.get(key);
        value.map(|value| self.tools.resolve(&value)).transpose()
    }

    /// The user, who may be named by a credential.
    ///
    /// # Errors
    /// When that cannot be loaded.
    pub fn username(&self) -> Result<Option<String>, DumpError> {
        let user = self.secret("username")?;
        Ok(user.map(|user| user.reveal().to_owned()))
    }
}
