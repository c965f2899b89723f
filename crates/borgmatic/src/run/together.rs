//! Archives in several repositories, made side by side (`fastness: parallel_repositories`).
//!
//! What is saved is prepared once: hooks around `create`, snapshots, dumps. Then a thread for each
//! repository makes its archive; see [`crate::hooks::dump::shared`] for how one dump reaches all of
//! them. Everything before and after that goes on in turn. A repository that fails takes nothing
//! from the others, and is tried again alone.

use std::path::PathBuf;
use std::time::Duration;

use fastness_borg::facts::Facts;
use fastness_engine::create::Additions;
use serde_json::Value;

use crate::config::Configuration;
use crate::hooks::command::{Scope, Side, State};
use crate::hooks::dump::shared::{PATIENCE, Shared};
use crate::output::log::Level;
use crate::plan::call::Call;
use crate::plan::{RepositoryPlan, Step, Task};

use super::Run;
use super::account::{Account, Begun};
use super::borg::{Invocation, Ran};
use super::file::{Tried, Turn};
use super::hooked::{Choice, Hooks};
use super::making::Making;
use super::outcome::RunError;
use super::report::Report;
use super::runner::Attached;
use super::selection::{Parts, Selection};
use super::steps::Steps;

/// The action that is done side by side.
const CREATE: [&str; 1] = ["create"];

/// What an entry of `repositories` may say for itself when its archive is made beside others: what
/// is saved, and what runs around it, is the same for all.
const OWN_OPTIONS: [&str; 18] = [
    "path",
    "label",
    "encryption",
    "append_only",
    "storage_quota",
    "make_parent_directories",
    "encryption_passphrase",
    "encryption_passcommand",
    "borg_key_file",
    "compression",
    "upload_rate_limit",
    "upload_buffer_size",
    "remote_path",
    "ssh_command",
    "lock_wait",
    "retries",
    "retry_wait",
    "checkpoint_interval",
];

/// Parts what can be run together from what runs alone.
pub fn members(configuration: &Configuration, turns: Vec<Turn>) -> (Vec<Turn>, Vec<Turn>) {
    let wanted = configuration.options.control.side_by_side;
    let entries = configuration.tree.get("repositories");
    let entries = entries.map(|all| all.elements()).unwrap_or_default();
    let is_alike = |number: usize| {
        entries.get(number).is_some_and(|own| {
            let known = |key: &str| OWN_OPTIONS.contains(&key);
            own.entries().iter().all(|entry| known(&entry.key))
        })
    };
    let entry_of = |turn: &Turn| {
        let mut all = configuration.repositories.iter();
        all.position(|one| one.path == turn.plan.repository.path)
    };
    let (together, mut alone): (Vec<Turn>, Vec<Turn>) = turns.into_iter().partition(|turn| {
        wanted && split(&turn.plan).is_some() && entry_of(turn).is_some_and(is_alike)
    });
    if together.len() > 1 {
        return (together, alone);
    }
    alone.extend(together);
    alone.sort_by_key(|turn| turn.number);
    (Vec::new(), alone)
}

/// A plan around the step that makes the archive.
struct Parted<'a> {
    before: &'a [Step],
    create: &'a Step,
    /// The command of that step.
    call: &'a Call,
    after: &'a [Step],
}

/// Parts a plan that makes an archive.
fn split(plan: &RepositoryPlan) -> Option<Parted<'_>> {
    let makes = |step: &Step| matches!(step.task, Task::Create { dry_run: false, .. });
    let place = plan.steps.iter().position(makes)?;
    let (before, rest) = plan.steps.split_at_checked(place)?;
    let (create, after) = rest.split_first()?;
    let Task::Create { call, .. } = &create.task else {
        return None;
    };
    Some(Parted {
        before,
        create,
        call,
        after,
    })
}

/// A repository among several.
struct Member<'a> {
    plan: &'a RepositoryPlan,
    parted: Parted<'a>,
    hooks: Hooks<'a>,
    report: Report,
    account: Account,
    results: Vec<Value>,
    outcome: Result<(), RunError>,
    /// A hook asked to leave it out before anything was done.
    left_out: bool,
    /// The others did not wait for it.
    left_behind: bool,
    /// When the making of its archive began.
    begun: Option<Begun>,
    /// How long that took.
    time: Duration,
    /// What was found out meanwhile.
    facts: Facts,
    /// What people may want to know of the archive.
    told: Option<String>,
}

impl Member<'_> {
    fn name(&self) -> &str {
        self.plan.repository.name()
    }
}

impl Run<'_> {
    /// Runs repositories whose archives are made side by side.
    pub(super) fn run_together(
        &self,
        configuration: &Configuration,
        plans: &[&RepositoryPlan],
        files: &[PathBuf],
    ) -> Vec<Tried> {
        let actions = self.actions();
        let mut members: Vec<Member<'_>> = plans
            .iter()
            .filter_map(|plan| self.member(configuration, plan))
            .collect();
        for member in &mut members {
            self.log.set_prefix(member.name());
            let scope = Scope::Repository;
            let begun = (member.hooks).point(Side::Before, scope, &actions, State::Finish);
            member.left_out = matches!(begun, Err(RunError::SoftFailure));
            member.outcome = begun;
            let steps = member.parted.before;
            self.steps(member, steps, files);
        }
        let common = configuration.path.display().to_string();
        self.archives(&common, &mut members, files);
        for member in &mut members {
            self.log.set_prefix(member.name());
            self.tell_archive(member);
            let steps = member.parted.after;
            self.steps(member, steps, files);
            if member.outcome.is_ok() {
                let scope = Scope::Repository;
                member.outcome = (member.hooks).point(Side::After, scope, &actions, State::Finish);
            } else if !member.left_out {
                member.hooks.after_error(Scope::Repository, &actions);
            }
        }
        let tried = members.into_iter().map(|member| {
            let error = member.outcome.as_ref().err();
            self.account_for(configuration, member.plan, member.account, error);
            Tried {
                result: member.outcome.map(|()| member.results),
                left_behind: member.left_behind,
            }
        });
        tried.collect()
    }

    fn member<'m>(
        &'m self,
        configuration: &Configuration,
        plan: &'m RepositoryPlan,
    ) -> Option<Member<'m>> {
        let parted = split(plan)?;
        self.log.set_prefix(plan.repository.name());
        let missed = self.remember_begin(configuration, plan);
        Some(Member {
            plan,
            parted,
            hooks: self.hooks_of(configuration, &plan.repository),
            report: Report::new(self.person.then(|| self.log.clone())),
            account: Account::begin(&self.runner, &plan.repository, missed),
            results: Vec::new(),
            outcome: Ok(()),
            left_out: false,
            left_behind: false,
            begun: None,
            time: Duration::ZERO,
            facts: Facts::default(),
            told: None,
        })
    }

    /// Runs steps of a member, if nothing failed before.
    fn steps(&self, member: &mut Member<'_>, steps: &[Step], files: &[PathBuf]) {
        if member.outcome.is_err() {
            return;
        }
        let (plan, mut result) = (member.plan, Ok(()));
        self.with_steps(member, files, |own| result = own.run_some(steps, plan));
        member.outcome = result;
    }

    fn with_steps<T>(
        &self,
        member: &mut Member<'_>,
        files: &[PathBuf],
        work: impl FnOnce(&mut Steps<'_>) -> T,
    ) -> T {
        work(&mut Steps {
            runner: &self.runner,
            config_files: files,
            report: &member.report,
            hooks: &member.hooks,
            results: &mut member.results,
            account: &mut member.account,
        })
    }

    /// Makes the archives, between the hooks around that. `common` stands before what is said about
    /// all of them.
    fn archives(&self, common: &str, members: &mut [Member<'_>], files: &[PathBuf]) {
        let mut live: Vec<&mut Member<'_>> = members
            .iter_mut()
            .filter(|member| member.outcome.is_ok())
            .collect();
        for member in &mut live {
            member.begun = Some(Begun::now(&self.runner));
        }
        self.log.set_prefix(common);
        match common_hooks(&mut live, Side::Before, State::Finish) {
            Ok(()) => {
                self.archives_between_own_hooks(common, &mut live, files);
                self.log.set_prefix(common);
                after_archives(&mut live);
            }
            Err(error) => fail_all(&mut live, &error),
        }
        for member in live {
            let Some(begun) = member.begun.take() else {
                continue;
            };
            let begun = begun.took(member.time);
            let (facts, error) = (std::mem::take(&mut member.facts), &member.outcome);
            let error = error.as_ref().err();
            member
                .account
                .step(facts, member.parted.create, begun, error);
        }
    }

    fn archives_between_own_hooks(
        &self,
        common: &str,
        live: &mut [&mut Member<'_>],
        files: &[PathBuf],
    ) {
        for member in &mut *live {
            self.log.set_prefix(member.name());
            member.hooks.choose(Choice::Own);
            let begun = (member.hooks).point(Side::Before, Scope::Action, &CREATE, State::Finish);
            if begun.as_ref().is_err_and(|error| !is_soft(error)) {
                member.hooks.after_error(Scope::Action, &CREATE);
            }
            member.outcome = begun;
        }
        let mut ready: Vec<&mut Member<'_>> = live
            .iter_mut()
            .map(|member| &mut **member)
            .filter(|member| member.outcome.is_ok())
            .collect();
        self.log.set_prefix(common);
        self.make_archives(&mut ready, files);
        for member in ready {
            self.log.set_prefix(member.name());
            let scope = Scope::Action;
            match member.outcome {
                Ok(()) => {
                    member.outcome =
                        (member.hooks).point(Side::After, scope, &CREATE, State::Finish);
                }
                Err(_) => member.hooks.after_error(scope, &CREATE),
            }
        }
        for member in live {
            member.hooks.choose(Choice::All);
        }
    }

    /// Makes the archives of what is prepared once.
    fn make_archives(&self, members: &mut [&mut Member<'_>], files: &[PathBuf]) {
        let Some(first) = members.first() else {
            return;
        };
        let options = &first.plan.repository.options;
        let parts = Parts::of(&first.parted.create.task, files);
        let mut selection = match Selection::of_archive(&self.runner, options, &parts) {
            Ok(selection) => selection,
            Err(error) => return fail_all(members, &error),
        };
        for line in &selection.lines {
            let text = format!("pattern {line}");
            self.log.record(Level::Debug, &text);
        }
        let Additions { streams, aliases } = std::mem::take(&mut selection.additions);
        let names = members.iter().map(|member| member.name().to_owned());
        let shared = Shared::new(names.collect(), &self.log, PATIENCE);
        let (mut works, mut invocations) = (Vec::new(), Vec::new());
        for (number, streams) in shared.split(streams).into_iter().enumerate() {
            let Some(member) = members.get_mut(number) else {
                continue;
            };
            let dumps = selection.dumps.copy();
            let streams = streams.into_iter().map(|stream| dumps.watch(stream));
            let additions = Additions {
                streams: streams.collect(),
                aliases: aliases.clone(),
            };
            member.account.databases = dumps.clone();
            match self.prepare(member, &selection, additions, files) {
                Ok((invocation, making)) => {
                    works.push((number, making));
                    invocations.push(invocation);
                }
                Err(error) => member.outcome = Err(error),
            }
        }
        let all = self.runner.world.borg.run_all(invocations);
        for ((number, making), ran) in works.into_iter().zip(all) {
            if let Some(member) = members.get_mut(number) {
                self.judge(member, making, ran, files);
                member.left_behind = member.outcome.is_err() && shared.left_behind(number);
            }
        }
    }

    fn prepare<'m>(
        &self,
        member: &mut Member<'m>,
        selection: &Selection,
        additions: Additions,
        files: &[PathBuf],
    ) -> Result<(Invocation, Making<'m>), RunError> {
        let (plan, create, call) = (member.plan, member.parted.create, member.parted.call);
        let name = plan.repository.name();
        let about = format!("{name}: ");
        self.log.about(Level::Info, &about, &create.title);
        let attached = Attached {
            additions,
            ..Attached::default()
        };
        self.with_steps(member, files, |steps| {
            steps.making(call, selection, attached, plan, Some(name))
        })
    }

    fn judge(&self, member: &mut Member<'_>, making: Making<'_>, ran: Ran, files: &[PathBuf]) {
        let plan = member.plan;
        let result = self.with_steps(member, files, |steps| steps.made(making, ran.code, plan));
        member.facts = self.runner.take_facts();
        member.time = ran.time;
        match result {
            Ok(told) => member.told = Some(told),
            Err(error) => member.outcome = Err(error),
        }
    }

    /// Tells people of the archive of a member.
    fn tell_archive(&self, member: &Member<'_>) {
        if let (Ok(()), Some(told)) = (&member.outcome, &member.told) {
            let repository = &member.plan.repository;
            if !member.parted.create.title_is_answer {
                member
                    .report
                    .repository(repository.name(), &repository.path);
            }
            member.report.step(member.parted.create, told, member.time);
        }
    }
}

/// Runs the hooks around `create` that are not about one repository: once.
fn common_hooks(members: &mut [&mut Member<'_>], side: Side, state: State) -> Result<(), RunError> {
    let Some(member) = members.first_mut() else {
        return Ok(());
    };
    let hooks = &mut member.hooks;
    hooks.choose(Choice::Shared);
    let result = match state {
        State::Finish => hooks.point(side, Scope::Action, &CREATE, state),
        State::Fail => {
            hooks.after_error(Scope::Action, &CREATE);
            Ok(())
        }
    };
    if side == Side::Before && result.as_ref().is_err_and(|error| !is_soft(error)) {
        hooks.after_error(Scope::Action, &CREATE);
    }
    hooks.choose(Choice::All);
    result
}

/// Runs the hooks after all archives: those for errors when one of them failed.
fn after_archives(members: &mut [&mut Member<'_>]) {
    let failed = members.iter().any(|member| member.outcome.is_err());
    let state = match failed {
        true => State::Fail,
        false => State::Finish,
    };
    if let Err(error) = common_hooks(members, Side::After, state) {
        fail_all(members, &error);
    }
}

fn fail_all(members: &mut [&mut Member<'_>], error: &RunError) {
    for member in members {
        member.outcome = Err(error.copy());
    }
}

fn is_soft(error: &RunError) -> bool {
    matches!(error, RunError::SoftFailure)
}
