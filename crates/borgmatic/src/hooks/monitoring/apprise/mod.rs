//! Apprise: messages to services that are named by addresses of the Apprise library.
//!
//! The library speaks to more than a hundred services; this knows those of [`address`], and refuses
//! any other address when the configuration is read.

mod address;

use super::tail::Tail;
use super::{Context, Monitor, Node, PingError, Service, State, States, text};
use crate::config::error::ConfigError;
use crate::hooks::credential;
use address::{Address, Kind, Message};

/// The most bytes of a log that go with a message, unless the configuration says otherwise.
const LOG_BYTES: i64 = 100_000;

/// The service.
pub struct Apprise;

struct Messages {
    /// Addresses with their labels.
    services: Vec<(String, String)>,
    states: States,
    /// Titles and texts by state.
    words: [Option<(String, String)>; 4],
    tail: Option<Tail>,
}

impl Service for Apprise {
    fn key(&self) -> &'static str {
        "apprise"
    }

    fn name(&self) -> &'static str {
        "Apprise"
    }

    fn examine(&self, options: &Node, errors: &mut Vec<ConfigError>) {
        let services = options.get("services").map(Node::elements);
        for (index, service) in services.unwrap_or_default().iter().enumerate() {
            let Some(node) = service.get("url") else {
                continue;
            };
            let url = node.as_text().unwrap_or_default();
            // What a credential holds is seen when it is needed.
            if credential::is_named(url) {
                continue;
            }
            if let Err(error) = Address::read(url) {
                errors.push(ConfigError::Invalid {
                    at: node.at.clone(),
                    option: format!("apprise.services[{index}].url"),
                    message: error.to_string(),
                });
            }
        }
    }

    fn begin(&self, options: &Node, context: &Context<'_>) -> Box<dyn Monitor> {
        let services = options.get("services").map(Node::elements);
        let services = services.unwrap_or_default().iter();
        let limit = options.get("logs_size_limit").and_then(Node::as_integer);
        Box::new(Messages {
            services: services
                .map(|service| {
                    let part = |key| text(service, key).unwrap_or_default();
                    (part("url"), part("label"))
                })
                .collect(),
            states: States::read(options, &["fail"]),
            words: ["start", "finish", "fail", "log"].map(|state| {
                let options = options.get(state)?;
                let part = |key| text(options, key).unwrap_or_default();
                Some((part("title"), part("body")))
            }),
            tail: context.tail(options, limit.unwrap_or(LOG_BYTES)),
        })
    }
}

impl Messages {
    fn message(&self, state: State) -> Message {
        let [start, finish, fail, log] = &self.words;
        let (words, kind) = match state {
            State::Start => (start, Kind::Info),
            State::Finish => (finish, Kind::Success),
            State::Fail => (fail, Kind::Failure),
            State::Log => (log, Kind::Info),
        };
        let (title, mut body) = words.clone().unwrap_or_else(|| {
            let state = state.to_string().to_uppercase();
            let text = format!("A borgmatic {state} event happened");
            (text.clone(), text)
        });
        let tail = self.tail.as_ref().filter(|_| state != State::Start);
        let log = tail.map(Tail::text).unwrap_or_default();
        if !log.is_empty() {
            body.push_str("\n\n");
            body.push_str(&log);
        }
        Message {
            title: title.trim().to_owned(),
            body: body.trim_end().to_owned(),
            kind,
        }
    }
}

impl Monitor for Messages {
    fn tell(&mut self, state: State, context: &Context<'_>) -> Result<(), PingError> {
        if !self.states.contain(state) {
            return Ok(());
        }
        let labels = self.services.iter().map(|(_, label)| label.as_str());
        let labels = labels.collect::<Vec<_>>().join(", ");
        context.note(&format!("Pinging Apprise services: {labels}"));
        let message = self.message(state);
        for (url, label) in &self.services {
            // One that fails keeps nothing from the others.
            let result = context
                .secret(url)
                .map_err(PingError::from)
                .and_then(|url| {
                    let address = Address::read(url.reveal());
                    let address = address.map_err(|error| PingError::Refused(error.to_string()))?;
                    for request in address.requests(&message) {
                        context.send(&request.borrowed())?;
                    }
                    Ok(())
                });
            if let Err(error) = result {
                context.warn(&format!("Apprise service {label} {error}"));
            }
        }
        Ok(())
    }
}
