//! Whole files: what is accepted, and what each mistake is told as.

use super::*;

fn variables(name: &str) -> Option<String> {
    (name == "HOME").then(|| "/home/user".to_owned())
}

fn context() -> LoadContext<'static> {
    LoadContext {
        variable: &variables,
        interpolate_environment: true,
        overrides: &[],
    }
}

fn parse(text: &str) -> Result<Configuration, ConfigErrors> {
    let tree = load::load_text(text, "config.yaml")?;
    Configuration::from_tree(vec!["config.yaml".into()], tree, context())
}

fn errors(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

const MINIMAL: &str = "repositories:\n    - path: /backup\n";

#[test]
fn only_repositories_are_required() {
    let configuration = parse(MINIMAL).unwrap();
    assert_eq!(configuration.repositories[0].name(), "/backup");
    assert_eq!(configuration.repositories[0].options.control.retries, 0);
    assert_eq!(configuration.warnings, [""; 0]);
}

#[test]
fn an_unknown_option_is_told_with_its_place_and_the_closest_known_one() {
    insta::assert_snapshot!(
        errors(
            "keep_dayli: 7\nrepositories:\n    - path: /backup\n      exclude_pattern: [x]\n    - path: /b\n      labl: b\nzebra: 1\nchecks:\n    - name: repository\n      frequncy: 1 week\n"
        ),
        @r#"
        config.yaml:1: unknown option "keep_dayli"; did you mean "keep_daily"?
        config.yaml:4: unknown option "exclude_pattern" under repositories[0]; did you mean "exclude_patterns"?
        config.yaml:6: unknown option "labl" under repositories[1]; did you mean "label"?
        config.yaml:7: unknown option "zebra"
        config.yaml:10: unknown option "frequncy" under checks[0]; did you mean "frequency"?
        "#
    );
}

#[test]
fn wrong_types_name_option_and_value() {
    insta::assert_snapshot!(
        errors(
            "keep_daily: seven\natime: yes\nsource_directories: /home\nexclude_patterns: [1, a]\ncompression:\nverbosity: 3\nrepositories: /backup\n"
        ),
        @r#"
        config.yaml:1: "keep_daily" must be a whole number, not the text "seven"
        config.yaml:2: "atime" must be true or false, not the text "yes"
        config.yaml:3: "source_directories" must be a list, not the text "/home"
        config.yaml:4: "exclude_patterns[0]" must be text, not the number 1
        config.yaml:5: "compression" must be text, not nothing
        config.yaml:6: "verbosity" must be a whole number from -2 to 2, not the number 3
        config.yaml:7: "repositories" must be a list, not the text "/backup"
        "#
    );
}

#[test]
fn words_that_are_not_allowed_are_told_with_those_that_are() {
    insta::assert_snapshot!(
        errors(
            "files_changed: ctimes\nskip_actions: [prun]\nchecks:\n    - name: achives\nrepositories:\n    - path: /a\n      encryption: repokey-blake3\n"
        ),
        @r#"
        config.yaml:1: "files_changed" cannot be "ctimes"; possible are ctime, mtime, disabled; did you mean "ctime"?
        config.yaml:2: "skip_actions[0]" cannot be "prun"; possible are repo-create, transfer, prune, compact, create, recreate, check, delete, extract, config, export-tar, mount, umount, repo-delete, restore, repo-list, list, repo-info, info, break-lock, key, diff, browse, borg; did you mean "prune"?
        config.yaml:4: "checks[0].name" cannot be "achives"; possible are repository, archives, data, extract, spot, disabled; did you mean "archives"?
        config.yaml:7: "repositories[0].encryption" cannot be "repokey-blake3"; possible are none, authenticated, authenticated-blake2, repokey, keyfile, repokey-blake2, keyfile-blake2; did you mean "repokey-blake2"?
        "#
    );
}

#[test]
fn missing_options_are_told() {
    insta::assert_snapshot!(errors("keep_daily: 7\n"), @r#"config.yaml:1: the option "repositories" is required"#);
    insta::assert_snapshot!(errors("repositories:\n    - label: x\n"), @r#"config.yaml:2: the option "path" is required under repositories[0]"#);
    insta::assert_snapshot!(errors(""), @"config.yaml: does not contain any options");
}

#[test]
fn values_without_sense_are_refused() {
    insta::assert_snapshot!(
        errors(
            "umask: 88\nencryption_passcommand: cat 'x\nchecks:\n    - name: archives\n      frequency: sometimes\n      max_duration: 5\nrepositories:\n    - path: ''\n"
        ),
        @r#"
        config.yaml:1: "umask": 88 are no octal digits from 0 to 777
        config.yaml:2: "encryption_passcommand": is no command: empty, or a quote is not closed
        config.yaml:5: "checks[0].frequency": "sometimes" is no frequency; write "always" or, for instance, "2 weeks"
        config.yaml:6: "checks[0].max_duration": belongs to the repository check only
        config.yaml:8: "repositories[0].path": the path is empty
        "#
    );
}

#[test]
fn what_cannot_be_used_is_refused() {
    insta::assert_snapshot!(
        errors("ssh_command: \"ssh '\"\nrepositories:\n    - path: rclone:x\n"),
        @r#"
        config.yaml:1: "ssh_command": is no command: empty, or a quote is not closed
        config.yaml:3: "repositories[0].path": "rclone:x" is for Borg 2; Borg 1 reaches other machines by ssh only: ssh://user@host/./path
        "#
    );
}

#[test]
fn what_only_borg_2_knows_is_told_to_have_no_effect() {
    let text = "checkpoint_volume: 3\nrepositories:\n    - path: /x\n      id_hash: sha256\n";
    insta::assert_snapshot!(parse(text).unwrap().warnings.join("\n"), @r#"
    config.yaml:1: "checkpoint_volume" is for Borg 2 only and has no effect
    config.yaml:4: "repositories[0].id_hash" is for Borg 2 only and has no effect
    "#);
}

#[test]
fn the_mission_configuration_is_read_completely() {
    let mission = include_str!("../../../../testdata/borgmatic/mission.yaml");
    let configuration = parse(mission).unwrap();
    let [lan, remote] = &configuration.repositories[..] else {
        panic!()
    };
    assert_eq!((lan.name(), remote.name()), ("local-nas", "remote-nas"));
    assert_eq!(remote.encryption.as_deref(), Some("keyfile-blake2"));
    let options = &lan.options;
    assert_eq!(options.sources.directories.len(), 5);
    assert_eq!(options.sources.exclude_patterns.len(), 19);
    assert_eq!(options.keep.len(), 5);
    let checks = options.checks.as_ref().unwrap();
    assert_eq!(checks.len(), 3);
    assert_eq!(checks[2].spot.unwrap().count, 10.0);
    assert_eq!(
        options.access.passcommand.as_deref(),
        Some("cat /etc/borg/passphrase")
    );
    assert_eq!(options.access.variables.len(), 6);
    assert_eq!(options.commands.len(), 3);
    assert_eq!(
        (options.control.retries, options.control.retry_wait),
        (3, 10)
    );
    assert_eq!(configuration.warnings, [""; 0]);
}

#[test]
fn options_of_a_repository_go_over_those_of_the_top_level() {
    let configuration = parse(
        "compression: lz4\nretries: 2\nrepositories:\n    - path: /a\n      compression: zstd\n    - path: /b\n",
    )
    .unwrap();
    let compression: Vec<_> = configuration
        .repositories
        .iter()
        .map(|repository| repository.options.making.compression.as_deref().unwrap())
        .collect();
    assert_eq!(compression, ["zstd", "lz4"]);
    assert_eq!(configuration.repositories[0].options.control.retries, 2);
}

#[test]
fn a_variable_that_is_not_set_is_told_with_its_place() {
    insta::assert_snapshot!(
        errors("repositories:\n    - path: /backup\nencryption_passphrase: ${PASSPHRASE}\n"),
        @"config.yaml:3: the environment variable PASSPHRASE is not set; set it, or give a default: ${PASSPHRASE:-default}"
    );
}

#[test]
fn secrets_are_not_shown_by_debug_output() {
    let configuration = parse(&format!("encryption_passphrase: hunter2\n{MINIMAL}")).unwrap();
    assert!(!format!("{configuration:?}").contains("hunter2"));
}

#[test]
fn each_option_stands_once_in_the_table() {
    let mut names: Vec<_> = options::options().iter().map(|spec| spec.name).collect();
    names.sort_unstable();
    let before = names.len();
    names.dedup();
    assert_eq!(names.len(), before);
}

#[test]
fn examples_of_the_table_are_valid() {
    for spec in options::options() {
        if spec.support == schema::Support::Works && spec.name != "repositories" {
            let text = format!("{MINIMAL}{}: {}\n", spec.name, spec.example);
            assert!(parse(&text).is_ok(), "{text} {}", errors(&text));
        }
    }
}

#[test]
fn no_damage_to_a_file_ends_in_a_panic() {
    let mission = include_str!("../../../../testdata/borgmatic/mission.yaml");
    for end in mission.char_indices().map(|(index, _)| index).step_by(7) {
        let _ = parse(&mission[..end]);
    }
    for (index, _) in mission.char_indices().step_by(11) {
        for damage in ["\t", "{", "*x", ": ", "\u{0}", "- ", "\"", "!x "] {
            let _ = parse(&format!(
                "{}{damage}{}",
                &mission[..index],
                &mission[index..]
            ));
        }
    }
    assert!(parse(mission).is_ok());
}
