//! `fastness digest`: sends the summary of some days, or prints it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::config::Configuration;
use crate::hooks::monitoring::net::Net;
use crate::hooks::monitoring::{Context, post};
use crate::output::log::{Log, LogSettings};
use crate::report::digest::{Period, Told, message};
use crate::report::present::Present;
use crate::report::record::{Place, host};
use crate::report::standing::MAX_AGE;
use crate::report::{Report, history};

use super::World;

/// Makes the summary of a configuration: subject and body. Without a period of its own it is about
/// a day.
pub fn compose(configuration: &Configuration, world: &World) -> [String; 2] {
    let variable = |name: &str| world.variable(name);
    let one = std::slice::from_ref(configuration);
    let present = Present::of(one, None, MAX_AGE, (world.now)(), &variable);
    let repositories = configuration.repositories.iter();
    let told: Vec<Told> = repositories
        .zip(present.standings)
        .map(|(repository, standing)| {
            let place = Place::of(configuration, repository, &variable);
            // That they cannot be read stands in the standing.
            let runs = history::read(&place.history()).unwrap_or_default();
            Told { standing, runs }
        })
        .collect();
    let period = Period::of(configuration).unwrap_or(Period::Day);
    message(&host(), period, &told, present.now)
}

/// Sends a message to those whom the configuration names.
///
/// # Errors
/// A text for people: why it was not sent.
pub fn send(
    configuration: &Configuration,
    world: &World,
    message: [String; 2],
) -> Result<(), String> {
    let variables: &BTreeMap<_, _> = &world.variables;
    let settings = LogSettings {
        verbosity: 0,
        color: [false; 2],
        json: false,
        progress_columns: None,
    };
    let log = &Log::new(
        settings,
        Box::new(std::io::stdout()),
        Box::new(std::io::stderr()),
    );
    let context = Context {
        path: &configuration.path,
        log,
        verbosity: 0,
        dry_run: false,
        variables,
        credentials: &Rc::default(),
        settings: &configuration.options.access.credentials,
        now: &world.now,
        net: Net::new(variables),
        account: Rc::new(RefCell::new(Report::default())),
    };
    post(&configuration.tree, &context, message)
}
