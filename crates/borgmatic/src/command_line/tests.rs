//! What calls mean, and what cannot be understood.

use super::*;
use crate::config::tree::Value;

fn words(text: &str) -> Vec<String> {
    shlex::split(text).unwrap()
}

fn line(text: &str) -> CommandLine {
    match parse("fastness", &words(text)).unwrap() {
        Parsed::Run(line) => *line,
        Parsed::Print(text) => panic!("{text}"),
    }
}

fn error(text: &str) -> String {
    parse("fastness", &words(text)).unwrap_err().to_string()
}

fn names(text: &str) -> Vec<&'static str> {
    line(text).actions.iter().map(Action::name).collect()
}

fn option(text: &str, name: &str) -> Option<Value> {
    let overrides = line(text).overrides;
    let mut set = overrides.iter().filter_map(Setting::top);
    set.find(|(key, _)| *key == name)
        .map(|(_, value)| value.value.clone())
}

#[test]
fn no_action_means_the_four_default_ones() {
    assert_eq!(names(""), DEFAULT_ACTIONS);
    assert!(!line("").named);
    assert_eq!(names("--stats -v 1"), DEFAULT_ACTIONS);
}

#[test]
fn words_come_in_any_order() {
    let line = line("--stats prune -n create --json -c a.yaml --config b.yaml");
    assert_eq!(
        line.actions.iter().map(Action::name).collect::<Vec<_>>(),
        ["prune", "create"]
    );
    assert!(line.dry_run);
    assert_eq!(line.config_paths, ["a.yaml", "b.yaml"].map(PathBuf::from));
}

#[test]
fn a_value_that_is_called_like_an_action_is_a_value() {
    assert_eq!(names("check --only extract"), ["check"]);
    assert_eq!(names("list --archive create"), ["list"]);
    assert_eq!(names("--compression check create"), ["create"]);
}

#[test]
fn old_names_of_actions_work() {
    assert_eq!(names("init -e none"), ["repo-create"]);
    assert_eq!(names("-C"), ["create"]);
    assert_eq!(names("rlist rinfo"), ["repo-list", "repo-info"]);
    assert_eq!(names("config validate"), ["validate"]);
}

#[test]
fn flags_set_options_with_the_type_of_the_option() {
    assert_eq!(
        option("create --list", "list_details"),
        Some(Value::Boolean(true))
    );
    assert_eq!(
        option("create --stats", "statistics"),
        Some(Value::Text("standard".into()))
    );
    assert_eq!(
        option("prune -a 'x*'", "match_archives"),
        Some(Value::Text("x*".into()))
    );
    assert_eq!(
        option("compact --threshold 20", "compact_threshold"),
        Some(Value::Integer(20))
    );
    assert_eq!(option("-v -2", "verbosity"), Some(Value::Integer(-2)));
    assert_eq!(option("--no-atime", "atime"), Some(Value::Boolean(false)));
    assert_eq!(
        option("--compression zstd", "compression"),
        Some(Value::Text("zstd".into()))
    );
    assert_eq!(
        option("--keep-within 24", "keep_within"),
        Some(Value::Text("24".into()))
    );
    let Some(Value::List(list)) = option("--source-directories '[/a, /b]'", "source_directories")
    else {
        panic!()
    };
    assert_eq!(list.len(), 2);
}

#[test]
fn what_cannot_be_understood_is_told() {
    insta::assert_snapshot!(error("create --jsn"), @r"
    error: unexpected argument '--jsn' found

      tip: a similar argument exists: '--json'

    Usage: fastness --json
    ");
    insta::assert_snapshot!(error("config"), @"Missing sub-action after config action. Expected one of: bootstrap, validate, show, generate, schema");
    insta::assert_snapshot!(error("extract"), @"extract needs --archive NAME; --archive latest is the newest one");
    insta::assert_snapshot!(error("create --stats --quick-stats"), @"--stats and --quick-stats do not go together");
    insta::assert_snapshot!(error("list info --json"), @"--json goes with one action at a time");
    insta::assert_snapshot!(error("frobnicate"), @r#"unknown action "frobnicate""#);
}

#[test]
fn help_tells_actions_and_flags() {
    let Parsed::Print(text) = parse("fastness", &words("--help")).unwrap() else {
        panic!()
    };
    insta::assert_snapshot!(text, @r"
    Back up what configuration files say. Without an action: create, prune, compact and check

    Usage: fastness [FLAGS] [ACTION [FLAGS]]...

    Options:
      -c, --config <PATH>                 A configuration file or directory; may repeat
      -n, --dry-run                       Change nothing
      -v, --verbosity <LEVEL>             -2 nothing, -1 errors, 0 results, 1 steps, 2 all
          --override <OPTION=VALUE>       Old form of flags that set options (deprecated)
          --no-environment-interpolation  Leave ${VARIABLES} in configuration files alone
          --version                       Print the version
      -h, --help                          Print help

    Actions:
      repo-create      Make repositories
      create           Make an archive of the configured sources
      prune            Remove archives that the retention rules do not keep
      compact          Give back the space of what was removed
      check            Run the checks that are due
      list             List archives, or the files of one
      info             Tell about archives
      extract          Restore files of an archive
      restore          Restore databases from an archive
      repo-list        List the archives of repositories
      repo-info        Tell about repositories
      delete           Delete archives
      repo-delete      Delete repositories
      export-tar       Write an archive as a tar file
      diff             Tell what differs between two archives
      recreate         Write archives anew by today's rules of selection
      transfer         Copy archives from another repository
      mount            Show archives as a file system
      umount           Take such a file system away
      break-lock       Remove locks that a program left behind
      browse           Look through repositories, archives and files on a terminal
      key export       Write the key of a repository to a safe place
      key import       Bring back an exported key
      key change-passphrase Change the passphrase of a repository
      borg             Run any command of Borg; all words after it are Borg's
      config bootstrap Bring back configuration files from an archive
      config validate  Check configuration files
      config show      Print configurations as they are understood
      config generate  Write a sample configuration
      config schema    Print the JSON Schema of configurations, for editors

    Every option of the configuration is a flag as well: --compression zstd, --no-atime
    ");
    let Parsed::Print(text) = parse("fastness", &words("create --help")).unwrap() else {
        panic!()
    };
    insta::assert_snapshot!(text, @r"
    Make an archive of the configured sources

    Usage: fastness [FLAGS] create [FLAGS]

    Options:
      -c, --config <PATH>                 A configuration file or directory; may repeat
      -n, --dry-run                       Change nothing
      -v, --verbosity <LEVEL>             -2 nothing, -1 errors, 0 results, 1 steps, 2 all
          --override <OPTION=VALUE>       Old form of flags that set options (deprecated)
          --no-environment-interpolation  Leave ${VARIABLES} in configuration files alone
          --version                       Print the version
      -h, --help                          Print help
          --repository <NAME>             Only this repository: path or label, globs allowed
          --progress                      Show progress
          --stats                         Show statistics
          --quick-stats                   Show the statistics of the archive only
          --list                          Show each file or archive as it is handled [alias: --files]
          --json                          Print results as JSON
          --comment <TEXT>                A comment to keep in the archive
          --estimate                      With --dry-run: also tell what the real run would change, in
                                          bytes

    Every option of the configuration is a flag as well: --compression zstd, --no-atime
    ");
}

#[test]
fn what_follows_borg_is_borgs() {
    let line = line("--repository nas borg --archive latest list --short ::x create");
    let [Action::Borg(any)] = line.actions.as_slice() else {
        panic!("{:?}", line.actions)
    };
    assert_eq!(any.words, ["list", "--short", "::x", "create"]);
    assert_eq!(any.archive.as_deref(), Some("latest"));
    assert_eq!(line.repository.as_deref(), Some("nas"));
}

#[test]
fn force_counts() {
    let line = line("delete --archive x --force --force");
    let [Action::Delete(delete)] = line.actions.as_slice() else {
        panic!("{:?}", line.actions)
    };
    assert_eq!(delete.force, 2);
    assert!(delete.chooses_archives());
}
