//! PagerDuty: an event when a backup fails.

use jiff::Zoned;
use serde_json::json;

use super::net::Request;
use super::tail::Tail;
use super::{Context, Monitor, Node, PingError, Service, State, hostname, text};

const EVENTS: &str = "https://events.pagerduty.com/v2/enqueue";

/// The most bytes of a log that are sent with an event.
const LOG_BYTES: i64 = 10_000;

/// The service.
pub struct PagerDuty;

struct Events {
    key: String,
    tail: Option<Tail>,
}

impl Service for PagerDuty {
    fn key(&self) -> &'static str {
        "pagerduty"
    }

    fn name(&self) -> &'static str {
        "PagerDuty"
    }

    fn begin(&self, options: &Node, context: &Context<'_>) -> Box<dyn Monitor> {
        Box::new(Events {
            key: text(options, "integration_key").unwrap_or_default(),
            tail: context.tail(options, LOG_BYTES),
        })
    }
}

impl Monitor for Events {
    fn tell(&mut self, state: State, context: &Context<'_>) -> Result<(), PingError> {
        if state != State::Fail {
            return Ok(());
        }
        context.note("Sending failure event to PagerDuty");
        let key = context.secret(&self.key)?;
        let host = hostname();
        let now = Zoned::try_from((context.now)())
            .map(|now| now.strftime("%Y-%m-%dT%H:%M:%S.%6f%:z").to_string());
        let now = now.unwrap_or_default();
        let event = json!({
            "routing_key": key.reveal(),
            "event_action": "trigger",
            "payload": {
                "summary": format!("backup failed on {host}"),
                "severity": "error",
                "source": host,
                "timestamp": now,
                "component": "borgmatic",
                "group": "backups",
                "class": "backup failure",
                "custom_details": {
                    "hostname": host,
                    "configuration filename": context.path.to_string_lossy(),
                    "server time": now,
                    "logs": self.tail.as_ref().map(Tail::text).unwrap_or_default(),
                },
            },
        });
        context.send(&Request::post(EVENTS, event.to_string()))?;
        Ok(())
    }
}
