//! Standings of the repositories of some configurations, on this machine and now.

use std::time::{Duration, SystemTime};

use jiff::tz::TimeZone;

use super::Time;
use super::standing::{Observer, Standing};
use crate::config::Configuration;
use crate::config::paths::Variables;
use crate::timers::install;

/// How some repositories stand at a time.
#[derive(Debug)]
pub struct Present {
    /// The time.
    pub now: Time,
    /// One for each configuration and repository.
    pub standings: Vec<Standing>,
}

impl Present {
    /// Looks at all repositories, or those that are called `repository`.
    pub fn of(
        configurations: &[Configuration],
        repository: Option<&str>,
        max_age: Duration,
        now: SystemTime,
        variable: Variables<'_>,
    ) -> Self {
        let now = Time::from(now);
        let zone = TimeZone::system();
        let has_timers =
            |configuration: &Configuration| install::is_installed(&configuration.path, variable);
        let observer = Observer {
            now,
            zone: &zone,
            variable,
            has_timers: &has_timers,
            max_age,
        };
        let mut standings = Vec::new();
        for configuration in configurations {
            let all = configuration.repositories.iter();
            let wanted = all.filter(|one| repository.is_none_or(|name| one.is_called(name)));
            standings.extend(wanted.map(|repository| observer.look(configuration, repository)));
        }
        Self { now, standings }
    }

    /// As [`Self::of`], for this process.
    pub fn of_process(
        configurations: &[Configuration],
        repository: Option<&str>,
        max_age: Duration,
    ) -> Self {
        let variable = |name: &str| std::env::var(name).ok();
        Self::of(
            configurations,
            repository,
            max_age,
            SystemTime::now(),
            &variable,
        )
    }
}
