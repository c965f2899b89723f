//! `fastness passphrase`.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

fn passphrase(words: &[&str]) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_fastness"));
    let mut command = Command::new(program);
    command.arg("passphrase").args(words).output().unwrap()
}

#[test]
fn a_script_gets_the_passphrase_alone_and_people_its_strength() {
    let list = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/commands/passphrase/words.txt"
    );
    let list = std::fs::read_to_string(list).unwrap();
    let list: BTreeSet<&str> = list.lines().collect();
    let output = passphrase(&[]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let words: Vec<&str> = text.strip_suffix('\n').unwrap().split(' ').collect();
    assert!(words.len() == 7 && words.iter().all(|word| list.contains(word)));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "7 words drawn from 7776: 90.5 bits of entropy\n"
    );
    let output = passphrase(&["--words=3", "--separator", "+"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.trim_end().split('+').count(), 3);
}

#[test]
fn wrong_words_are_told_and_nothing_is_printed() {
    for words in [&["--words", "0"][..], &["--words=65"], &["seven"]] {
        let output = passphrase(words);
        assert_eq!(output.status.code(), Some(2));
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
    let help = passphrase(&["--help"]);
    assert!(help.status.success());
    assert!(String::from_utf8(help.stdout).unwrap().contains("90 bits"));
}
