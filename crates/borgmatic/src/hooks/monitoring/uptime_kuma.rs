//! Uptime Kuma: an address is asked for, with the state in its query.

use super::net::Request;
use super::{Context, Monitor, Node, PingError, Service, State, States, text};

/// The service.
pub struct UptimeKuma;

struct Pushes {
    url: String,
    verify: bool,
    states: States,
}

impl Service for UptimeKuma {
    fn key(&self) -> &'static str {
        "uptime_kuma"
    }

    fn name(&self) -> &'static str {
        "Uptime Kuma"
    }

    fn begin(&self, options: &Node, _context: &Context<'_>) -> Box<dyn Monitor> {
        let verify = options.get("verify_tls").and_then(Node::as_boolean);
        Box::new(Pushes {
            url: text(options, "push_url").unwrap_or_default(),
            verify: verify.unwrap_or(true),
            states: States::read(options, &["start", "finish", "fail"]),
        })
    }
}

impl Monitor for Pushes {
    fn tell(&mut self, state: State, context: &Context<'_>) -> Result<(), PingError> {
        if !self.states.contain(state) {
            return Ok(());
        }
        let status = match state {
            State::Fail => "down",
            State::Start | State::Finish | State::Log => "up",
        };
        context.note(&format!("Pushing Uptime Kuma {state}"));
        let url = context.secret(&self.url)?;
        let url = format!("{}?status={status}&msg={state}", url.reveal());
        let mut request = Request::get(&url);
        request.verify = self.verify;
        context.send(&request)?;
        Ok(())
    }
}
