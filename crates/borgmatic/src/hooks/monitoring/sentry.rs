//! Sentry: check-ins of a cron monitor, at an address made of the project's data source name.

use super::net::{Request, quoted};
use super::{Context, Monitor, Node, PingError, Service, State, States, text};

/// The service.
pub struct Sentry;

struct CheckIns {
    source: String,
    slug: String,
    environment: Option<String>,
    states: States,
}

impl Service for Sentry {
    fn key(&self) -> &'static str {
        "sentry"
    }

    fn name(&self) -> &'static str {
        "Sentry"
    }

    fn begin(&self, options: &Node, _context: &Context<'_>) -> Box<dyn Monitor> {
        Box::new(CheckIns {
            source: text(options, "data_source_name_url").unwrap_or_default(),
            slug: text(options, "monitor_slug").unwrap_or_default(),
            environment: text(options, "environment").filter(|name| !name.is_empty()),
            states: States::read(options, &["start", "finish", "fail"]),
        })
    }
}

/// The address of check-ins: `PROTOCOL://KEY@HOST/PROJECT` holds all that is needed.
fn address(source: &str, slug: &str) -> Option<String> {
    let (protocol, rest) = source.split_once("://")?;
    let (rest, project) = rest.rsplit_once('/')?;
    let (key, host) = rest.rsplit_once('@')?;
    let whole = [protocol, project, key, host];
    let whole = whole.iter().all(|part| !part.is_empty());
    whole.then(|| format!("{protocol}://{host}/api/{project}/cron/{slug}/{key}/"))
}

impl Monitor for CheckIns {
    fn tell(&mut self, state: State, context: &Context<'_>) -> Result<(), PingError> {
        if !self.states.contain(state) {
            return Ok(());
        }
        let status = match state {
            State::Start => "in_progress",
            State::Finish => "ok",
            State::Fail => "error",
            State::Log => return Ok(()),
        };
        let source = context.secret(&self.source)?;
        let Some(address) = address(source.reveal(), &self.slug) else {
            let text = "\"data_source_name_url\" is not of the form https://KEY@HOST/PROJECT";
            return Err(PingError::Refused(text.to_owned()));
        };
        context.note(&format!("Pinging Sentry {state}"));
        let mut url = format!("{address}?status={status}");
        if let Some(environment) = &self.environment {
            url.push_str("&environment=");
            url.push_str(&quoted(environment, b"/"));
        }
        context.send(&Request::post(&url, ""))?;
        Ok(())
    }
}
