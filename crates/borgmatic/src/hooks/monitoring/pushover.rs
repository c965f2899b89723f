//! Pushover: a message to the devices of a user.

use super::net::{Request, form};
use super::{Context, Monitor, Node, PingError, Service, State, States, text};
use crate::config::error::ConfigError;
use crate::config::tree::Value;

const MESSAGES: &str = "https://api.pushover.net/1/messages.json";

/// The priority at which a user is asked to confirm, again and again.
const EMERGENCY: i64 = 2;

/// The service.
pub struct Pushover;

struct Messages {
    token: String,
    user: String,
    states: States,
    /// The fields of a message at the start, the end, and a failure.
    fields: [Vec<(String, String)>; 3],
}

impl Service for Pushover {
    fn key(&self) -> &'static str {
        "pushover"
    }

    fn name(&self) -> &'static str {
        "Pushover"
    }

    fn examine(&self, options: &Node, errors: &mut Vec<ConfigError>) {
        for state in ["start", "finish", "fail"] {
            let Some(message) = options.get(state) else {
                continue;
            };
            for key in ["expire", "retry"] {
                if let Some(node) = message.get(key)
                    && !is_emergency(message)
                {
                    errors.push(ConfigError::Invalid {
                        at: node.at.clone(),
                        option: format!("pushover.{state}.{key}"),
                        message: "belongs to priority 2 only".to_owned(),
                    });
                }
            }
        }
    }

    fn begin(&self, options: &Node, _context: &Context<'_>) -> Box<dyn Monitor> {
        Box::new(Messages {
            token: text(options, "token").unwrap_or_default(),
            user: text(options, "user").unwrap_or_default(),
            states: States::read(options, &["fail"]),
            fields: ["start", "finish", "fail"]
                .map(|state| options.get(state).map(fields).unwrap_or_default()),
        })
    }
}

fn is_emergency(message: &Node) -> bool {
    message.get("priority").and_then(Node::as_integer) == Some(EMERGENCY)
}

fn fields(message: &Node) -> Vec<(String, String)> {
    let value = |node: &Node| {
        let boolean = node.as_boolean().map(i64::from);
        match (&node.value, boolean.or_else(|| node.as_integer())) {
            (_, Some(number)) => Some(number.to_string()),
            (Value::Text(text), None) => Some(text.clone()),
            _ => None,
        }
    };
    let entries = message.entries().iter();
    let mut fields: Vec<(String, String)> = entries
        .filter_map(|entry| Some((entry.key.clone(), value(&entry.value)?)))
        .collect();
    if is_emergency(message) {
        for (key, default) in [("expire", "600"), ("retry", "30")] {
            if message.get(key).is_none() {
                fields.push((key.to_owned(), default.to_owned()));
            }
        }
    }
    fields
}

impl Monitor for Messages {
    fn tell(&mut self, state: State, context: &Context<'_>) -> Result<(), PingError> {
        let [start, finish, fail] = &self.fields;
        let fields = match state {
            State::Start => start,
            State::Finish => finish,
            State::Fail => fail,
            State::Log => return Ok(()),
        };
        if !self.states.contain(state) {
            return Ok(());
        }
        let (token, user) = (context.secret(&self.token)?, context.secret(&self.user)?);
        context.note("Updating Pushover");
        let mut all = vec![
            ("token", token.reveal().to_owned()),
            ("user", user.reveal().to_owned()),
        ];
        if !fields.iter().any(|(key, _)| key == "message") {
            all.push(("message", state.to_string()));
        }
        all.extend(
            fields
                .iter()
                .map(|(key, value)| (key.as_str(), value.clone())),
        );
        let request = Request::post(MESSAGES, form(all));
        let request = request.header("Content-Type", "application/x-www-form-urlencoded");
        context.send(&request)?;
        Ok(())
    }
}
