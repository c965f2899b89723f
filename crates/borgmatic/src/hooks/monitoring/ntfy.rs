//! ntfy: a message to a topic.

use serde_json::json;

use super::net::{Request, basic};
use super::{Context, Monitor, Node, PingError, Service, State, States, text};
use crate::output::log::Level;

/// The service.
pub struct Ntfy;

struct Messages {
    topic: String,
    server: String,
    username: Option<String>,
    password: Option<String>,
    access_token: Option<String>,
    states: States,
    messages: [Option<Message>; 3],
}

#[derive(Clone)]
struct Message {
    title: Option<String>,
    message: Option<String>,
    priority: Option<String>,
    tags: Option<String>,
}

impl Service for Ntfy {
    fn key(&self) -> &'static str {
        "ntfy"
    }

    fn name(&self) -> &'static str {
        "ntfy"
    }

    fn begin(&self, options: &Node, _context: &Context<'_>) -> Box<dyn Monitor> {
        let server = text(options, "server");
        Box::new(Messages {
            topic: text(options, "topic").unwrap_or_default(),
            server: server.unwrap_or_else(|| "https://ntfy.sh".to_owned()),
            username: text(options, "username"),
            password: text(options, "password"),
            access_token: text(options, "access_token"),
            states: States::read(options, &["fail"]),
            messages: ["start", "finish", "fail"].map(|state| {
                let options = options.get(state)?;
                Some(Message {
                    title: text(options, "title"),
                    message: text(options, "message"),
                    priority: text(options, "priority"),
                    tags: text(options, "tags"),
                })
            }),
        })
    }
}

impl Message {
    /// What is sent when the configuration has no words for a state.
    fn usual(state: State) -> Self {
        let state = state.to_string().to_uppercase();
        let text = format!("A borgmatic {state} event happened");
        Self {
            title: Some(text.clone()),
            message: Some(text),
            priority: None,
            tags: Some("borgmatic".to_owned()),
        }
    }

    fn priority(&self) -> u8 {
        match self.priority.as_deref() {
            Some("max" | "urgent") => 5,
            Some("high") => 4,
            Some("low") => 2,
            Some("min") => 1,
            _ => 3,
        }
    }

    fn tags(&self) -> Vec<&str> {
        let tags = self.tags.as_deref().unwrap_or_default().split(',');
        tags.map(str::trim).filter(|tag| !tag.is_empty()).collect()
    }
}

impl Messages {
    /// The header by which the server knows us.
    fn login(&self, context: &Context<'_>) -> Result<Option<String>, PingError> {
        let secret = |value: &Option<String>| {
            let value = value.as_deref().map(|value| context.secret(value));
            value.transpose()
        };
        let (username, password) = (secret(&self.username)?, secret(&self.password)?);
        if let Some(token) = secret(&self.access_token)? {
            if username.is_some() || password.is_some() {
                context
                    .warn("ntfy: \"access_token\" is used, \"username\" and \"password\" are not");
            }
            return Ok(Some(format!("Bearer {}", token.reveal())));
        }
        match (username, password) {
            (Some(name), Some(password)) => Ok(Some(basic(name.reveal(), password.reveal()))),
            (Some(_), None) => {
                context.warn("ntfy: \"username\" is not used without \"password\"");
                Ok(None)
            }
            (None, Some(_)) => {
                context.warn("ntfy: \"password\" is not used without \"username\"");
                Ok(None)
            }
            (None, None) => Ok(None),
        }
    }
}

impl Monitor for Messages {
    fn tell(&mut self, state: State, context: &Context<'_>) -> Result<(), PingError> {
        let [start, finish, fail] = &self.messages;
        let message = match state {
            State::Start => start,
            State::Finish => finish,
            State::Fail => fail,
            State::Log => return Ok(()),
        };
        if !self.states.contain(state) {
            return Ok(());
        }
        let message = message.clone().unwrap_or_else(|| Message::usual(state));
        context.note(&format!("Pinging ntfy topic {} with {state}", self.topic));
        let body = json!({
            "topic": self.topic,
            "title": message.title,
            "message": message.message,
            "priority": message.priority(),
            "tags": message.tags(),
        });
        let server = context.secret(&self.server)?;
        let mut request = Request::post(server.reveal(), body.to_string())
            .header("Content-Type", "application/json");
        if let Some(login) = self.login(context)? {
            context
                .log
                .record(Level::Debug, "ntfy: with authentication");
            request = request.header("Authorization", login);
        }
        context.send(&request)?;
        Ok(())
    }
}
