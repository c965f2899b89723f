//! The person in front of a run, or the variables that speak for them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fastness_engine::keys::{KeyError, Passphrase, PassphraseSource};
use fastness_engine::security;

use crate::console::Prompt;
use crate::environment::{Environment, PassphraseSources, Secret};
use crate::output::questions::{self, Question};
use crate::passphrase;
use crate::reporter::Reporter;

/// Answers questions and gives passphrases.
#[derive(Clone)]
pub struct Person<'a> {
    environment: &'a Environment,
    reporter: Arc<Reporter>,
    prompt: Arc<Mutex<Box<dyn Prompt>>>,
    passphrases: &'a PassphraseSources,
}

impl<'a> Person<'a> {
    /// Takes the variables of `environment` for answers, and asks `prompt` where there is none.
    pub fn new(
        environment: &'a Environment,
        reporter: Arc<Reporter>,
        prompt: Box<dyn Prompt>,
    ) -> Self {
        Self {
            environment,
            reporter,
            prompt: Arc::new(Mutex::new(prompt)),
            passphrases: &environment.passphrases,
        }
    }

    /// Returns the same person with the passphrase of the repository that archives are copied
    /// from; the usual one when no other is given.
    #[must_use]
    pub fn at_source(&self) -> Self {
        let other = &self.environment.other_passphrases;
        Self {
            passphrases: match other.is_given() {
                true => other,
                false => self.passphrases,
            },
            ..self.clone()
        }
    }

    /// Asks a question and returns whether the answer was yes.
    pub fn ask(&self, question: &Question<'_>) -> bool {
        let mut prompt = self.prompt();
        questions::ask(
            question,
            self.reporter.log(),
            self.environment,
            prompt.as_mut(),
        )
    }

    /// Returns one line that the person types; nothing when nobody does.
    pub fn line(&self) -> Option<String> {
        self.prompt().line()
    }

    fn prompt(&self) -> MutexGuard<'_, Box<dyn Prompt>> {
        self.prompt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PassphraseSource for Person<'_> {
    fn given(&self) -> Result<Option<Passphrase>, KeyError> {
        let given = passphrase::given(self.passphrases).map_err(KeyError::Passcommand)?;
        Ok(given.as_ref().map(engine_passphrase))
    }

    fn given_new(&self) -> Option<Passphrase> {
        self.environment
            .passphrases
            .new_passphrase
            .as_ref()
            .map(engine_passphrase)
    }

    fn prompt(&self, text: &str) -> Result<Passphrase, KeyError> {
        match self.prompt().secret(text) {
            Some(typed) => Ok(engine_passphrase(&typed)),
            None => Err(KeyError::NoPassphrase(passphrase::nobody_to_ask(
                self.environment,
            ))),
        }
    }

    fn tell(&self, text: &str) {
        self.reporter.log().write(text, "\n");
    }

    fn offer_display(&self, passphrase: &Passphrase) {
        let text = String::from_utf8_lossy(passphrase.reveal());
        let log = self.reporter.log();
        passphrase::offer_display(&text, log, self.environment, self.prompt().as_mut());
    }
}

fn engine_passphrase(secret: &Secret) -> Passphrase {
    Passphrase::new(secret.reveal())
}

impl security::Questions for Person<'_> {
    fn ask(&self, question: &security::Question) -> bool {
        Person::ask(
            self,
            &Question {
                message: &question.message,
                variable: question.variable,
                no_message: question.no_message,
                invalid_message: question.invalid_message,
                ..Question::default()
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::tests::Script;
    use crate::exit_code::Scheme;
    use crate::output::log::{LogSettings, tests::log};
    use crate::output::text::Units;

    fn asked(
        answers: &[&str],
        variables: &[(&str, &str)],
    ) -> (Result<Passphrase, KeyError>, String) {
        let (log, buffer) = log(LogSettings::default());
        let variables = variables
            .iter()
            .map(|(name, value)| (name.into(), value.into()));
        let environment = Environment::from_variables(variables, None, 0);
        let reporter = Arc::new(Reporter::new(log, Scheme::Legacy, Units::Decimal));
        let person = Person::new(&environment, reporter, Box::new(Script::new(answers)));
        (
            fastness_engine::keys::passphrase::new(&person),
            buffer.text(),
        )
    }

    #[test]
    fn a_new_passphrase_is_typed_twice() {
        let (passphrase, text) = asked(&["a", "b", "c", "c", "n"], &[]);
        assert_eq!(passphrase.unwrap().reveal(), b"c");
        assert!(text.contains("Passphrases do not match"), "{text}");
        assert!(!text.contains("between double-quotes"), "{text}");
    }

    #[test]
    fn without_anybody_the_error_tells_which_variables_are_missing() {
        let (passphrase, _) = asked(&[], &[]);
        assert_eq!(
            passphrase.unwrap_err().to_string(),
            "Cannot acquire a passphrase: BORG_PASSPHRASE is not set. \
             BORG_PASSCOMMAND is not set. Interactive password query failed."
        );
    }

    #[test]
    fn a_passphrase_is_shown_only_when_wanted() {
        let (_, text) = asked(&["c", "c"], &[("BORG_DISPLAY_PASSPHRASE", "y")]);
        assert!(
            text.contains("Your passphrase (between double-quotes): \"c\""),
            "{text}"
        );
    }
}
