//! Command hooks around what a run does: before it, after it, and when something failed.

use crate::config::Configuration;
use crate::config::typed::Options;
use crate::hooks::command::{CommandError, CommandHook, Scope, Shell, Side, State};
use crate::output::log::{Level, Log};
use crate::patterns;

use super::World;
use super::outcome::RunError;

/// Which hooks run where archives are made side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// All of them.
    All,
    /// Those that run once for all repositories.
    Shared,
    /// Those whose commands name a repository: once for each.
    Own,
}

/// The command hooks of some options, with what their commands may name.
pub struct Hooks<'a> {
    hooks: &'a [CommandHook],
    choice: Choice,
    shell: Shell<'a>,
}

impl<'a> Hooks<'a> {
    /// Makes the hooks of a configuration file, or of one of its repositories by its `options`.
    pub fn new(
        configuration: &Configuration,
        options: &'a Options,
        world: &'a World,
        log: &Log,
        dry_run: bool,
    ) -> Self {
        let variable = |name: &str| world.variable(name);
        let path = configuration.path.display().to_string();
        Self {
            hooks: &options.commands,
            choice: Choice::All,
            shell: Shell {
                directory: patterns::working_directory(&options.sources, &variable),
                umask: options.access.umask,
                dry_run,
                environment: &world.variables,
                variables: vec![
                    ("configuration_filename", path),
                    (
                        "log_file",
                        options.output.log_file.clone().unwrap_or_default(),
                    ),
                ],
                log: log.clone(),
            },
        }
    }

    /// Adds values that commands may name.
    #[must_use]
    pub fn with(mut self, variables: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        self.shell.variables.extend(variables);
        self
    }

    /// From now on runs only some of them.
    pub fn choose(&mut self, choice: Choice) {
        self.choice = choice;
    }

    /// Does `work` between the hooks before it and those after it.
    ///
    /// # Errors
    /// That of the work, else of a hook.
    pub fn around<T>(
        &self,
        scope: Scope,
        actions: &[&str],
        work: impl FnOnce() -> Result<T, RunError>,
    ) -> Result<T, RunError> {
        if let Err(error) = self.point(Side::Before, scope, actions, State::Finish) {
            if !matches!(error, RunError::SoftFailure) {
                self.after_error(scope, actions);
            }
            return Err(error);
        }
        match work() {
            Ok(value) => {
                self.point(Side::After, scope, actions, State::Finish)?;
                Ok(value)
            }
            Err(error) => {
                self.after_error(scope, actions);
                Err(error)
            }
        }
    }

    /// Runs the hooks after something that failed; what failed first is what counts.
    pub fn after_error(&self, scope: Scope, actions: &[&str]) {
        match self.point(Side::After, scope, actions, State::Fail) {
            Ok(()) | Err(RunError::SoftFailure) => {}
            Err(error) => self.shell.log.record(Level::Error, &error.to_string()),
        }
    }

    /// Runs the hooks of one point.
    ///
    /// # Errors
    /// When a command fails.
    pub fn point(
        &self,
        side: Side,
        scope: Scope,
        actions: &[&str],
        state: State,
    ) -> Result<(), RunError> {
        let chosen = |hook: &CommandHook| match self.choice {
            Choice::All => true,
            Choice::Shared => !hook.names_repository(),
            Choice::Own => hook.names_repository(),
        };
        let applies =
            |hook: &&CommandHook| chosen(hook) && hook.applies(side, scope, actions, state);
        for hook in self.hooks.iter().filter(applies) {
            self.shell
                .run(hook)
                .map_err(|source| self.explain(side, scope, source))?;
        }
        Ok(())
    }

    /// Runs the hooks around everything that did not run for an earlier file.
    ///
    /// # Errors
    /// When a command fails.
    pub fn everything(
        &self,
        side: Side,
        actions: &[&str],
        state: State,
        seen: &mut Vec<CommandHook>,
    ) -> Result<(), RunError> {
        let scope = Scope::Everything;
        let before = seen.clone();
        for hook in self.hooks {
            if !before.contains(hook) && hook.applies(side, scope, actions, state) {
                self.shell
                    .run(hook)
                    .map_err(|source| self.explain(side, scope, source))?;
                seen.push(hook.clone());
            }
        }
        Ok(())
    }

    fn explain(&self, side: Side, scope: Scope, source: CommandError) -> RunError {
        let soft = matches!(source, CommandError::Soft { .. });
        if soft && scope != Scope::Everything {
            let text = "Command hook exited with soft failure exit code (75); skipping remaining repository actions";
            self.shell.log.record(Level::Info, text);
            return RunError::SoftFailure;
        }
        if let CommandError::Interrupted = source
            && let Some(code) = fastness_borg::signals::code_of_end()
        {
            return RunError::Signal { code };
        }
        let side = match side {
            Side::Before => "before",
            Side::After => "after",
        };
        RunError::Hook {
            hook: format!("{side} {scope}"),
            source,
        }
    }
}
