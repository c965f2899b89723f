//! A machine from its repository: the plan that reinstalls its packages, its files, and whatever may
//! go wrong on the way.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fastness_testkit::{Borg, Outcome, RamDisk, Run, Sandbox, Sshd, Tree, source_tree};

use crate::{ours, reference};

const PHRASE: &str = "words of the machine";

/// A machine with files, and a repository on another one.
pub struct Machine {
    pub sandbox: Sandbox,
    server: Sshd,
    address: String,
    rsh: String,
}

impl Machine {
    pub fn new(extra: &str) -> Machine {
        Machine::served_by(&ours(), extra)
    }

    fn served_by(borg: &Borg, extra: &str) -> Machine {
        let mut sandbox = Sandbox::new();
        let server = Sshd::start();
        let disk = sandbox.directory("disk");
        let forced = format!(
            "{} serve --restrict-to-path {}",
            borg.path().display(),
            disk.display()
        );
        let rsh = server.rsh("machine", Some(&forced));
        let address = server.address(disk.join("repository"));
        let runtime = sandbox.directory("run");
        sandbox.set_env("XDG_RUNTIME_DIR", runtime);
        let top = sandbox.root().to_owned();
        sandbox.set_env("TOP", top);
        source_tree::create(&sandbox.path("machine/home"), 1);
        let text = format!(
            "source_directories:
    - {top}/machine
repositories:
    - path: {address}
      encryption: keyfile-blake2
encryption_passphrase: {PHRASE}
ssh_command: {rsh}
compression: none
{extra}",
            top = sandbox.root().display()
        );
        fs::write(sandbox.path("config.yaml"), text).unwrap();
        fs::write(sandbox.path("phrase"), format!("{PHRASE}\n")).unwrap();
        Machine {
            sandbox,
            server,
            address,
            rsh,
        }
    }

    /// By the configuration of the machine.
    pub fn configured(&self, arguments: &[&str]) -> Outcome {
        let run = self
            .sandbox
            .run_of(Path::new(env!("CARGO_BIN_EXE_fastness")));
        let run = run.arg("--config").arg(self.sandbox.path("config.yaml"));
        run.without_env("BORG_PASSPHRASE").args(arguments).go()
    }

    pub fn saved(self) -> Machine {
        let _ = self.configured(&["repo-create"]).ok();
        let _ = self.configured(&["create"]).ok();
        self
    }

    /// The real Borg, with the key.
    fn borg(&self, arguments: &[&str]) -> Outcome {
        let run = self.sandbox.command(&reference());
        let run = run
            .env("BORG_PASSPHRASE", PHRASE)
            .env("BORG_RSH", &self.rsh);
        run.args(arguments).go()
    }

    /// A bare machine: another home, without a key or a configuration.
    fn bare(&self, arguments: &[&str]) -> Run {
        let run = self
            .sandbox
            .run_of(Path::new(env!("CARGO_BIN_EXE_fastness")));
        let run = run
            .without_env("BORG_PASSPHRASE")
            .without_env("BORG_BASE_DIR");
        let run = run.env("HOME", self.sandbox.directory("bare"));
        run.arg("recover").args(arguments)
    }

    fn key(&self) -> PathBuf {
        let keys = fs::read_dir(self.sandbox.home().join(".config/borg/keys")).unwrap();
        keys.map(|entry| entry.unwrap().path()).next().unwrap()
    }

    /// A recovery with all that is needed.
    pub fn recovery(&self, arguments: &[&str]) -> Run {
        self.bare(&["--repository", &self.address, "--ssh-command", &self.rsh])
            .arg("--key-file")
            .arg(self.key())
            .arg("--passphrase-file")
            .arg(self.sandbox.path("phrase"))
            .args(arguments)
    }

    /// What stands below a destination must be what was on the machine.
    #[track_caller]
    fn assert_recovered(&self, destination: &Path, about: &str) {
        let source = self.sandbox.path("machine");
        let restored = destination.join(source.strip_prefix("/").unwrap());
        let expected = Tree::read(&source).as_archived();
        expected.assert_same(&Tree::read(&restored).as_archived(), about);
        assert!(!destination.join(".fastness-recover").exists(), "{about}");
        let mut parents = restored.ancestors().skip(1);
        let outermost = parents.find(|path| path.parent() == Some(destination));
        let mode = fs::metadata(outermost.unwrap()).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o755, "{about}: what the archive does not have");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_machine_comes_back_from_nothing_but_ssh_key_paper_and_passphrase() {
    let machine = Machine::served_by(&reference(), "").saved();
    let paper = machine.sandbox.path("paper");
    let export = ["key", "export", "--paper", &machine.address, text(&paper)];
    let _ = machine.borg(&export).ok();
    // The key file itself is lost.
    fs::remove_file(machine.key()).unwrap();
    let destination = machine.sandbox.path("new");
    let phrase = machine.sandbox.path("phrase");
    let mut words = vec![
        "--repository",
        &machine.address,
        "--ssh-command",
        &machine.rsh,
    ];
    words.extend(["--paper", text(&paper), "--passphrase-file", text(&phrase)]);
    words.extend(["--destination", text(&destination), "--yes"]);
    let said = machine.bare(&words).go().ok().out();
    assert!(said.contains("is recovered in "), "{said}");
    machine.assert_recovered(&destination, "from paper");
    let home = Tree::read(&machine.sandbox.path("bare"));
    assert_eq!(
        home.len(),
        1,
        "nothing is left in the home directory: {home:?}"
    );
}

#[test]
fn a_machine_that_knows_no_other_one_reaches_its_repository_with_the_key_alone() {
    let machine = Machine::new("").saved();
    let mut words = machine.rsh.split(' ');
    let key = words
        .by_ref()
        .skip_while(|word| *word != "-i")
        .nth(1)
        .unwrap();
    let phrase = machine.sandbox.path("phrase");
    let destination = machine.sandbox.path("a new place");
    let own = machine.key();
    let words = [
        "--repository",
        &machine.address,
        "--ssh-key",
        key,
        "--key-file",
        text(&own),
    ];
    let run = machine
        .bare(&words)
        .arg("--passphrase-file")
        .arg(phrase)
        .arg("--destination");
    let _ = run.arg(&destination).arg("--yes").go().ok();
    machine.assert_recovered(&destination, "with the key for ssh");
}

#[test]
fn an_archive_of_the_real_borgmatic_recovers_the_machine() {
    let machine = Machine::served_by(&reference(), "");
    let _ = machine.configured(&["repo-create"]).ok();
    let peers = reference().path().ancestors().nth(3).unwrap().to_owned();
    let run = machine
        .sandbox
        .run_of(&peers.join("borgmatic-2.1.10/bin/borgmatic"));
    let run = run.arg("--config").arg(machine.sandbox.path("config.yaml"));
    let run = run.arg("--local-path").arg(reference().path());
    let _ = run.without_env("BORG_PASSPHRASE").arg("create").go().ok();
    let destination = machine.sandbox.path("new");
    let words = ["--destination", text(&destination), "--yes"];
    let said = machine.recovery(&words).go().ok().out();
    assert!(said.contains("packages: the archive lists none"), "{said}");
    machine.assert_recovered(&destination, "made by borgmatic");
}

#[test]
fn a_recovery_that_was_killed_goes_on_and_ends_with_the_same_tree() {
    let machine = Machine::new("");
    let big = machine.sandbox.directory("machine/var");
    let mut bytes = source_tree::Bytes::new(7);
    for number in 0..16 {
        let path = big.join(format!("file-{number}"));
        fs::write(&path, bytes.random(2 << 20)).unwrap();
        source_tree::set_mtime(&path, 1_000_000_000, 0);
    }
    let machine = machine.saved();
    for reached in [0, 1, 12] {
        let destination = machine.sandbox.path(format!("new-{reached}"));
        let words = ["--destination", text(&destination), "--yes"];
        let restored = destination.join(big.strip_prefix("/").unwrap());
        let mut child = machine.recovery(&words).spawn();
        let state = destination.join(".fastness-recover/state.json");
        let count = || fs::read_dir(&restored).map_or(0, Iterator::count);
        while !state.exists() || count() < reached {
            assert!(child.try_wait().unwrap().is_none(), "it ended too soon");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        let _ = child.wait();
        let refused = machine.recovery(&words).go();
        assert_eq!(refused.code(), 2);
        assert!(refused.err().contains("--continue goes on"), "{refused}");
        let before: Vec<(PathBuf, u64)> = finished(&restored);
        let _ = machine
            .recovery(&[&words[..], &["--continue"]].concat())
            .go()
            .ok();
        machine.assert_recovered(&destination, &format!("killed after {reached} files"));
        for (path, inode) in before {
            let now = fs::metadata(&path).unwrap().ino();
            assert_eq!(now, inode, "{} was fetched again", path.display());
        }
    }
}

#[test]
fn a_person_is_asked_before_each_step_and_may_end_and_go_on() {
    let machine = Machine::new("").saved();
    let destination = machine.sandbox.path("new");
    let asked = |answers: &str, more: &str| {
        let (key, phrase) = (machine.key(), machine.sandbox.path("phrase"));
        let command = format!(
            "{} recover --repository {} --ssh-command '{}' --key-file {} --passphrase-file {} --destination {} {more}",
            env!("CARGO_BIN_EXE_fastness"),
            machine.address,
            machine.rsh,
            key.display(),
            phrase.display(),
            destination.display(),
        );
        let run = machine.sandbox.run_of(Path::new("/usr/bin/script"));
        let run = run
            .without_env("BORG_PASSPHRASE")
            .without_env("BORG_BASE_DIR");
        run.args(["-qec", &command, "/dev/null"])
            .stdin(answers.as_bytes())
            .go()
    };
    let first = asked("skip\nyes\nquit\n", "");
    assert_eq!(first.code(), 2, "{first}");
    assert!(first.out().contains("ended as you wish"), "{first}");
    let second = asked("yes\n", "--continue").ok();
    assert!(second.out().contains("2. files: "), "{second}");
    assert!(!second.out().contains("Restore files now?"), "{second}");
    machine.assert_recovered(&destination, "asked");
}

/// The files that an extraction completed: it sets the time of change last.
fn finished(directory: &Path) -> Vec<(PathBuf, u64)> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| (entry.path(), entry.metadata().unwrap()))
        .filter(|(_, metadata)| metadata.mtime() == 1_000_000_000)
        .map(|(path, metadata)| (path, metadata.ino()))
        .collect()
}

#[test]
fn what_is_there_stays_or_goes_as_one_chooses() {
    let machine = Machine::new("");
    let directory = machine.sandbox.directory("machine/etc");
    for name in ["same", "other", "lost"] {
        fs::write(directory.join(name), name).unwrap();
    }
    let machine = machine.saved();
    let destination = machine.sandbox.path("new");
    let recover = |mode: &str| {
        let mut words = vec!["--destination", text(&destination), "--yes"];
        if !mode.is_empty() {
            words.extend(["--overwrite", mode]);
        }
        machine.recovery(&words).go()
    };
    let _ = recover("").ok();
    machine.assert_recovered(&destination, "first");
    let etc = destination.join(directory.strip_prefix("/").unwrap());
    // A number of an inode may come again.
    let touched = |name: &str| {
        let metadata = fs::metadata(etc.join(name)).unwrap();
        (metadata.ctime(), metadata.ctime_nsec())
    };
    let change = || {
        fs::write(etc.join("other"), "mine").unwrap();
        fs::remove_file(etc.join("lost")).unwrap();
        touched("same")
    };
    let before = change();
    let refused = recover("");
    assert_eq!(refused.code(), 2);
    assert!(
        refused
            .err()
            .contains("is not empty; choose with --overwrite"),
        "{refused}"
    );
    let _ = recover("never").ok();
    assert_eq!(fs::read_to_string(etc.join("other")).unwrap(), "mine");
    assert_eq!(fs::read_to_string(etc.join("lost")).unwrap(), "lost");
    let _ = change();
    let _ = recover("changed").ok();
    machine.assert_recovered(&destination, "changed");
    assert_eq!(touched("same"), before, "it was not written again");
    let _ = change();
    let _ = recover("always").ok();
    machine.assert_recovered(&destination, "always");
    assert_ne!(touched("same"), before);
}

#[test]
fn each_kind_of_bad_input_is_one_clear_error() {
    let machine = Machine::new("").saved();
    let destination = machine.sandbox.path("new");
    let to = ["--destination", text(&destination), "--yes"];
    let other = machine.sandbox.path("other-key");
    let key = fs::read_to_string(machine.key()).unwrap();
    let (_, rest) = key.split_once('\n').unwrap();
    fs::write(&other, format!("BORG_KEY {}\n{rest}", "0".repeat(64))).unwrap();
    let wrong = machine.sandbox.path("wrong");
    fs::write(&wrong, "not these words\n").unwrap();
    let base = [
        "--repository",
        &machine.address,
        "--ssh-command",
        &machine.rsh,
    ];
    let (own_key, phrase) = (machine.key(), machine.sandbox.path("phrase"));
    let elsewhere = machine.server.address(machine.sandbox.path("disk/none"));
    let stranger = machine.server.stranger("stranger");
    let cases: [(&[&str], &str); 7] = [
        (
            &[
                "--key-file",
                text(&own_key),
                "--passphrase-file",
                text(&wrong),
            ],
            "incorrect",
        ),
        (
            &["--passphrase-file", text(&phrase)],
            "--key-file names the key file",
        ),
        (
            &[
                "--key-file",
                text(&other),
                "--passphrase-file",
                text(&phrase),
            ],
            "--key-file names the key file",
        ),
        (&["--key-file", "/no/such"], "reading the key file /no/such"),
        (&["--paper", text(&wrong)], "there is no line \"id: …\""),
        (
            &["--key-file", text(&own_key), "--archive", "none"],
            "has no archive",
        ),
        (&["--continue"], "no unfinished recovery"),
    ];
    let refused = |run: Run, expected: &str| {
        let outcome = run.env("BORG_PASSPHRASE", PHRASE).go().tidy();
        assert_eq!(outcome.code(), 2, "{expected}: {outcome}");
        assert!(outcome.err().contains(expected), "{expected}: {outcome}");
        assert!(
            !destination.join(".fastness-recover").exists(),
            "{expected}"
        );
    };
    for (words, expected) in cases {
        refused(machine.bare(&[&base[..], words, &to].concat()), expected);
    }
    let words = [
        "--repository",
        &elsewhere,
        "--ssh-command",
        &machine.rsh,
        "--key-file",
        text(&own_key),
    ];
    refused(machine.bare(&[&words[..], &to].concat()), "does not exist");
    let words = [
        "--repository",
        &machine.address,
        "--ssh-command",
        &stranger,
        "--key-file",
        text(&own_key),
    ];
    refused(
        machine.bare(&[&words[..], &to].concat()),
        "--ssh-key names the private key",
    );
    let nobody = machine.recovery(&["--destination", text(&destination)]);
    refused(nobody, "there is nobody to ask: give --yes");
    // An archive that no configuration made has none.
    fs::write(machine.sandbox.path("plain"), "x").unwrap();
    let _ = machine
        .borg(&["create", &format!("{}::plain", machine.address), "plain"])
        .ok();
    let plain = ["--archive", "plain"];
    refused(
        machine.recovery(&[&to[..], &plain].concat()),
        "holds no configuration",
    );
    let only = ["--only", "packages,files"];
    let _ = machine
        .recovery(&[&to[..], &plain, &only].concat())
        .go()
        .ok();
    assert_eq!(fs::read_to_string(destination.join("plain")).unwrap(), "x");
}

#[test]
fn a_full_disk_is_told_and_the_recovery_goes_on_when_there_is_room() {
    let machine = Machine::new("");
    let big = machine.sandbox.directory("machine/var");
    fs::write(big.join("big"), source_tree::Bytes::new(1).random(6 << 20)).unwrap();
    let machine = machine.saved();
    let disk = RamDisk::mount(&machine.sandbox.path("new"), 4 << 20);
    let words = ["--destination", text(disk.path()), "--yes"];
    let full = machine.recovery(&words).go();
    assert_eq!(full.code(), 2, "{full}");
    assert!(full.err().contains("is full; make room"), "{full}");
    disk.resize(64 << 20);
    let _ = machine
        .recovery(&[&words[..], &["--continue"]].concat())
        .go()
        .ok();
    machine.assert_recovered(disk.path(), "with room");
}

/// Configures apt as on a machine without any package, with the lists of this one.
fn bare_apt(sandbox: &Sandbox) -> PathBuf {
    let lists = fs::read_dir("/var/lib/apt/lists").unwrap().flatten();
    let mut names = lists.map(|entry| entry.file_name().into_string().unwrap());
    assert!(
        names.any(|name| name.contains("_Packages")),
        "apt has no lists of packages: run scripts/setup"
    );
    fs::write(sandbox.path("status"), "").unwrap();
    let path = sandbox.path("apt.conf");
    // What apt finds out once is not found out again, and that of this machine stays.
    let text = format!(
        "Dir::State::status \"{}\";\nDir::Cache \"{}\";\n",
        sandbox.path("status").display(),
        sandbox.directory("apt-cache").display()
    );
    fs::write(&path, text).unwrap();
    path
}

fn output(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output().unwrap();
    assert!(output.status.success(), "{program}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn set(text: &str) -> BTreeSet<String> {
    text.lines().map(str::to_owned).collect()
}

/// Runs a plan against apt as on a bare machine, and compares what it would install with what was
/// asked for on this one.
fn assert_same_packages(sandbox: &Sandbox, plan: &Path) {
    let run = sandbox
        .run_of(Path::new("/bin/sh"))
        .arg(plan)
        .arg("--simulate");
    let outcome = run.env("APT_CONFIG", bare_apt(sandbox)).go();
    assert!([0, 3].contains(&outcome.code()), "{outcome}");
    let manual = set(&output("apt-mark", &["showmanual"]));
    let (out, err) = (outcome.out(), outcome.err());
    let missing = err
        .lines()
        .filter_map(|line| line.strip_prefix("!! apt has no package "));
    let missing: BTreeSet<String> = missing.map(str::to_owned).collect();
    let named = out
        .lines()
        .find_map(|line| line.trim().strip_prefix("packages: "));
    let named = named
        .unwrap()
        .split(' ')
        .map(|word| word.split('=').next().unwrap().to_owned());
    let named: BTreeSet<String> = named.collect();
    let all: BTreeSet<String> = named.union(&missing).cloned().collect();
    assert_eq!(
        all, manual,
        "the plan names what was asked for on this machine"
    );
    let installs = out.lines().filter_map(|line| line.strip_prefix("Inst "));
    let installs: BTreeSet<String> = installs
        .map(|line| line.split([' ', ':']).next().unwrap().to_owned())
        .collect();
    let bare: BTreeSet<String> = named
        .iter()
        .map(|name| name.split(':').next().unwrap().to_owned())
        .collect();
    let lacking: Vec<&String> = bare.difference(&installs).collect();
    assert!(lacking.is_empty(), "apt would not install {lacking:?}");
}

#[test]
fn the_plan_of_an_inventory_names_the_packages_of_the_machine() {
    let inventory =
        "fastness:\n    system_inventory:\n        parts: [system, apt, units, accounts]\n";
    let machine = Machine::new(inventory).saved();
    let plan = machine.sandbox.path("plan.sh");
    let words = ["recover", "plan", "--config"];
    let run = machine
        .sandbox
        .run_of(Path::new(env!("CARGO_BIN_EXE_fastness")))
        .args(words);
    let run = run
        .arg(machine.sandbox.path("config.yaml"))
        .arg("--output")
        .arg(&plan);
    let _ = run.without_env("BORG_PASSPHRASE").go().ok();
    assert_same_packages(&machine.sandbox, &plan);
    let text = fs::read_to_string(&plan).unwrap();
    for needed in [
        "need_user 'root' '0' '0'",
        "put_file always 644 '/etc/apt/",
        "enable_unit '",
    ] {
        assert!(text.contains(needed), "{needed}");
    }
    let direct = machine.sandbox.path("direct.sh");
    let _ = machine
        .bare(&[
            "plan",
            "--repository",
            &machine.address,
            "--ssh-command",
            &machine.rsh,
        ])
        .arg("--key-file")
        .arg(machine.key())
        .arg("--passphrase-file")
        .arg(machine.sandbox.path("phrase"))
        .arg("--output")
        .arg(&direct)
        .go()
        .ok();
    let direct = fs::read_to_string(&direct).unwrap();
    let below = |text: &str| text.lines().skip(2).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(below(&text), below(&direct), "both ways give the same plan");
    // A program that fails is a warning, and costs nothing else.
    let bin = machine.sandbox.directory("bin");
    fs::write(bin.join("apt-mark"), "#!/bin/sh\necho broken >&2\nexit 7\n").unwrap();
    let _ = Command::new("chmod")
        .arg("755")
        .arg(bin.join("apt-mark"))
        .status();
    let run = machine
        .sandbox
        .run_of(Path::new(env!("CARGO_BIN_EXE_fastness")));
    let path = format!("{}:/usr/bin:/bin:/usr/sbin:/sbin", bin.display());
    let run = run
        .env("PATH", path)
        .arg("--config")
        .arg(machine.sandbox.path("config.yaml"));
    let outcome = run.without_env("BORG_PASSPHRASE").arg("create").go();
    assert_eq!(outcome.code(), 0, "{outcome}");
    assert!(outcome.err().contains("has no apt/manual: "), "{outcome}");
}

#[test]
fn the_lists_that_hooks_write_are_enough_for_a_plan() {
    let sandbox = Sandbox::new();
    let lists = sandbox.directory("var/backups/packages");
    let write = |name: &str, text: String| fs::write(lists.join(name), text).unwrap();
    write("dpkg-selections.txt", output("dpkg", &["--get-selections"]));
    write("apt-manual.txt", output("apt-mark", &["showmanual"]));
    write(
        "pip.txt",
        "idna==3.3\n-e git+https://example.org#egg=x\n".to_owned(),
    );
    let _ = sandbox
        .run(
            &reference(),
            &["init", "--encryption", "repokey", "repository"],
        )
        .ok();
    let _ = sandbox
        .run(&reference(), &["create", "repository::server-1", "var"])
        .ok();
    let plan = sandbox.path("plan.sh");
    let run = sandbox.run_of(Path::new(env!("CARGO_BIN_EXE_fastness")));
    let run = run.args(["recover", "plan", "--repository", "repository", "--output"]);
    let _ = run.arg(&plan).go().ok();
    let text = fs::read_to_string(&plan).unwrap();
    let named = text.lines().filter_map(|line| line.strip_suffix(" -"));
    let named: BTreeSet<String> = named.map(str::to_owned).collect();
    assert_eq!(named, set(&output("apt-mark", &["showmanual"])));
    assert!(text.contains("need_python 'python3' idna 3.3\n"), "{text}");
    assert!(
        !text.contains("example.org"),
        "what pip cannot install by its name is left out"
    );
    fs::write(sandbox.path("file"), "x").unwrap();
    let _ = sandbox
        .run(&reference(), &["create", "repository::server-3", "file"])
        .ok();
    let run = sandbox.run_of(Path::new(env!("CARGO_BIN_EXE_fastness")));
    let outcome = run
        .args(["recover", "plan", "--repository", "repository"])
        .go();
    assert_eq!(outcome.code(), 2);
    assert!(
        outcome.err().contains("has no inventory of the system"),
        "{outcome}"
    );
}
