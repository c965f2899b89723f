//! The person in front of a run, or the variables that speak for them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::console::Prompt;
use crate::environment::{Environment, Secret};
use crate::output::questions::{self, Question};
use crate::passphrase;
use crate::reporter::Reporter;

/// Answers questions and gives passphrases.
#[derive(Clone)]
pub struct Person<'a> {
    environment: &'a Environment,
    reporter: Arc<Reporter>,
    prompt: Arc<Mutex<Box<dyn Prompt>>>,
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

    /// Returns the passphrase that is given without asking.
    ///
    /// # Errors
    /// When the command that should print it fails; the text says how.
    pub fn given_passphrase(&self) -> Result<Option<Secret>, String> {
        passphrase::given(self.environment)
    }

    /// Returns the passphrase that is given for new keys only.
    pub fn given_new_passphrase(&self) -> Option<Secret> {
        self.environment.passphrases.new_passphrase.clone()
    }

    /// Asks for a passphrase; the error says why nobody could be asked.
    ///
    /// # Errors
    /// When there is nobody.
    pub fn typed_passphrase(&self, text: &str) -> Result<Secret, String> {
        let typed = self.prompt().secret(text);
        typed.ok_or_else(|| passphrase::nobody_to_ask(self.environment))
    }

    /// Says something beside the log.
    pub fn tell(&self, text: &str) {
        self.reporter.log().write(text, "\n");
    }

    /// Offers to show a passphrase that was just typed twice.
    pub fn offer_display(&self, text: &str) {
        let mut prompt = self.prompt();
        passphrase::offer_display(text, self.reporter.log(), self.environment, prompt.as_mut());
    }

    fn prompt(&self) -> MutexGuard<'_, Box<dyn Prompt>> {
        self.prompt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
