//! Questions that are answered with yes or no, by a person or by a variable.
//!
//! Nothing here ever waits for an answer that cannot come: without a person and without a
//! variable the answer is no.

use super::json::{Json, object};
use super::log::Log;
use crate::console::Prompt;
use crate::environment::Environment;

/// Answers that mean yes unless a question wants other ones.
pub const TRUISH: &[&str] = &["Yes", "YES", "yes", "Y", "y", "1"];
const FALSISH: &[&str] = &["No", "NO", "no", "N", "n", "0"];
const DEFAULTISH: &[&str] = &["Default", "DEFAULT", "default", "D", "d", ""];

/// A question and what to say to its answers; empty texts are not said.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The question itself.
    pub message: &'a str,
    /// The variable that answers it; also its message id.
    pub variable: &'static str,
    /// The answers that mean yes.
    pub truish: &'a [&'a str],
    /// Said after yes.
    pub yes_message: &'a str,
    /// Said after no.
    pub no_message: &'a str,
    /// Said after any other answer.
    pub invalid_message: &'a str,
    /// Asks again after an answer that is none; else such an answer means no.
    pub retry_message: Option<&'a str>,
}

impl Default for Question<'_> {
    fn default() -> Self {
        Self {
            message: "",
            variable: "",
            truish: TRUISH,
            yes_message: "",
            no_message: "",
            invalid_message: "",
            retry_message: None,
        }
    }
}

/// Asks and returns whether the answer was yes.
pub fn ask(
    question: &Question<'_>,
    log: &Log,
    environment: &Environment,
    prompt: &mut dyn Prompt,
) -> bool {
    let say = |message: &str, kind: &str, variable: Option<&str>| {
        tell(question, log, message, kind, variable);
    };
    say(question.message, "prompt", None);
    let mut from_variable = environment.text(question.variable);
    if let Some(answer) = &from_variable {
        let message = format!("{answer} (from {})", question.variable);
        say(&message, "env_answer", Some(question.variable));
    }
    loop {
        let answer = match from_variable.take() {
            Some(answer) => answer,
            None => prompt.line().unwrap_or_else(|| "no".to_owned()),
        };
        let answer = answer.as_str();
        if DEFAULTISH.contains(&answer) {
            return false;
        }
        if question.truish.contains(&answer) {
            say(question.yes_message, "accepted_true", None);
            return true;
        }
        if FALSISH.contains(&answer) {
            say(question.no_message, "accepted_false", None);
            return false;
        }
        say(question.invalid_message, "invalid_answer", None);
        match question.retry_message {
            None => return false,
            Some(message) => say(message, "prompt_retry", None),
        }
    }
}

fn tell(question: &Question<'_>, log: &Log, message: &str, kind: &str, variable: Option<&str>) {
    if message.is_empty() {
        return;
    }
    if !log.is_json() {
        // A prompt waits for the answer on its own line.
        let end = if kind.starts_with("prompt") { "" } else { "\n" };
        log.write(message, end);
        return;
    }
    let mut members = match object([
        ("type", format!("question_{kind}").into()),
        ("msgid", question.variable.into()),
        ("message", message.into()),
    ]) {
        Json::Map(members) => members,
        _ => Vec::new(),
    };
    if let Some(variable) = variable {
        members.insert(0, ("env_var".to_owned(), variable.into()));
    }
    log.object(&Json::Map(members));
}

#[cfg(test)]
mod tests {
    use super::super::log::LogSettings;
    use super::super::log::tests::log;
    use super::*;
    use crate::console::tests::Script;

    const DELETE: Question<'static> = Question {
        message: "Delete? ",
        variable: "BORG_DELETE_I_KNOW_WHAT_I_AM_DOING",
        truish: &["YES"],
        yes_message: "",
        no_message: "Aborting.",
        invalid_message: "Invalid answer, aborting.",
        retry_message: None,
    };

    fn answered(
        question: &Question<'_>,
        answers: &[&str],
        variable: Option<&str>,
    ) -> (bool, String) {
        let (log, buffer) = log(LogSettings::default());
        let variables = variable.map(|value| (question.variable.into(), value.into()));
        let environment = Environment::from_variables(variables, None, 0);
        let answer = ask(question, &log, &environment, &mut Script::new(answers));
        (answer, buffer.text())
    }

    #[test]
    fn the_variable_answers_before_anybody_is_asked() {
        let (answer, text) = answered(&DELETE, &[], Some("YES"));
        assert!(answer);
        assert_eq!(
            text,
            "Delete? YES (from BORG_DELETE_I_KNOW_WHAT_I_AM_DOING)\n"
        );
        let (answer, text) = answered(&DELETE, &[], Some("no"));
        assert!(!answer);
        assert!(text.ends_with("Aborting.\n"), "{text}");
    }

    #[test]
    fn nobody_to_answer_means_no() {
        assert_eq!(
            answered(&DELETE, &[], None),
            (false, "Delete? Aborting.\n".into())
        );
    }

    #[test]
    fn a_lesser_yes_is_not_enough_where_great_letters_are_wanted() {
        let (answer, text) = answered(&DELETE, &["yes"], None);
        assert!(!answer);
        assert_eq!(text, "Delete? Invalid answer, aborting.\n");
    }

    #[test]
    fn questions_with_a_second_chance_are_asked_again() {
        let relocated = Question {
            message: "Go on? [yN] ",
            variable: "BORG_RELOCATED_REPO_ACCESS_IS_OK",
            invalid_message: "Invalid answer.",
            retry_message: Some("Go on? [yN] "),
            ..Question::default()
        };
        let (answer, text) = answered(&relocated, &["maybe", "y"], None);
        assert!(answer);
        assert_eq!(text, "Go on? [yN] Invalid answer.\nGo on? [yN] ");
    }
}
