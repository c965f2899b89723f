//! Cronitor: an address is asked for, with the state at its end.

use super::net::Request;
use super::{Context, Monitor, Node, PingError, Service, State, text};

/// The service.
pub struct Cronitor;

struct Pings {
    url: String,
}

impl Service for Cronitor {
    fn key(&self) -> &'static str {
        "cronitor"
    }

    fn name(&self) -> &'static str {
        "Cronitor"
    }

    fn begin(&self, options: &Node, _context: &Context<'_>) -> Box<dyn Monitor> {
        let url = text(options, "ping_url").unwrap_or_default();
        Box::new(Pings { url })
    }
}

impl Monitor for Pings {
    fn tell(&mut self, state: State, context: &Context<'_>) -> Result<(), PingError> {
        let end = match state {
            State::Start => "run",
            State::Finish => "complete",
            State::Fail => "fail",
            State::Log => return Ok(()),
        };
        context.note(&format!("Pinging Cronitor {state}"));
        let url = context.secret(&self.url)?;
        let url = format!("{}/{end}", url.reveal());
        context.send(&Request::get(&url))?;
        Ok(())
    }
}
