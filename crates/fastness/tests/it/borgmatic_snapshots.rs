//! Snapshots of file systems, beside the real borgmatic: a real Btrfs; LVM and ZFS played by
//! scripts, for neither can be had everywhere.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use fastness_testkit::{Btrfs, Outcome, Run, Sandbox};

use crate::reference;

const CONFIGURATION: &str = "\
source_directories: SOURCES
working_directory: TOP/live
exclude_patterns: ['TOP/live/left-out', '*.tmp', 'TOP/live/deep/*/left-out']
repositories: [{path: TOP/NAME}]
unknown_unencrypted_repo_access_is_ok: true
archive_name_format: '{now:%Y-%m-%dT%H:%M:%S.%f}'
bootstrap: {store_config_files: false}
";

/// A machine with something to be saved in `live`.
struct Machine {
    sandbox: Sandbox,
}

impl Machine {
    fn new() -> Machine {
        let mut sandbox = Sandbox::new();
        let path = format!(
            "{}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            sandbox.path("bin").display()
        );
        sandbox.set_env("PATH", path);
        let _ = sandbox.directory("live");
        Machine { sandbox }
    }

    fn top(&self) -> String {
        self.sandbox.root().to_str().unwrap().to_owned()
    }

    /// Puts files into `live`, and a younger one: the youngest are not remembered.
    fn fill(&self) {
        for path in [
            "file",
            "left-out/file",
            "deep/er/file",
            "deep/er/left-out",
            "a.tmp",
        ] {
            let path = self.sandbox.path("live").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "before\n").unwrap();
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(self.sandbox.path("live/deep/youngest"), "young\n").unwrap();
    }

    fn program(&self, name: &str, script: &str) {
        let path = self.sandbox.directory("bin").join(name);
        let log = format!("echo \"{name} $*\" >> TOP/words");
        let script = format!("#!/bin/sh\n{log}\n{script}\n").replace("TOP", &self.top());
        fs::write(&path, script).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn configure(&self, name: &str, sources: &str, more: &str) {
        let text = format!("{CONFIGURATION}{more}")
            .replace("SOURCES", sources)
            .replace("TOP", &self.top())
            .replace("NAME", name);
        fs::write(self.sandbox.path(format!("{name}.yaml")), text).unwrap();
        let repository = self.sandbox.path(name);
        let init = ["init", "-e", "none", repository.to_str().unwrap()];
        let _ = self.sandbox.run(&reference(), &init).ok();
    }

    fn run_of(&self, program: &Path, name: &str) -> Run {
        let runtime = self.sandbox.directory(&format!("run-{name}"));
        let config = self.sandbox.path(format!("{name}.yaml"));
        let run = self.sandbox.run_of(program).env("XDG_RUNTIME_DIR", runtime);
        run.arg("--config").arg(config)
    }

    fn fastness(&self, arguments: &[&str]) -> Outcome {
        let program = Path::new(env!("CARGO_BIN_EXE_fastness"));
        self.run_of(program, "ours").args(arguments).go()
    }

    fn borgmatic(&self, arguments: &[&str]) -> Outcome {
        let borg = reference();
        let peers = borg.path().ancestors().nth(3).unwrap();
        let program: PathBuf = peers.join("borgmatic-2.1.10/bin/borgmatic");
        let run = self.run_of(&program, "theirs").arg("--local-path");
        run.arg(borg.path()).args(arguments).go()
    }

    /// What the newest archive of a repository holds.
    fn items(&self, name: &str) -> Vec<String> {
        let repository = self.sandbox.path(name);
        let repository = repository.to_str().unwrap();
        let last = ["list", "--short", "--last=1", repository];
        let archive = self.sandbox.run(&reference(), &last).ok().lines().remove(0);
        let format = "--format={mode} {user} {size} {mtime} {sha256} {path}{NL}";
        let archive = format!("{repository}::{archive}");
        let listed = self.sandbox.run(&reference(), &["list", format, &archive]);
        listed.ok().lines()
    }

    /// The programs that were called, with their options, and forgets them.
    fn words(&self) -> Vec<String> {
        let path = self.sandbox.path("words");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let _ = fs::remove_file(path);
        let shown = |line: &str| {
            let mut words = line.split(' ');
            let name = words.next().unwrap();
            let chosen = words.filter(|word| {
                word.starts_with('-') || ["snapshot", "delete", "destroy", "ro"].contains(word)
            });
            [name]
                .into_iter()
                .chain(chosen)
                .collect::<Vec<_>>()
                .join(" ")
        };
        text.lines().map(shown).collect()
    }
}

/// What it says of a file that was new or changed.
fn listed(outcome: &Outcome) -> Vec<String> {
    let text = outcome.out() + &outcome.err();
    let lines = text.lines().filter(|line| line.contains("/file"));
    lines.map(str::to_owned).collect()
}

#[test]
fn a_real_btrfs_is_saved_from_snapshots_as_borgmatic_saves_it() {
    let machine = Machine::new();
    let disk = Btrfs::mount(&machine.sandbox.path("live"));
    let logs = disk.subvolume("logs");
    fs::write(logs.join("file"), "before\n").unwrap();
    let before = disk.subvolumes();
    machine.fill();
    // Everything changes as soon as there is a snapshot of it.
    machine.program(
        "btrfs",
        "/usr/bin/btrfs \"$@\" || exit\n\
         if [ \"$2\" = snapshot ]; then echo after > \"$3/file\"; fi",
    );
    let sources = "[TOP/live, logs, TOP/bin]";
    for name in ["ours", "theirs"] {
        machine.configure(name, sources, "btrfs:\n");
    }
    let restore = || {
        for path in ["live/file", "live/logs/file"] {
            fs::write(machine.sandbox.path(path), "before\n").unwrap();
        }
    };
    let run = machine.fastness(&["create", "-v2"]).ok();
    assert!(
        run.err().contains("/logs/.borgmatic-snapshot/")
            || run.out().contains("/.borgmatic-snapshot/"),
        "{run}"
    );
    let live = fs::read_to_string(machine.sandbox.path("live/file")).unwrap();
    assert_eq!(live, "after\n");
    let [ours, mine] = [machine.words(), machine.items("ours")];
    restore();
    let _ = machine.borgmatic(&["create"]).ok();
    let [theirs, their_items] = [machine.words(), machine.items("theirs")];
    let changes = |words: &[String]| {
        let kept = words.iter().filter(|line| !line.contains("ro"));
        kept.cloned().collect::<Vec<_>>()
    };
    assert_eq!(changes(&ours), changes(&theirs));
    assert_eq!(changes(&ours).len(), 4, "{ours:?}");
    let without_time = |items: Vec<String>| -> Vec<String> {
        // The file was written anew in between.
        let fields = |item: String| item.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let shown = |item: Vec<String>| [&item[..3], &item[6..]].concat().join(" ");
        items.into_iter().map(fields).map(shown).collect()
    };
    assert!(
        mine.iter().any(|item| item.ends_with("live/deep/er/file")),
        "{mine:?}"
    );
    assert!(
        !mine
            .iter()
            .any(|item| item.contains("left-out") || item.contains(".tmp"))
    );
    assert_eq!(without_time(mine.clone()), without_time(their_items));
    for item in mine.iter().filter(|item| item.ends_with("/file")) {
        assert_eq!(item.split(' ').nth(2), Some("7"), "{item}");
    }
    assert_eq!(disk.subvolumes(), before);
    assert!(!machine.sandbox.path("live/.borgmatic-snapshot").exists());
}

#[test]
fn a_snapshot_of_btrfs_that_a_killed_run_left_is_replaced() {
    let machine = Machine::new();
    let disk = Btrfs::mount(&machine.sandbox.path("live"));
    machine.fill();
    machine.configure("ours", "[TOP/live]", "btrfs:\n");
    let killing = "/usr/bin/btrfs \"$@\" || exit\nif [ \"$2\" = snapshot ]; then kill -9 $PPID; fi";
    machine.program("btrfs", killing);
    assert!(machine.fastness(&["create"]).was_killed());
    assert_eq!(disk.subvolumes().len(), 1);
    machine.program("btrfs", "exec /usr/bin/btrfs \"$@\"");
    fs::write(machine.sandbox.path("live/new"), "new\n").unwrap();
    let _ = machine.fastness(&["create"]).ok();
    let items = machine.items("ours");
    assert!(
        items.iter().any(|item| item.ends_with("live/new")),
        "{items:?}"
    );
    assert_eq!(disk.subvolumes(), [""; 0]);
    // What did not change since is not read again.
    let again = machine.fastness(&["create", "--list", "-v1"]).ok();
    assert_eq!(listed(&again), [""; 0]);
}

/// Programs for volumes whose snapshots are the live files themselves.
fn play_lvm(machine: &Machine) {
    machine.program(
        "lsblk",
        r#"echo '{"blockdevices":[{"name":"vg-live","path":"/dev/vg/live","mountpoint":"TOP/live","type":"lvm"},
        {"name":"sda","path":"/dev/sda","mountpoint":null,"type":"disk"},{"name":"sda1","path":"/dev/sda1","mountpoint":"/boot","type":"part"}]}'"#,
    );
    machine.program(
        "lvcreate",
        "while [ \"$1\" != --name ]; do shift; done; echo \"$2\" >> TOP/volumes",
    );
    machine.program(
        "lvs",
        r#"echo '{"report":[{"lv":['
        comma=; for name in $(cat TOP/volumes 2>/dev/null); do echo "$comma{\"lv_name\":\"$name\",\"lv_path\":\"/dev/vg/$name\"}"; comma=,; done
        echo ']}]}'"#,
    );
    machine.program("lvremove", "sed -i \"/^${2##*/}\\$/d\" TOP/volumes");
    play_mounts(machine);
}

fn play_mounts(machine: &Machine) {
    machine.program(
        "mount",
        "for last; do :; done\nexec /bin/mount --bind -o ro TOP/live \"$last\"",
    );
    machine.program("umount", "exec /bin/umount \"$@\"");
}

fn play_zfs(machine: &Machine) {
    machine.program(
        "zfs",
        r#"case "$1 $4" in
        "list filesystem") case "$6" in *canmount*) ;; *) printf 'pool\tnone\npool/live\tTOP/live\n'; exit;; esac
            printf 'pool\tnone\ton\t-\npool/live\tTOP/live\ton\tAUTO\npool/off\tTOP/bin\toff\t-\n';;
        "list snapshot") cat TOP/volumes 2>/dev/null;;
        snapshot*) echo "$2" >> TOP/volumes;;
        destroy*) grep -vxF "$2" TOP/volumes > TOP/left; mv TOP/left TOP/volumes;;
        esac; true"#,
    );
    play_mounts(machine);
}

/// Saves with both programs and compares what they called and what they saved.
fn both_save_alike(machine: &Machine, option: &str, sources: &str, calls: usize) {
    machine.fill();
    for name in ["ours", "theirs"] {
        machine.configure(name, sources, option);
    }
    let volumes = machine.sandbox.path("volumes");
    let left = || fs::read_to_string(&volumes).unwrap_or_default();
    let _ = machine.fastness(&["create"]).ok();
    let (ours, items) = (machine.words(), machine.items("ours"));
    assert_eq!(left(), "");
    let _ = machine.borgmatic(&["create"]).ok();
    let theirs = machine.words();
    // borgmatic asks several times what there is.
    let changes = |words: &[String]| {
        let asks = |line: &&String| !line.starts_with("ls") && !line.starts_with("lvs");
        let kept = words
            .iter()
            .filter(asks)
            .filter(|line| !line.contains("-H"));
        kept.cloned().collect::<Vec<_>>()
    };
    assert_eq!(changes(&ours), changes(&theirs));
    assert_eq!(changes(&ours).len(), calls, "{ours:?}");
    assert_eq!(items, machine.items("theirs"));
    assert!(
        items.iter().any(|item| item.ends_with("live/deep/er/file")),
        "{items:?}"
    );
    assert!(
        !items.iter().any(|item| item.contains("_snapshots")),
        "{items:?}"
    );
    // Where the snapshot is mounted changes from run to run; unchanged files are known all the same.
    let again = machine.fastness(&["create", "--list", "-v1"]).ok();
    assert_eq!(listed(&again), [""; 0]);
    assert_eq!(left(), "");
    let runtime = machine.sandbox.path("run-ours");
    assert_eq!(fs::read_dir(runtime).unwrap().count(), 0);
}

/// A run is killed when its snapshot is mounted; the next one removes both.
fn the_next_run_tidies_up(machine: &Machine, option: &str) {
    machine.fill();
    machine.configure("ours", "[TOP/live]", option);
    let mounts = || {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let places = table.lines().filter_map(|line| line.split(' ').nth(4));
        places
            .filter(|place| place.starts_with(&machine.top()))
            .count()
    };
    let none = mounts();
    machine.program(
        "mount",
        "for last; do :; done\n/bin/mount --bind -o ro TOP/live \"$last\"; kill -9 $PPID",
    );
    assert!(machine.fastness(&["create"]).was_killed());
    assert_eq!(mounts(), none + 1);
    play_mounts(machine);
    let _ = machine.fastness(&["create"]).ok();
    assert_eq!(mounts(), none);
    assert_eq!(
        fs::read_to_string(machine.sandbox.path("volumes")).unwrap(),
        ""
    );
    let _ = machine.fastness(&["create"]).ok();
    let runtime = machine.sandbox.path("run-ours");
    assert_eq!(fs::read_dir(runtime).unwrap().count(), 0);
    assert_eq!(
        fs::read_to_string(machine.sandbox.path("live/file")).unwrap(),
        "before\n"
    );
}

#[test]
fn scripted_lvm_volumes_are_saved_from_snapshots_as_borgmatic_saves_them() {
    let machine = Machine::new();
    play_lvm(&machine);
    both_save_alike(
        &machine,
        "lvm: {snapshot_size: 5GB}\n",
        "[TOP/live/deep, file, TOP/bin]",
        4,
    );
    machine.program("lvcreate", "echo no space >&2; exit 5");
    let failed = machine.fastness(&["create"]).exits(1);
    assert!(
        failed
            .err()
            .contains("live: lvcreate ended with code 5: no space"),
        "{failed}"
    );
    machine.program("lsblk", "echo nonsense");
    let failed = machine.fastness(&["create"]).exits(1);
    assert!(
        failed
            .err()
            .contains("printed something that is not understood"),
        "{failed}"
    );
}

#[test]
fn scripted_zfs_datasets_are_saved_from_snapshots_as_borgmatic_saves_them() {
    let machine = Machine::new();
    play_zfs(&machine);
    both_save_alike(&machine, "zfs:\n", "[TOP/live/deep, file, TOP/bin]", 4);
}

#[test]
fn a_scripted_zfs_dataset_that_asks_for_it_is_saved_although_no_source_lies_on_it() {
    let machine = Machine::new();
    play_zfs(&machine);
    let zfs = machine.sandbox.path("bin/zfs");
    let auto = fs::read_to_string(&zfs).unwrap().replace("AUTO", "auto");
    fs::write(zfs, auto).unwrap();
    both_save_alike(&machine, "zfs: {zfs_command: zfs}\n", "[TOP/bin]", 4);
}

#[test]
fn what_a_killed_run_left_of_scripted_volumes_is_removed() {
    let machine = Machine::new();
    play_lvm(&machine);
    the_next_run_tidies_up(&machine, "lvm:\n");
    let machine = Machine::new();
    play_zfs(&machine);
    the_next_run_tidies_up(&machine, "zfs:\n");
}
