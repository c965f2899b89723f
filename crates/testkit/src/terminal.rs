//! A program in a terminal, with somebody in front of it who answers.

use crate::{Outcome, Run};

const PROGRAM: &str = include_str!("terminal.py");

impl Run {
    /// Runs the command in a terminal of 80 columns. Each step is a text that is waited for and
    /// what is typed then; stdout of the outcome is the screen. Exit code 97: a text never came.
    pub fn in_terminal(self, steps: &[(&str, &str)]) -> Outcome {
        let steps = serde_json::to_vec(steps).expect("texts are JSON");
        self.under(["python3", "-c", PROGRAM]).stdin(&steps).go()
    }
}

#[cfg(test)]
mod tests {
    use crate::Sandbox;

    #[test]
    fn what_is_asked_is_answered_and_what_never_comes_is_told() {
        let sandbox = Sandbox::new();
        let script = "stty size; printf 'name: '; read name; echo \"hello $name\"; exit 3";
        let run = || sandbox.run_of("/bin/sh".as_ref()).args(["-c", script]);
        let outcome = run().in_terminal(&[("name: ", "ann\n")]).exits(3);
        assert!(outcome.out().contains("24 80\r\n") && outcome.out().contains("hello ann"));
        let outcome = run()
            .in_terminal(&[("name: ", "ann\n"), ("street: ", "x")])
            .exits(97);
        assert!(outcome.out().contains("'street: ' was never seen"));
    }
}
