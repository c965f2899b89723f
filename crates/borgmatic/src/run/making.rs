//! Making an archive: what it is made of, how much there is, and what became of it.
//!
//! Preparing, running and judging are apart, for archives may be made side by side
//! ([`super::together`]).

use std::io;

use fastness_borg::foresight::Foresight;
use serde_json::Value;

use crate::directories::state_directory;
use crate::output::log::Level;
use crate::patterns;
use crate::plan::call::Call;
use crate::plan::{Form, RepositoryPlan};

use super::borg::Invocation;
use super::estimate::{Count, Sizes, Total};
use super::outcome::RunError;
use super::report;
use super::runner::{Attached, Extra, Pending, parse_json};
use super::selection::{Parts, Selection};
use super::steps::Steps;

/// An archive that is being made.
pub struct Making<'c> {
    call: &'c Call,
    pending: Pending<'c>,
    sizes: Sizes,
    /// Whether people are told its figures.
    told: bool,
    _count: Option<Count>,
}

impl Steps<'_> {
    /// Makes an archive, and returns what people may want to know of it.
    ///
    /// # Errors
    /// When it was not made.
    pub(super) fn create(
        &mut self,
        call: &Call,
        parts: &Parts<'_>,
        estimate: Option<Form>,
        plan: &RepositoryPlan,
    ) -> Result<String, RunError> {
        let mut selection = Selection::of_archive(self.runner, &plan.repository.options, parts)?;
        let additions = std::mem::take(&mut selection.additions);
        self.account.databases = selection.dumps.clone();
        let runner = self.runner;
        for line in &selection.lines {
            runner.log.record(Level::Debug, &format!("pattern {line}"));
        }
        let attached = Attached {
            additions,
            foresight: estimate.map(|_| Foresight::default()),
            ..Attached::default()
        };
        let foresight = attached.foresight.clone();
        let (invocation, making) = self.making(call, &selection, attached, plan, None)?;
        let code = runner.world.borg.run(invocation);
        let told = self.made(making, code, plan)?;
        Ok(match (estimate, foresight) {
            (Some(form), Some(foresight)) => self.foretell(&foresight, form, &plan.repository),
            _ => told,
        })
    }

    /// Prepares the making of an archive. `about` is its name where others are made beside it.
    ///
    /// # Errors
    /// When there is no passphrase for the repository.
    pub fn making<'c>(
        &self,
        call: &'c Call,
        selection: &Selection,
        attached: Attached,
        plan: &'c RepositoryPlan,
        about: Option<&str>,
    ) -> Result<(Invocation, Making<'c>), RunError> {
        let options = &plan.repository.options;
        let variable = |name: &str| self.runner.world.variable(name);
        let state = state_directory(&options.access, &variable);
        let sizes = Sizes::new(&state, &plan.repository.path);
        let total = sizes.last().map_or_else(Total::default, Total::of);
        let count = (total.get().is_none() && self.runner.draws_progress()).then(|| {
            let directory = patterns::working_directory(&options.sources, &variable);
            let one_file_system = options.making.one_file_system;
            Count::begin(&selection.lines, &directory, one_file_system, &total)
        });
        let report = self.report_flag(call, "--json");
        let extra = Extra {
            patterns: selection.file(),
            total: Some(&total),
            report,
            about,
            ..Extra::default()
        };
        let prepared = self
            .runner
            .prepare(call, &plan.environment, extra, attached);
        let (invocation, pending) = prepared?;
        let making = Making {
            call,
            pending,
            sizes,
            told: report.is_some(),
            _count: count,
        };
        Ok((invocation, making))
    }

    /// Says what became of an archive.
    ///
    /// # Errors
    /// When it was not made.
    pub fn made(
        &mut self,
        making: Making<'_>,
        code: io::Result<u8>,
        plan: &RepositoryPlan,
    ) -> Result<String, RunError> {
        let given = self.runner.ended(making.pending, code)?;
        self.keep_result(making.call, &given, &plan.repository)?;
        let told = match making.told {
            true => parse_json(&given.data).unwrap_or_default(),
            false => Value::Null,
        };
        let original = report::original_size(&told);
        making.sizes.remember(given.progress.done.max(original));
        Ok(match told {
            Value::Null => String::new(),
            told => report::archive(&told),
        })
    }
}
