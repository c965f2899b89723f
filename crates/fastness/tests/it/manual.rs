//! Completions, loaded by a real shell, and manual pages, read by a real `man`.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use fastness_testkit::Sandbox;

fn fastness(words: &[&str]) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_fastness"));
    Command::new(program).args(words).output().unwrap()
}

/// What bash offers for the last of the words.
fn offered(script: &Path, words: &[&str]) -> Vec<String> {
    let commands = format!(
        "source '{}'; COMP_WORDS=({}); COMP_CWORD={}; \
         \"$(complete -p borg | sed 's/.* -F \\([^ ]*\\) .*/\\1/')\" borg '{}' '{}'; \
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        script.display(),
        words
            .iter()
            .map(|word| format!("'{word}'"))
            .collect::<Vec<_>>()
            .join(" "),
        words.len() - 1,
        words[words.len() - 1],
        words[words.len() - 2],
    );
    let output = Command::new("bash")
        .args(["--norc", "-c", &commands])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && errors.is_empty(), "{errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_and_options() {
    let sandbox = Sandbox::new();
    let script = sandbox.path("borg.bash");
    fs::write(&script, fastness(&["completions", "bash"]).stdout).unwrap();
    assert_eq!(offered(&script, &["borg", "exp"]), ["export-tar"]);
    assert_eq!(
        offered(&script, &["borg", "key", "mig"]),
        ["migrate-to-repokey"]
    );
    let options = offered(&script, &["borg", "create", "--files-c"]);
    assert_eq!(options, ["--files-cache", "--files-changed"]);
    assert_eq!(
        offered(&script, &["borg", "list", "--lock"]),
        ["--lock-wait"]
    );
}

#[test]
fn zsh_and_fish_get_every_command() {
    for shell in ["zsh", "fish"] {
        let script = String::from_utf8(fastness(&["completions", shell]).stdout).unwrap();
        for word in [
            "with-lock",
            "export-related-secrets",
            "dump-repo-objs",
            "keep-13weekly",
        ] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    let refused = fastness(&["completions", "csh"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&refused.stderr)
            .starts_with("fastness: error: no completions for csh")
    );
}

#[test]
fn manual_pages_are_read_without_a_warning() {
    let sandbox = Sandbox::new();
    let directory = sandbox.path("man1");
    let output = fastness(&["man", directory.to_str().unwrap()]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut pages = 0;
    for page in fs::read_dir(&directory).unwrap() {
        let page = page.unwrap().path();
        let output = Command::new("groff")
            .args(["-man", "-Tutf8", "-ww", "-rLL=78n"])
            .arg(&page)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.success() && errors.is_empty(),
            "{}: {errors}",
            page.display()
        );
        assert!(output.stdout.len() > 500, "{}", page.display());
        pages += 1;
    }
    assert!(pages >= 44, "{pages}");
    let text = fs::read_to_string(directory.join("borg-key-export.1")).unwrap();
    assert!(
        text.contains("qr\\-html") && text.contains(".TH BORG-KEY-EXPORT 1"),
        "{text}"
    );
}

#[test]
fn the_help_of_fastness_names_all_that_its_first_word_may_be() {
    let text = String::from_utf8(fastness(&["--help"]).stdout).unwrap();
    for word in [
        "create",
        "restore",
        "borg",
        "selfcheck",
        "completions",
        "man",
    ] {
        let line = text
            .lines()
            .find(|line| line.trim_start().starts_with(&format!("{word} ")));
        assert!(line.is_some(), "{word} is not in:\n{text}");
    }
}
