//! Healthchecks: an address is posted to, with the state at its end and the log as the body.
//!
//! Watchgoose is spoken to in the same way.

use std::sync::LazyLock;

use regex::Regex;

use super::net::Request;
use super::tail::Tail;
use super::{Context, Monitor, Node, PingError, Service, State, States, text};

/// The most bytes of a log that Healthchecks takes.
const LOG_BYTES: i64 = 100_000;

static UUID: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\w{8}-\w{4}-\w{4}-\w{4}-\w{12}$").expect("the pattern is a constant")
});

/// The service.
pub struct Healthchecks;

/// Pings of either service.
pub struct Pings {
    service: &'static str,
    /// Where a check is that is named by its id.
    server: &'static str,
    url: String,
    verify: bool,
    create: bool,
    states: States,
    tail: Option<Tail>,
}

impl Service for Healthchecks {
    fn key(&self) -> &'static str {
        "healthchecks"
    }

    fn name(&self) -> &'static str {
        "Healthchecks"
    }

    fn begin(&self, options: &Node, context: &Context<'_>) -> Box<dyn Monitor> {
        let server = "https://hc-ping.com";
        Box::new(Pings::begin(
            self.name(),
            server,
            LOG_BYTES,
            options,
            context,
        ))
    }
}

impl Pings {
    /// Begins to watch by the options that both services have.
    pub fn begin(
        service: &'static str,
        server: &'static str,
        log_bytes: i64,
        options: &Node,
        context: &Context<'_>,
    ) -> Self {
        let boolean = |key| options.get(key).and_then(Node::as_boolean);
        let limit = options.get("ping_body_limit").and_then(Node::as_integer);
        Self {
            service,
            server,
            url: text(options, "ping_url").unwrap_or_default(),
            verify: boolean("verify_tls").unwrap_or(true),
            create: boolean("create_slug").unwrap_or(false),
            states: States::read(options, &["start", "finish", "fail", "log"]),
            tail: context.tail(options, limit.unwrap_or(log_bytes)),
        }
    }

    fn url(&self, state: State, context: &Context<'_>) -> Result<String, PingError> {
        let url = context.secret(&self.url)?;
        let mut url = match url.reveal() {
            url if url.starts_with("http") => url.to_owned(),
            id => format!("{}/{id}", self.server),
        };
        let names_check = UUID.is_match(&url);
        url.push_str(match state {
            State::Start => "/start",
            State::Finish => "",
            State::Fail => "/fail",
            State::Log => "/log",
        });
        match (self.create, names_check) {
            (true, true) => {
                let text = format!(
                    "{}: \"create_slug\" has no effect on a check that is named by its UUID",
                    self.service
                );
                context.warn(&text);
            }
            (true, false) => url.push_str("?create=1"),
            (false, _) => {}
        }
        Ok(url)
    }
}

impl Monitor for Pings {
    fn tell(&mut self, state: State, context: &Context<'_>) -> Result<(), PingError> {
        if !self.states.contain(state) {
            return Ok(());
        }
        let url = self.url(state, context)?;
        context.note(&format!("Pinging {} {state}", self.service));
        let tail = self.tail.as_ref().filter(|_| state != State::Start);
        let body = tail.map(Tail::text).unwrap_or_default();
        let mut request = Request::post(&url, body);
        request.verify = self.verify;
        context.send(&request)?;
        Ok(())
    }
}
