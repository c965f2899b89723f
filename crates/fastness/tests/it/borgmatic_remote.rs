//! A configuration with repositories on other machines, run beside the real borgmatic: the
//! configuration of a whole server, a machine that is down, repositories that both programs use.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use fastness_testkit::{Borg, Outcome, Run, Sandbox, Sshd, Tree, source_tree};

use crate::{ours, reference};

const MISSION: &str = include_str!("../../../../testdata/borgmatic/mission.yaml");
const NAMES: [&str; 2] = ["local-nas", "remote-nas"];

/// Programs that the hooks of the configuration call.
const PROGRAMS: [(&str, &str); 5] = [
    (
        "mariabackup",
        "case $1 in --backup) mkdir \"${2#--target-dir=}\"; echo rows > \"${2#--target-dir=}/table\";; esac",
    ),
    ("dpkg", "echo borgbackup install"),
    ("apt-mark", "echo borgbackup"),
    ("pip", "echo borgmatic==2.1.10"),
    ("notify", "printf '%s\\n' \"$@\" >> TOP/notified"),
];

/// The server that is backed up, and two that keep the backups: one with the real Borg, one with
/// ours.
struct World {
    sandbox: Sandbox,
    servers: [Sshd; 2],
}

impl World {
    fn new() -> World {
        let mut sandbox = Sandbox::new();
        let servers = [Sshd::start(), Sshd::start()];
        let mut ssh = String::new();
        for (index, (server, borg)) in servers.iter().zip([reference(), ours()]).enumerate() {
            let directory = sandbox.directory(&format!("disks/{}", NAMES[index]));
            let forced = format!(
                "cd {0} && {1} serve --restrict-to-path {0}",
                directory.display(),
                borg.path().display()
            );
            let key = server.rsh("client", Some(&forced));
            let words: Vec<&str> = key.split(' ').collect();
            ssh += &format!("Host {}.example.net\n", NAMES[index]);
            ssh +=
                "    HostName 127.0.0.1\n    IdentitiesOnly yes\n    StrictHostKeyChecking yes\n";
            // Only for that without a port in its address.
            ssh += &format!("    Port {}\n", server.port());
            for pair in words.windows(2) {
                match (pair[0], pair[1].split_once('=')) {
                    ("-i", _) => ssh += &format!("    IdentityFile {}\n", pair[1]),
                    ("-o", Some((name @ ("HostKeyAlias" | "UserKnownHostsFile"), value))) => {
                        ssh += &format!("    {name} {value}\n");
                    }
                    _ => {}
                }
            }
        }
        fs::write(sandbox.path("ssh_config"), ssh).unwrap();
        let runtime = sandbox.directory("run");
        sandbox.set_env("XDG_RUNTIME_DIR", runtime);
        let path = format!(
            "{}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            sandbox.path("bin").display()
        );
        sandbox.set_env("PATH", path);
        let world = World { sandbox, servers };
        world.furnish();
        world
    }

    fn top(&self) -> String {
        self.sandbox.root().to_str().unwrap().to_owned()
    }

    /// What there is on the machine: files, programs, the configuration.
    fn furnish(&self) {
        let bin = self.sandbox.directory("bin");
        for (name, script) in PROGRAMS {
            let script = format!("#!/bin/sh\n{}\n", script.replace("TOP", &self.top()));
            fs::write(bin.join(name), script).unwrap();
            fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        source_tree::create(&self.sandbox.path("machine/home"), 1);
        for (path, text) in [
            ("etc/hosts", "127.0.0.1 localhost\n"),
            ("root/.profile", "umask 077\n"),
            ("root/.cache/thumbnails", "left out\n"),
            ("usr/local/bin/tool", "#!/bin/sh\n"),
            ("var/log/syslog", "all is well\n"),
            ("var/lib/mysql/ibdata1", "left out\n"),
            ("var/secret/.nobackup", ""),
            ("var/secret/left-out", "left out\n"),
        ] {
            let path = self.sandbox.path("machine").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        // The spot check counts: what the hooks take away again must not weigh too much.
        let share = self.sandbox.directory("machine/usr/local/share");
        for number in 0..100 {
            fs::write(share.join(format!("page-{number}")), "text\n").unwrap();
        }
        let borg = self.sandbox.directory("borg");
        fs::write(borg.join("passphrase"), "seven words of the mission\n").unwrap();
        self.configure(MISSION);
    }

    /// Writes the configuration, with the places of this sandbox.
    fn configure(&self, text: &str) {
        let top = self.top();
        let port = format!(":{}/", self.servers[1].port());
        let mut text = text
            .replace("borg-backup@", "")
            .replace(":6883/", &port)
            .replace("ssh -i /etc/borg/ssh/id_ed25519", "ssh -F TOP/ssh_config")
            .replace("/etc/borgmatic/notify.sh", "notify")
            .replace("/var/lib/borg\n", "TOP/borg/base\n")
            .replace("/var/cache/borg\n", "TOP/borg/cache\n")
            .replace("/etc/borg", "TOP/borg");
        for directory in ["etc", "home", "root", "usr/local", "var"] {
            for before in [" ", "="] {
                let path = format!("{before}/{directory}");
                text = text.replace(&path, &format!("{before}TOP/machine/{directory}"));
            }
        }
        fs::write(self.sandbox.path("config.yaml"), text.replace("TOP", &top)).unwrap();
    }

    fn prepared(&self, program: &Path) -> Run {
        let run = self.sandbox.run_of(program).without_env("BORG_PASSPHRASE");
        let run = run.without_env("BORG_BASE_DIR").arg("--config");
        run.arg(self.sandbox.path("config.yaml"))
    }

    fn fastness(&self, arguments: &[&str]) -> Outcome {
        let program = Path::new(env!("CARGO_BIN_EXE_fastness"));
        self.prepared(program).args(arguments).go()
    }

    /// The real borgmatic, with the real Borg.
    fn borgmatic(&self, arguments: &[&str]) -> Outcome {
        let borg = reference();
        let peers = borg.path().ancestors().nth(3).unwrap();
        let program: PathBuf = peers.join("borgmatic-2.1.10/bin/borgmatic");
        let run = self.prepared(&program).arg("--local-path");
        run.arg(borg.path()).args(arguments).go()
    }

    /// The real Borg, on a repository's own disk.
    fn borg(&self, name: &str, arguments: &[&str]) -> Outcome {
        let borg: Borg = reference();
        let directory = self.sandbox.path(format!("disks/{name}"));
        let run = self.sandbox.command(&borg).in_directory(&directory);
        let run = run
            .env("BORG_PASSPHRASE", "seven words of the mission")
            .env("BORG_KEYS_DIR", self.sandbox.path("borg/keys"))
            .env("BORG_BASE_DIR", self.sandbox.path("elsewhere"));
        run.args(arguments).go().ok()
    }

    fn archives(&self, name: &str) -> Vec<String> {
        self.borg(name, &["list", "--short", "server"]).lines()
    }

    fn items(&self, name: &str, archive: &str) -> Vec<String> {
        let format = "--format={type}{mode} {user} {group} {size} {mtime} {sha256} {path}{NL}";
        let archive = format!("server::{archive}");
        let lines = self.borg(name, &["list", format, &archive]).lines();
        // What the hooks and the run make is made anew each time.
        let made = |line: &&String| {
            !line.contains("/var/backups") && !line.contains(" borgmatic/bootstrap")
        };
        lines.iter().filter(made).cloned().collect()
    }

    fn paths(&self, name: &str, archive: &str) -> Vec<String> {
        let archive = format!("server::{archive}");
        self.borg(name, &["list", "--short", &archive]).lines()
    }
}

#[test]
fn the_configuration_of_a_server_runs_as_it_stands() {
    let world = World::new();
    let create = ["repo-create", "--encryption", "keyfile-blake2"];
    let _ = world.fastness(&create).ok();
    // Both programs take turns on the same repositories.
    let run = world.fastness(&[]).ok();
    assert_eq!(run.out(), "");
    let _ = world.borgmatic(&[]).ok();
    let _ = world.fastness(&[]).ok();
    assert!(!world.sandbox.path("notified").exists());
    let backups = world.sandbox.path("machine/var/backups");
    assert_eq!(
        fs::read_dir(backups.join("mariadb")).unwrap().count(),
        0,
        "the copy of the database is gone again"
    );
    for name in NAMES {
        let archives = world.archives(name);
        assert_eq!(archives.len(), 3, "{archives:?}");
        let items = |index: usize| world.items(name, &archives[index]);
        let (first, theirs) = (items(0), items(1));
        assert!(first.len() > 40, "{first:?}");
        assert_eq!(first, theirs);
        assert_eq!(first, items(2));
        let paths = [0, 1].map(|index| world.paths(name, &archives[index]));
        assert_eq!(paths[0], paths[1]);
        for saved in ["mariadb/full/table", "packages/dpkg-selections.txt"] {
            let kept = |path: &String| path.ends_with(&format!("/var/backups/{saved}"));
            assert!(paths[0].iter().any(kept), "{saved} {:?}", paths[0]);
        }
        assert!(!paths[0].iter().any(|path| path.contains("left-out")));
        let _ = world.borg(name, &["check", "--verify-data", "server"]);
    }
    read_alike(&world);
    restored(&world);
}

/// What the programs tell of the repositories is the same.
fn read_alike(world: &World) {
    let listed = ["repo-list", "--json"];
    let [mine, theirs] = [world.fastness(&listed), world.borgmatic(&listed)].map(|run| {
        let mut value = run.ok().json();
        for repository in value.as_array_mut().unwrap() {
            // Seconds may differ by what each knows of the last change.
            repository["repository"]["last_modified"] = "".into();
        }
        value
    });
    assert_eq!(mine, theirs);
    let check = [
        "check",
        "--force",
        "--only",
        "repository",
        "--only",
        "archives",
    ];
    let _ = world.fastness(&check).ok();
    let _ = world.borgmatic(&check).ok();
    // An archive for each of some days: both rules keep the same of them.
    for day in 1..=8 {
        let archive = format!("::{{hostname}}-2020-01-{day:02}");
        let stamp = format!("2020-01-{day:02}T12:00:00");
        let words = ["borg", "create", "--timestamp", &stamp, &archive, "bin"];
        let repository = ["--repository", NAMES[1]];
        let _ = world
            .fastness(&[&words[..1], &repository, &words[1..]].concat())
            .ok();
    }
    let rehearsal = ["prune", "--list", "--dry-run", "--repository", NAMES[1]];
    let [mine, theirs] = [world.fastness(&rehearsal), world.borgmatic(&rehearsal)].map(|run| {
        let lines = run.ok().out();
        let lines = lines.lines().filter(|line| line.contains("archive"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    });
    assert!(mine.len() >= 11, "{mine:?}");
    assert_eq!(mine, theirs);
}

/// The newest archive of each repository comes back as it was.
fn restored(world: &World) {
    let source = world.sandbox.path("machine/home");
    let stored = source.strip_prefix("/").unwrap().to_str().unwrap();
    for name in NAMES {
        let target = world.sandbox.directory(&format!("target-{name}"));
        let arguments = [
            "--archive",
            "latest",
            "--repository",
            name,
            "--path",
            stored,
        ];
        let destination = ["--destination", target.to_str().unwrap()];
        let _ = world
            .fastness(&[&["extract"][..], &arguments, &destination].concat())
            .ok();
        let before = Tree::read(&source).as_archived();
        let excluded = |path: &[u8]| {
            path.windows(5)
                .any(|part| part == b"cache" || part == b"Cache")
        };
        let before = before.without(|path, _| excluded(path));
        let after = Tree::read(&target.join(stored)).as_archived();
        before.assert_same(&after.without(|path, _| excluded(path)), name);
    }
}

#[test]
fn a_server_that_is_down_does_not_keep_the_other_from_its_backup() {
    let mut world = World::new();
    let create = ["repo-create", "--encryption", "keyfile-blake2"];
    let _ = world.fastness(&create).ok();
    let text = MISSION.replace("retries: 3", "retries: 1");
    world.configure(&text.replace("retry_wait: 10", "retry_wait: 0"));
    // Nobody listens any more at the first.
    world.servers[0] = Sshd::start();
    let mut told = Vec::new();
    for (index, run) in [World::fastness, World::borgmatic].into_iter().enumerate() {
        let failed = run(&world, &["create", "prune", "compact"]).exits(1);
        assert_eq!(world.archives(NAMES[1]).len(), index + 1);
        assert_eq!(world.archives(NAMES[0]).len(), 0);
        let notified = fs::read_to_string(world.sandbox.path("notified")).unwrap();
        fs::remove_file(world.sandbox.path("notified")).unwrap();
        let lines: Vec<&str> = notified.lines().take(2).collect();
        told.push(lines.join("\n"));
        let config = world.sandbox.path("config.yaml");
        assert_eq!(lines[0], config.to_str().unwrap());
        assert_eq!(lines[1], "ssh://local-nas.example.net/./server");
        let (said, error) = (failed.out(), failed.err());
        let all = format!("{said}{error}");
        assert_eq!(all.matches("Retrying... attempt 1/1").count(), 1, "{all}");
        assert!(
            all.contains("local-nas: Error running actions for repository"),
            "{all}"
        );
        let summary = format!("{}: An error occurred", config.display());
        assert!(all.contains(&summary), "{all}");
        assert!(all.contains("Connection refused"), "{all}");
    }
    assert_eq!(told[0], told[1]);
}
