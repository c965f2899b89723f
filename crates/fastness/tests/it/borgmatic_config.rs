//! Configuration beside the real borgmatic: the same options, accepted and refused alike.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use fastness_borgmatic::config::load::{load_file, load_text};
use fastness_borgmatic::config::options::{EXTRAS, options, repository};
use fastness_borgmatic::config::schema::{Kind, OptionSpec};
use fastness_borgmatic::config::show;
use fastness_borgmatic::config::tree::Node;
use fastness_testkit::{Outcome, Sandbox};
use serde_json::{Value, json};

use crate::reference;

/// The place where the real borgmatic is installed.
fn peer() -> PathBuf {
    let borg = reference();
    // .../borg-1.4.5/bin/borg
    let peers = borg.path().ancestors().nth(3).unwrap();
    let peer = peers.join("borgmatic-2.1.10");
    assert!(
        peer.exists(),
        "{} is missing: run scripts/setup",
        peer.display()
    );
    peer
}

/// The schema of the real borgmatic.
fn real_schema() -> Node {
    let library = fs::read_dir(peer().join("lib")).unwrap();
    let schema = library
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .join("site-packages/borgmatic/config/schema.yaml")
        })
        .find(|path| path.exists());
    load_file(&schema.unwrap()).unwrap()
}

/// The fields of a mapping in the schema, with those of all its alternatives.
fn real_fields(node: &Node) -> Vec<(String, Node)> {
    let mut fields: Vec<(String, Node)> = Vec::new();
    let alternatives = node.get("oneOf").map(Node::elements).unwrap_or_default();
    for alternative in alternatives.iter().chain([node]) {
        let properties = alternative.get("properties").map(Node::entries);
        for entry in properties.unwrap_or_default() {
            if !fields.iter().any(|(name, _)| *name == entry.key) {
                fields.push((entry.key.clone(), entry.value.clone()));
            }
        }
    }
    fields
}

/// What the schema says about a value, in one word.
fn real_kind(node: &Node) -> String {
    let kind = node.get("type").unwrap();
    let words = |node: &Node| node.get("enum").is_some();
    let mut kinds: Vec<&str> = kind.elements().iter().filter_map(Node::as_text).collect();
    kinds.extend(kind.as_text());
    kinds.sort_unstable();
    let open = |node: &Node| node.get("properties").is_none() && node.get("oneOf").is_none();
    match kinds.as_slice() {
        ["string"] if words(node) && node.get("not").is_none() => "choice".into(),
        ["string"] => "text".into(),
        ["integer"] if words(node) => "level".into(),
        ["boolean", "string"] => "statistics".into(),
        ["integer", "string"] => "value".into(),
        ["null", "object"] => "fields or nothing".into(),
        ["object"] if open(node) => "map".into(),
        ["object"] => "fields".into(),
        ["array"] => format!("list of {}", real_kind(node.get("items").unwrap())),
        [one] => (*one).to_owned(),
        other => panic!("{other:?}"),
    }
}

fn our_kind(spec: &OptionSpec) -> &'static str {
    match spec.kind {
        Kind::Boolean => "boolean",
        Kind::Integer => "integer",
        Kind::Level => "level",
        Kind::Number => "number",
        Kind::Text => "text",
        Kind::Choice(_) => "choice",
        Kind::Statistics => "statistics",
        Kind::TextList => "list of text",
        Kind::ChoiceList(_) => "list of choice",
        Kind::Fields(_) if spec.may_be_empty => "fields or nothing",
        Kind::Fields(_) | Kind::SwitchOrFields(_) => "fields",
        Kind::List(_) | Kind::Repositories => "list of fields",
        Kind::Map | Kind::TextMap => "map",
        Kind::TextOrInteger => "value",
    }
}

fn compare(place: &str, ours: &'static [OptionSpec], real: &Node, count: &mut usize) {
    let fields = real_fields(real);
    let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
    for spec in ours.iter().filter(|spec| spec.name != EXTRAS) {
        assert!(
            names.contains(&spec.name),
            "{place}: {} is not borgmatic's",
            spec.name
        );
    }
    for (name, node) in &fields {
        let place = format!("{place}.{name}");
        let spec = ours.iter().find(|spec| spec.name == name);
        let spec = spec.unwrap_or_else(|| panic!("{place} is missing"));
        assert_eq!(our_kind(spec), real_kind(node), "{place}");
        if real.get("oneOf").is_none() {
            let required = real.get("required").map(Node::elements).unwrap_or_default();
            let required = required.iter().any(|key| key.as_text() == Some(name));
            assert_eq!(spec.required, required, "{place}");
        }
        let items = node.get("items");
        let words = node
            .get("enum")
            .or_else(|| items?.get("enum"))
            .map(Node::elements);
        if let (Kind::Choice(ours) | Kind::ChoiceList(ours), Some(real)) = (spec.kind, words) {
            let real: Vec<&str> = real.iter().filter_map(Node::as_text).collect();
            let listed = |words: &[&str]| {
                let mut words = words.to_vec();
                words.sort_unstable();
                words.join(" ")
            };
            // Alternatives have one word each.
            if !matches!(name.as_str(), "name" | "before" | "after") {
                assert_eq!(listed(ours), listed(&real), "{place}");
            }
        }
        *count += 1;
        match spec.kind {
            Kind::Fields(fields) => compare(&place, fields, node, count),
            Kind::List(fields) => compare(&place, fields, items.unwrap(), count),
            Kind::Repositories => compare(&place, repository(), items.unwrap(), count),
            _ => {}
        }
    }
}

#[test]
fn every_option_of_borgmatic_is_known_with_its_type() {
    let mut count = 0;
    compare("", options(), &real_schema(), &mut count);
    assert!(count > 400, "{count}");
}

/// A place for configurations of the two programs.
struct Place {
    sandbox: Sandbox,
}

impl Place {
    fn new() -> Place {
        Place {
            sandbox: Sandbox::new(),
        }
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.sandbox.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn run(&self, program: &Path, config: &Path, arguments: &[&str]) -> Outcome {
        let run = self.sandbox.run_of(program).arg("--config").arg(config);
        run.args(arguments).go()
    }

    fn both(&self, config: &Path, arguments: &[&str]) -> [Outcome; 2] {
        let ours = Path::new(env!("CARGO_BIN_EXE_fastness"));
        let theirs = peer().join("bin/borgmatic");
        [ours, theirs.as_path()].map(|program| self.run(program, config, arguments))
    }

    /// The configurations as each of the two understands them.
    fn shown(&self, config: &Path, arguments: &[&str]) -> [Vec<Value>; 2] {
        let arguments = [&["config", "validate", "--show"], arguments].concat();
        self.both(config, &arguments).map(|outcome| {
            let text = outcome.ok().out();
            let told = ["", "summary:", "All configuration files are valid"];
            let shown = text.lines().filter(|line| !told.contains(line));
            let text: String = shown.map(|line| format!("{line}\n")).collect();
            let documents = text.split("---\n").filter(|text| !text.trim().is_empty());
            documents.map(understood).collect()
        })
    }
}

/// A configuration that was shown.
fn understood(text: &str) -> Value {
    let mut value = show::json(&load_text(text, "shown").unwrap());
    // borgmatic adds what it would take for granted.
    let members = value.as_object_mut().unwrap();
    if members.get("bootstrap") == Some(&json!({})) {
        members.remove("bootstrap");
    }
    let measurements = members.get_mut("influxdb_databases");
    for database in measurements
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        // There is only this one, and no such option.
        database.as_object_mut().unwrap().remove("format");
    }
    value
}

/// Configurations that are right; what is not said about repositories is added.
const RIGHT: &[&str] = &[
    "keep_daily: 7\nkeep_within: 24H\n",
    "constants: {days: 3, who: me, on: true}\nkeep_daily: '{days}'\narchive_name_format: '{who}-{now}'\natime: '{on}'\n",
    "constants: {a: b}\narchive_name_format: '\\{a\\}-{hostname}'\nexclude_patterns: ['{a}', '{b}']\n",
    "location:\n    source_directories: [/etc]\nretention:\n    keep_daily: 7\nconsistency:\n    checks: [repository, archives]\n",
    "exclude_if_present: .nobackup\nnumeric_owner: true\nbsd_flags: false\n",
    "statistics: true\n",
    "quick_statistics: true\n",
    "store_config_files: false\n",
    "umask: 0077\nlock_wait: 0x10\n",
    "x: &x [a, b]\n",
    "source_directories: &dirs [/a, /b]\nexclude_patterns: *dirs\n",
    "checks:\n    - name: repository\n      frequency: 2 weeks\n      max_duration: 60\n    - name: extract\n      only_run_on: [Sunday]\n",
    "skip_actions: [compact, key]\ndefault_actions: false\n",
    "<<: !include base.yaml\nkeep_daily: 1\nexclude_patterns: [local]\n",
    "<<: !include [base.yaml, other.yaml]\n",
    "<<: !include base.yaml\nexclude_patterns: !retain [local]\n",
    "<<: !include base.yaml\nexclude_patterns:\n    - !omit one\n    - three\n",
    "exclude_patterns: !include list.yaml\n",
    "compression: \"yes\"\nfiles_cache: \"tab\\there: b\"\n",
];

/// Configurations that are wrong, each with a word that our error must have.
const WRONG: &[(&str, &str)] = &[
    (
        "keep_dialy: 7\n",
        "wrong-00.yaml:3: unknown option \"keep_dialy\"; did you mean \"keep_daily\"?",
    ),
    ("keep_daily: seven\n", "keep_daily"),
    ("keep_daily: '7'\n", "whole number"),
    ("keep_daily: true\n", "whole number"),
    ("atime: yes\n", "true or false"),
    ("source_directories: /etc\n", "a list"),
    ("source_directories: [1]\n", "source_directories[0]"),
    ("files_changed: sometimes\n", "ctime, mtime, disabled"),
    ("verbosity: 3\n", "verbosity"),
    ("verbosity: high\n", "verbosity"),
    ("checks: [{frequency: always}]\n", "name"),
    ("checks: [{name: everything}]\n", "everything"),
    ("checks: [{name: data, max_duration: 3}]\n", "max_duration"),
    ("checks: [{name: data, often: true}]\n", "often"),
    ("checks: {name: data}\n", "a list"),
    ("skip_actions: [frobnicate]\n", "frobnicate"),
    ("compression: 7\n", "compression"),
    ("compression:\n", "nothing"),
    ("keep_daily: 7.5\n", "whole number"),
    ("bootstrap: {store: true}\n", "store"),
    ("bootstrap: false\n", "mapping"),
    ("constants: [a]\n", "mapping"),
    ("a: b: c\n", "not valid YAML"),
    ("a: [1, 2\n", "not valid YAML"),
    ("a: 'x\n", "not valid YAML"),
    ("a: *nothing\n", "not valid YAML"),
    ("a: !secret x\n", "!secret"),
    ("exclude_patterns: !include missing.yaml\n", "missing.yaml"),
    ("<<: !include list.yaml\n", "mapping"),
    ("exclude_patterns: !retain [a]\n", "!retain"),
    ("exclude_patterns: [!omit a]\n", "!omit"),
    ("<<: !include broken.yaml\n", "broken.yaml:2"),
    ("<<: !include loop.yaml\n", "include"),
    (
        "<<: !include base.yaml\nexclude_patterns: text\n",
        "exclude_patterns",
    ),
    (
        "location: {prefix: a}\nconsistency: {prefix: b}\n",
        "prefix",
    ),
    ("storage: {umask: 1}\nhooks: {umask: 2}\n", "umask"),
    ("borg_files_cache_ttl: [1]\n", "borg_files_cache_ttl"),
    ("statistics: loud\n", "loud"),
    ("extra: {a: 1}\n", "extra"),
    (
        "commands: [{before: action, run: echo}]\n",
        "commands[0].run",
    ),
    (
        "commands: [{before: nothing, run: [echo]}]\n",
        "commands[0]",
    ),
    (
        "borg_exit_codes: [{code: 100, treat_as: nothing}]\n",
        "treat_as",
    ),
    ("zfs: {zfs_command: [zfs]}\n", "zfs.zfs_command"),
    ("btrfs: true\n", "btrfs"),
    ("lvm: {size: 5GB}\n", "lvm"),
];

const REPOSITORY: &str = "repositories:\n    - path: /repository\n";

fn including(place: &Place) {
    for (name, text) in [
        (
            "base.yaml",
            "keep_daily: 9\nkeep_weekly: 2\nexclude_patterns: [one, two]\n",
        ),
        ("other.yaml", "keep_weekly: 3\nexclude_patterns: [three]\n"),
        ("list.yaml", "[from, a, file]\n"),
        ("broken.yaml", "a: 1\na: 2\n"),
        ("loop.yaml", "<<: !include loop.yaml\n"),
    ] {
        place.write(name, text);
    }
}

/// All of them in one call: the real one takes its time to start.
fn together(files: &[PathBuf]) -> Vec<&str> {
    let words = files
        .iter()
        .flat_map(|file| ["--config", file.to_str().unwrap()]);
    words.collect()
}

#[test]
fn right_configurations_mean_the_same_to_both() {
    let place = Place::new();
    including(&place);
    let mut files = Vec::new();
    for (index, text) in RIGHT.iter().enumerate() {
        let whole = match text.starts_with("location:") {
            true => text.replace(
                "location:\n",
                "location:\n    repositories: [/repository]\n",
            ),
            false => format!("{REPOSITORY}{}", text.replace("x: &x", "exclude_from: &x")),
        };
        files.push(place.write(&format!("right-{index:02}.yaml"), &whole));
    }
    let (first, rest) = files.split_first().unwrap();
    let rest = together(rest);
    let [ours, theirs] = place.shown(first, &rest);
    assert_eq!([ours.len(), theirs.len()], [RIGHT.len(); 2]);
    for (index, text) in RIGHT.iter().enumerate() {
        assert_eq!(ours[index], theirs[index], "{text}");
    }
}

/// Configurations of real machines, each with the comment that tells what machine it is.
const MACHINES: &str = include_str!("../../../../testdata/borgmatic/configurations.yaml");

fn machines() -> Vec<&'static str> {
    MACHINES.split("---\n").skip(1).collect()
}

#[test]
fn configurations_of_real_machines_mean_the_same_to_both() {
    let place = Place::new();
    let machines = machines();
    assert_eq!(machines.len(), 30);
    let files: Vec<PathBuf> = machines
        .iter()
        .enumerate()
        .map(|(index, text)| {
            let text = text.replace("/var/log/borgmatic", place.sandbox.root().to_str().unwrap());
            place.write(&format!("machine-{index:02}.yaml"), &text)
        })
        .collect();
    let (first, rest) = files.split_first().unwrap();
    let [ours, theirs] = place.shown(first, &together(rest));
    assert_eq!([ours.len(), theirs.len()], [machines.len(); 2]);
    for (index, text) in machines.iter().enumerate() {
        assert_eq!(ours[index], theirs[index], "{text}");
    }
}

/// The options that a part of a configuration uses, as far as the schema has them.
fn used(node: &Node, schema: &Node, place: &str, out: &mut BTreeSet<String>) {
    for (name, inner) in real_fields(schema) {
        let Some(value) = node.get(&name) else {
            continue;
        };
        let place = format!("{place}.{name}");
        for element in value.elements() {
            if let Some(items) = inner.get("items") {
                used(element, items, &place, out);
            }
        }
        used(value, &inner, &place, out);
        out.insert(place);
    }
}

fn all_options(schema: &Node, place: &str, out: &mut BTreeSet<String>) {
    for (name, inner) in real_fields(schema) {
        let place = format!("{place}.{name}");
        if let Some(items) = inner.get("items") {
            all_options(items, &place, out);
        }
        all_options(&inner, &place, out);
        out.insert(place);
    }
}

#[test]
fn the_configurations_of_real_machines_use_every_option() {
    let (mut seen, mut known) = (BTreeSet::new(), BTreeSet::new());
    let schema = real_schema();
    for text in machines() {
        used(&load_text(text, "machine").unwrap(), &schema, "", &mut seen);
    }
    all_options(&schema, "", &mut known);
    assert!(known.len() > 440, "{}", known.len());
    let unused: Vec<&String> = known.difference(&seen).collect();
    assert_eq!(unused, [""; 0]);
}

#[test]
fn wrong_configurations_are_refused_by_both_and_ours_says_where() {
    let place = Place::new();
    including(&place);
    let mut files = Vec::new();
    for (index, (text, _)) in WRONG.iter().enumerate() {
        let text = match text.starts_with("- ") {
            true => (*text).to_owned(),
            false => format!("{REPOSITORY}{text}"),
        };
        files.push(place.write(&format!("wrong-{index:02}.yaml"), &text));
    }
    let (first, rest) = files.split_first().unwrap();
    let runs = place.both(
        first,
        &[&together(rest)[..], &["config", "validate"]].concat(),
    );
    assert_eq!(runs.each_ref().map(Outcome::code), [1, 1]);
    let [ours, theirs] = runs.map(|run| run.err());
    for (file, (text, word)) in files.iter().zip(WRONG) {
        let heading = format!("{}: Error parsing configuration file", file.display());
        assert!(theirs.contains(&heading), "{text}");
        let (_, told) = ours
            .split_once(&heading)
            .unwrap_or_else(|| panic!("{text}{ours}"));
        let (told, _) = told
            .split_once("Error parsing configuration file")
            .unwrap_or((told, ""));
        assert!(told.contains(word), "{text}{told}");
    }
}

#[test]
fn flags_set_options_alike() {
    let place = Place::new();
    let text = format!("{REPOSITORY}      label: one\nexclude_patterns: [a]\nbtrfs:\n");
    let config = place.write("config.yaml", &text);
    for arguments in [
        &[
            "--compression",
            "zstd",
            "--keep-daily",
            "3",
            "--no-atime",
            "--ctime",
            "--source-directories",
            "[/a, /b]",
            "--bootstrap.no-store-config-files",
            "--repositories[0].label",
            "two",
            "--exclude-patterns[0]",
            "b",
        ][..],
        &[
            "--override",
            "retention.keep_daily=4",
            "--override",
            "compression=1",
        ],
    ] {
        let arguments = [arguments, &["--no-btrfs"]].concat();
        let [ours, theirs] = place.shown(&config, &arguments);
        assert_eq!(ours, theirs, "{arguments:?}");
    }
    for arguments in [
        &["--keep-daily", "three"][..],
        &["--exclude-patterns[3]", "x"],
        &["--source-directories", "text"],
    ] {
        let arguments = [arguments, &["--no-btrfs", "config", "validate"]].concat();
        let codes = place.both(&config, &arguments).map(|run| run.code());
        assert_eq!(codes, [1, 1], "{arguments:?}");
    }
}

#[test]
fn a_sample_configuration_is_valid_in_both() {
    let place = Place::new();
    let config = place.sandbox.path("etc/borgmatic/config.yaml");
    let ours = Path::new(env!("CARGO_BIN_EXE_fastness"));
    let arguments = ["config", "generate", "--destination"];
    let generate = || place.sandbox.run_of(ours).args(arguments).arg(&config);
    let told = generate().go().ok().out();
    assert!(told.contains("Generate successful"), "{told}");
    let text = fs::read_to_string(&config).unwrap();
    let text = text.replace(
        "ssh://user@backupserver/./sourcehostname.borg",
        "/repository",
    );
    fs::write(&config, text).unwrap();
    let codes = place
        .both(&config, &["config", "validate"])
        .map(|run| run.code());
    assert_eq!(codes, [0, 0]);
    let refused = generate().go();
    assert_eq!(refused.code(), 1);
    assert!(refused.err().contains("already exists"));
    let _ = generate().arg("--overwrite").go().ok();
}

#[test]
fn what_borgmatic_does_not_have_stands_in_a_file_beside() {
    let place = Place::new();
    let config = place.write("config.yaml", REPOSITORY);
    place.write("config.yaml.fastness", "frobnicate: true\n");
    let [ours, theirs] = place.both(&config, &["config", "validate"]);
    assert_eq!([ours.code(), theirs.code()], [1, 0]);
    let told = ours.err();
    assert!(told.contains("config.yaml.fastness:1"), "{told}");
    assert!(told.contains("under fastness"), "{told}");
}
