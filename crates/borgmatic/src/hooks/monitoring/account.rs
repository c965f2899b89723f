//! What of the work on one configuration file was done, for messages to people.

use std::fmt;

/// What became of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// It failed, or what stands before it.
    Failed,
    /// It was not begun.
    NotDone,
}

/// What became of one repository.
#[derive(Debug, Clone)]
struct Repository {
    name: String,
    actions: Vec<(&'static str, Outcome)>,
    error: Option<String>,
}

/// What became of all repositories, in the order in which they were handled last.
#[derive(Debug, Clone, Default)]
pub struct Account(Vec<Repository>);

impl Account {
    /// Notes what became of a repository; a later try replaces an earlier one.
    pub fn note(
        &mut self,
        name: &str,
        actions: Vec<(&'static str, Outcome)>,
        error: Option<String>,
    ) {
        let Self(repositories) = self;
        repositories.retain(|repository| repository.name != name);
        repositories.push(Repository {
            name: name.to_owned(),
            actions,
            error,
        });
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(repositories) = self;
        if repositories.is_empty() {
            writeln!(f, "No repository was worked on.")?;
        }
        for repository in repositories {
            writeln!(f, "{}", repository.name)?;
            for (action, outcome) in &repository.actions {
                let outcome = match outcome {
                    Outcome::Done => "done",
                    Outcome::Failed => "FAILED",
                    Outcome::NotDone => "not done",
                };
                writeln!(f, "    {action:<11} {outcome}")?;
            }
            for line in repository.error.iter().flat_map(|error| error.lines()) {
                writeln!(f, "    {line}")?;
            }
        }
        Ok(())
    }
}
