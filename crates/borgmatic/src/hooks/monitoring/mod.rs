//! Services that are told how backups go: when one starts, ends, fails, and what its log says.
//!
//! Each `Service` is a file of its own and a line in `SERVICES`. [`Monitors`] are those that
//! one configuration file names: the run tells them a [`State`], each makes the requests that
//! borgmatic 2.1 makes. No request takes longer than [`TIME_LIMIT`], and none that fails is more
//! than a warning: a backup does not depend on who watches it.

mod apprise;
mod cronitor;
mod healthchecks;
mod loki;
mod mail;
pub mod net;
mod ntfy;
mod pagerduty;
mod pushover;
mod sentry;
mod tail;
mod uptime_kuma;
mod watchgoose;
mod zabbix;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use fastness_borg::environment::Secret;

use super::credential::{CredentialError, CredentialSettings, Credentials};
use crate::config::error::ConfigError;
use crate::config::tree::Node;
use crate::output::log::{Level, Log};
use crate::report::Report;
use net::{Net, NetError, Request};
use tail::Tail;

/// How long one request may take.
pub const TIME_LIMIT: Duration = Duration::from_secs(10);

/// The verbosity of logs that are sent, unless the configuration says otherwise.
pub const DEFAULT_VERBOSITY: i64 = 1;

/// All services, in the order in which they are told.
static SERVICES: [&dyn Service; 12] = [
    &apprise::Apprise,
    &cronitor::Cronitor,
    &healthchecks::Healthchecks,
    &loki::Loki,
    &mail::Mail,
    &ntfy::Ntfy,
    &pagerduty::PagerDuty,
    &pushover::Pushover,
    &sentry::Sentry,
    &uptime_kuma::UptimeKuma,
    &watchgoose::Watchgoose,
    &zabbix::Zabbix,
];

/// What a service is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The work begins.
    Start,
    /// The work is over; this is its log.
    Log,
    /// It went well.
    Finish,
    /// It did not.
    Fail,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "start",
            Self::Log => "log",
            Self::Finish => "finish",
            Self::Fail => "fail",
        })
    }
}

/// A kind of service.
trait Service: Sync {
    /// Its option.
    fn key(&self) -> &'static str;

    /// Its name in messages.
    fn name(&self) -> &'static str;

    /// Its options in a configuration; those that borgmatic does not know stand apart.
    fn options<'a>(&self, root: &'a Node) -> Option<&'a Node> {
        root.get(self.key())
    }

    /// Finds what is wrong in its options beyond their types.
    fn examine(&self, _options: &Node, _errors: &mut Vec<ConfigError>) {}

    /// Begins to watch for one configuration file, by options that were validated.
    fn begin(&self, options: &Node, context: &Context<'_>) -> Box<dyn Monitor>;
}

/// A service at work for one configuration file.
trait Monitor {
    /// Tells the service how it goes.
    fn tell(&mut self, state: State, context: &Context<'_>) -> Result<(), PingError>;

    /// Sends what has not been sent yet; nothing comes after it.
    fn end(&mut self, _context: &Context<'_>) {}
}

/// Why a service was not told.
#[derive(Debug, thiserror::Error)]
enum PingError {
    /// The request failed.
    #[error("error: {0}")]
    Net(#[from] NetError),
    /// A credential cannot be loaded.
    #[error("credential error: {0}")]
    Credential(#[from] CredentialError),
    /// The service or its options say no.
    #[error("error: {0}")]
    Refused(String),
}

/// What services work with.
pub struct Context<'a> {
    /// The configuration file.
    pub path: &'a Path,
    /// Where records go.
    pub log: &'a Log,
    /// The level of logs that are sent.
    pub verbosity: i64,
    /// Send nothing.
    pub dry_run: bool,
    /// The environment.
    pub variables: &'a BTreeMap<OsString, OsString>,
    /// Where secrets come from.
    pub credentials: &'a Credentials,
    /// The options about that.
    pub settings: &'a CredentialSettings,
    /// The time of day.
    pub now: &'a dyn Fn() -> SystemTime,
    /// The way to services.
    pub net: Net,
    /// What was done, as far as it is known.
    pub account: Rc<RefCell<Report>>,
}

impl Context<'_> {
    /// Returns the secret that a value of the configuration is or names.
    fn secret(&self, value: &str) -> Result<Secret, CredentialError> {
        self.credentials
            .resolve(value, self.settings, self.variables)
    }

    /// Sends a request, unless nothing is to be sent; then there is no answer.
    fn send(&self, request: &Request<'_>) -> Result<Option<String>, NetError> {
        match self.dry_run {
            true => Ok(None),
            false => self.net.send(request, TIME_LIMIT).map(Some),
        }
    }

    /// Tells about a request that is made now.
    fn note(&self, text: &str) {
        let dry_run = match self.dry_run {
            true => " (dry run; not actually sending)",
            false => "",
        };
        self.log.record(Level::Info, &format!("{text}{dry_run}"));
    }

    fn warn(&self, text: &str) {
        self.log.record(Level::Warning, text);
    }

    /// Keeps the end of the log, if the options of a service ask for it.
    fn tail(&self, options: &Node, limit: i64) -> Option<Tail> {
        let wanted = options.get("send_logs").and_then(Node::as_boolean)?;
        wanted.then(|| Tail::begin(self.log, self.verbosity, limit))
    }
}

/// The states in which a service is told, as configured or as a rule.
struct States(Vec<String>);

impl States {
    fn read(options: &Node, default: &[&str]) -> Self {
        let default = || default.iter().map(|state| (*state).to_owned()).collect();
        Self(options.get("states").map_or_else(default, |states| {
            let states = states.elements().iter().filter_map(Node::as_text);
            states.map(str::to_owned).collect()
        }))
    }

    fn contain(&self, state: State) -> bool {
        self.0.iter().any(|name| *name == state.to_string())
    }
}

fn text(options: &Node, key: &str) -> Option<String> {
    options.get(key)?.as_text().map(str::to_owned)
}

/// The name of this machine.
fn hostname() -> String {
    let system = rustix::system::uname();
    system.nodename().to_string_lossy().into_owned()
}

/// Finds what is wrong in the options of services beyond their types.
pub fn examine(root: &Node, errors: &mut Vec<ConfigError>) {
    for service in SERVICES {
        if let Some(options) = service.options(root) {
            service.examine(options, errors);
        }
    }
}

/// Sends a message of our own to those whom the mail options of a configuration name.
///
/// # Errors
/// A text for people: why it was not sent.
pub fn post(root: &Node, context: &Context<'_>, message: [String; 2]) -> Result<(), String> {
    let Some(options) = mail::Mail.options(root) else {
        return Err("there is no \"fastness: mail:\" in it".to_owned());
    };
    mail::post(options, context, message).map_err(|error| error.to_string())
}

/// The services that one configuration file names, at work.
pub struct Monitors<'a> {
    context: Context<'a>,
    monitors: Vec<(&'static str, Box<dyn Monitor>)>,
}

impl<'a> Monitors<'a> {
    /// Begins to watch by the options of `root`; nobody watches at a verbosity of -2.
    pub fn begin(root: &Node, context: Context<'a>) -> Self {
        let monitors = match context.verbosity {
            ..=-2 => Vec::new(),
            _ => SERVICES
                .iter()
                .filter_map(|service| {
                    let options = service.options(root)?;
                    Some((service.name(), service.begin(options, &context)))
                })
                .collect(),
        };
        Self { context, monitors }
    }

    /// Tells all services how it goes.
    pub fn tell(&mut self, state: State) {
        for (name, monitor) in &mut self.monitors {
            if let Err(error) = monitor.tell(state, &self.context) {
                self.context.warn(&format!("{name} {error}"));
            }
        }
    }

    /// Sends what is left.
    pub fn end(mut self) {
        for (_, monitor) in &mut self.monitors {
            monitor.end(&self.context);
        }
    }
}
