//! Twenty-five ways to say what is saved and how: from the same configuration and tree both programs
//! make the same archive, and each reads, checks and extracts the other's.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use fastness_testkit::{Entry, Kind, Outcome, Run, Sandbox, Tree, long, source_tree};

use crate::reference;

/// A name, and a configuration without its repository.
const SCENARIOS: &[(&str, &str)] = &[
    ("plain", "source_directories: [TOP/source]"),
    (
        "several-roots",
        "source_directories: [TOP/source/log, TOP/source/bin, TOP/source/one-byte]",
    ),
    (
        "relative",
        "working_directory: TOP/source\nsource_directories: [bin, deep/er]",
    ),
    (
        "globs",
        "source_directories: ['TOP/source/lo[a-g]', 'TOP/source/m?ny']",
    ),
    (
        "relative-globs",
        "working_directory: TOP/source\nsource_directories: ['lo*', 'man?', 'b?n']",
    ),
    (
        "slashdot",
        "source_directories: [TOP/./source/deep, TOP/source/./bin]",
    ),
    (
        "excludes",
        "source_directories: [TOP/source]\nexclude_patterns: ['*.log', 'sh:**/many/*3', 're:one-.yte$', 'pp:TOP/source/deep']",
    ),
    (
        "patterns",
        "patterns: ['R TOP/source', 'P sh', '+ **/many/00*', '- **/many/**', '! TOP/source/bin', '- fm:*odd*']",
    ),
    (
        "pattern-files",
        "patterns_from: [TOP/patterns]\nexclude_from: [TOP/excludes]",
    ),
    (
        "cache-tags",
        "source_directories: [TOP/source]\nexclude_caches: true",
    ),
    (
        "tags",
        "source_directories: [TOP/source]\nexclude_if_present: [.nobackup, .skip]",
    ),
    (
        "kept-tags",
        "source_directories: [TOP/source]\nexclude_if_present: [.nobackup]\nkeep_exclude_tags: true",
    ),
    (
        "nodump",
        "source_directories: [TOP/source]\nexclude_nodump: true",
    ),
    (
        "one-file-system",
        "source_directories: [TOP/source]\none_file_system: true",
    ),
    (
        "numbers",
        "source_directories: [TOP/source]\nnumeric_ids: true",
    ),
    (
        "times",
        "source_directories: [TOP/source]\natime: false\nctime: false\nbirthtime: false",
    ),
    ("no-flags", "source_directories: [TOP/source]\nflags: false"),
    (
        "chunks",
        "source_directories: [TOP/source]\nchunker_params: 10,14,12,4095\ncompression: lzma,1",
    ),
    (
        "fixed-chunks",
        "source_directories: [TOP/source]\nchunker_params: fixed,65536\ncompression: auto,zstd,3",
    ),
    (
        "caches",
        "source_directories: [TOP/source]\nfiles_cache: mtime,size\nfiles_changed: disabled\ncheckpoint_interval: 1",
    ),
    (
        "named",
        "source_directories: [TOP/source/bin]\narchive_hostname: other\narchive_username: nobody\narchive_name_format: '{hostname}-{user}-{now:%s}'\nmatch_archives: 'sh:*'",
    ),
    (
        "constants",
        "constants: {place: TOP, part: log}\nsource_directories: ['{place}/source/{part}']\nexclude_patterns: ['*/\\{part\\}/*']",
    ),
    (
        "include",
        "<<: !include common\nsource_directories: [TOP/source]\nexclude_patterns: !retain ['*.log']",
    ),
    (
        "missing",
        "source_directories: [TOP/source/deep, TOP/nowhere]\nsource_directories_must_exist: false",
    ),
    (
        "words",
        "source_directories: [TOP/source]\numask: 27\nextra_borg_options: {create: --noacls --noxattrs, list: --info}",
    ),
    (
        "sections",
        "location: {source_directories: [TOP/source/many], exclude_if_present: .nobackup}\nstorage: {compression: zlib}",
    ),
];

/// `WHOSE` is a variable of the environment: both programs read the very same files.
const REPOSITORY: &str = "repositories: [{path: 'TOP/${WHOSE}/NAME'}]\n\
    unknown_unencrypted_repo_access_is_ok: true\n";

const FORMAT: &str = "{type}{mode} {user} {uid} {group} {gid} {size} {mtime} {sha256} {path}{NL}";

struct World {
    sandbox: Sandbox,
}

impl World {
    fn new() -> World {
        let sandbox = Sandbox::new();
        let world = World { sandbox };
        world.furnish();
        world
    }

    fn text(&self, text: &str) -> String {
        text.replace("TOP", self.sandbox.root().to_str().unwrap())
    }

    fn furnish(&self) {
        let source = self.sandbox.path("source");
        source_tree::create(&source, 1);
        for (path, text) in [
            (
                "cache/CACHEDIR.TAG",
                "Signature: 8a477f597d28d172789f06886806bc55\n",
            ),
            ("cache/file", "cached\n"),
            ("skipped/.nobackup", ""),
            ("skipped/file", "left out\n"),
            ("odd/file", "odd\n"),
        ] {
            let path = source.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let write =
            |name: &str, text: &str| fs::write(self.sandbox.path(name), self.text(text)).unwrap();
        write(
            "patterns",
            "R TOP/source\n# a comment\n- TOP/source/log\n! sh:**/odd\n",
        );
        write("excludes", "*/many/*\n\n# another\nsh:**/cache/file\n");
        write("common", "exclude_patterns: [nothing]\ncompression: none\n");
        for (name, text) in SCENARIOS {
            let repository = match text.starts_with("location:") {
                // Old sections have the repository in one of them.
                true => "unknown_unencrypted_repo_access_is_ok: true\n".to_owned(),
                false => REPOSITORY.replace("NAME", name),
            };
            let text = text.replace(
                "location: {",
                &format!("location: {{repositories: ['TOP/${{WHOSE}}/{name}'], "),
            );
            let end = "\nbootstrap: {store_config_files: false}\n";
            write(&format!("{name}.yaml"), &format!("{repository}{text}{end}"));
        }
        for whose in ["ours", "theirs"] {
            let _ = self.sandbox.directory(whose);
        }
    }

    fn run(&self, program: &Path, whose: &str, names: &[&str]) -> Run {
        let runtime = self.sandbox.directory("run");
        let run = self.sandbox.run_of(program).env("XDG_RUNTIME_DIR", runtime);
        let run = run.env("WHOSE", whose);
        names.iter().fold(run, |run, name| {
            let file = self.sandbox.path(format!("{name}.yaml"));
            run.arg("--config").arg(file)
        })
    }

    fn fastness(&self, whose: &str, names: &[&str], words: &[&str]) -> Outcome {
        let program = Path::new(env!("CARGO_BIN_EXE_fastness"));
        self.run(program, whose, names).args(words).go()
    }

    fn borgmatic(&self, whose: &str, names: &[&str], words: &[&str]) -> Outcome {
        let borg = reference();
        let peers = borg.path().ancestors().nth(3).unwrap();
        let program: PathBuf = peers.join("borgmatic-2.1.10/bin/borgmatic");
        let run = self.run(&program, whose, names).arg("--local-path");
        run.arg(borg.path()).args(words).go()
    }

    /// What a listing of all repositories says about each.
    fn listed(&self, outcome: Outcome, whose: &str) -> BTreeMap<String, Vec<String>> {
        let text = outcome.ok().out();
        let top = self.text(&format!("TOP/{whose}/"));
        let mut listed: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut name = String::new();
        for line in text.lines() {
            match line
                .strip_prefix(&top)
                .and_then(|rest| rest.split_once(':'))
            {
                Some((found, _)) => name = found.to_owned(),
                None => listed
                    .entry(name.clone())
                    .or_default()
                    .push(line.to_owned()),
            }
        }
        listed
    }

    /// The tree that an extract of one scenario gives.
    fn extracted(&self, by: &str, whose: &str, name: &str) -> Tree {
        let target = self.sandbox.directory(&format!("extracted-{by}/{name}"));
        let words = ["extract", "--archive", "latest", "--destination"];
        let words = [&words[..], &[target.to_str().unwrap()]].concat();
        let outcome = match by {
            "ours" => self.fastness(whose, &[name], &words),
            _ => self.borgmatic(whose, &[name], &words),
        };
        let _ = outcome.ok();
        let tree = Tree::read(&target);
        assert!(
            tree.len() > 1,
            "{name}: nothing came out of the archive of {whose}"
        );
        tree.as_archived()
    }
}

#[test]
fn both_programs_make_and_read_the_same_archives_of_many_configurations() {
    let world = World::new();
    let names: Vec<&str> = SCENARIOS.iter().map(|(name, _)| *name).collect();
    assert!(names.len() >= 25);
    let create = ["repo-create", "--encryption", "none", "create"];
    let _ = world.fastness("ours", &names, &create).ok();
    let _ = world.borgmatic("theirs", &names, &create).ok();
    let list = ["list", "--archive", "latest", "--format", FORMAT];
    let ours = world.listed(world.borgmatic("ours", &names, &list), "ours");
    let theirs = world.listed(world.fastness("theirs", &names, &list), "theirs");
    assert_eq!(ours.len(), names.len());
    for (name, items) in &ours {
        assert!(!items.is_empty(), "{name}");
        assert_eq!(Some(items), theirs.get(name), "{name}");
    }
    // They are not all the same: every configuration has its effect.
    assert!(ours["excludes"].len() < ours["plain"].len());
    assert!(ours["tags"].len() < ours["kept-tags"].len());
    let check = ["check", "--force"];
    let _ = world.borgmatic("ours", &names, &check).ok();
    let _ = world.fastness("theirs", &names, &check).ok();
    // An extract of one takes the real program a while: all of them in the long form only.
    let step = if long() { 1 } else { 6 };
    for name in names.into_iter().step_by(step) {
        // Directories that lead to what is archived get the time of the extract.
        let leads = |path: &[u8], entry: &Entry| {
            let path = format!(" {}", String::from_utf8_lossy(path));
            entry.kind == Kind::Directory && !ours[name].iter().any(|item| item.ends_with(&path))
        };
        let [first, second] = [("theirs", "ours"), ("ours", "theirs")]
            .map(|(by, whose)| world.extracted(by, whose, name).without(leads));
        first.assert_same(&second, name);
    }
}
