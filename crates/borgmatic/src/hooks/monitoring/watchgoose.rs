//! Watchgoose: spoken to like Healthchecks.

use super::healthchecks::Pings;
use super::{Context, Monitor, Node, Service};

/// The most bytes of a log that Watchgoose takes.
const LOG_BYTES: i64 = 10_000;

/// The service.
pub struct Watchgoose;

impl Service for Watchgoose {
    fn key(&self) -> &'static str {
        "watchgoose"
    }

    fn name(&self) -> &'static str {
        "Watchgoose"
    }

    fn begin(&self, options: &Node, context: &Context<'_>) -> Box<dyn Monitor> {
        let server = "https://watchgoose.com";
        Box::new(Pings::begin(
            self.name(),
            server,
            LOG_BYTES,
            options,
            context,
        ))
    }
}
