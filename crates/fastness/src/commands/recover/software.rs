//! What an archive says about installed software: its inventory, or the lists that hooks of the
//! configuration made, with what `/etc` has of package sources and accounts.
//!
//! Everything here comes from an archive and is taken for what anybody may have written: names are
//! checked before they get into a script.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Where the inventory is in archives.
pub const INVENTORY: &str = "borgmatic/system_inventory";

/// Where hooks write lists, below any root.
const LISTS: &str = "var/backups/packages";

/// What of an archive is looked at: patterns of Borg.
pub const PATTERNS: [&str; 12] = [
    "pp:borgmatic/system_inventory",
    "sh:**/var/backups/packages/*.txt",
    "pp:etc/apt",
    "pp:usr/share/keyrings",
    "pf:etc/passwd",
    "pf:etc/group",
    "pf:etc/hostname",
    "pf:etc/os-release",
    "pp:etc/cron.d",
    "pp:var/spool/cron/crontabs",
    "sh:**/xtrabackup_checkpoints",
    "sh:**/mariadb_backup_checkpoints",
];

/// Files that are written again as they were: package sources, their keys and preferences.
const APT_FILES: [&str; 8] = [
    "etc/apt/sources.list",
    "etc/apt/sources.list.d",
    "etc/apt/preferences",
    "etc/apt/preferences.d",
    "etc/apt/trusted.gpg",
    "etc/apt/trusted.gpg.d",
    "etc/apt/keyrings",
    "usr/share/keyrings",
];

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: String,
    /// User and group id, comment, home, shell.
    pub fields: [String; 5],
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Users that belong to it besides.
    pub members: Vec<String>,
}

/// The packages of one Python: where it is, and names with versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Python {
    /// The directory of a virtual environment; none for the system.
    pub environment: Option<String>,
    /// Names and versions.
    pub packages: Vec<(String, String)>,
}

/// All that is known.
#[derive(Debug, Default)]
pub struct Software {
    /// Where it is from, for people.
    pub origin: String,
    /// The code name of the release.
    pub release: Option<String>,
    /// Files to be written: path, content.
    pub files: Vec<(String, Vec<u8>)>,
    /// Files to be written if they are missing.
    pub missing_files: Vec<(String, Vec<u8>)>,
    /// Architectures besides the machine's own.
    pub architectures: Vec<String>,
    /// Packages that were asked for: name, and version where it is known.
    pub packages: Vec<(String, Option<String>)>,
    /// Packages that stay at their version.
    pub held: Vec<String>,
    /// Users.
    pub users: Vec<User>,
    /// Groups.
    pub groups: Vec<Group>,
    /// Python packages.
    pub pythons: Vec<Python>,
    /// Applications that pipx installed: name and version.
    pub pipx: Vec<(String, String)>,
    /// Snaps: name, channel, whether it is a classic one.
    pub snaps: Vec<(String, String, bool)>,
    /// Remotes of flatpak: name and address.
    pub remotes: Vec<(String, String)>,
    /// Flatpaks: application, branch, remote, installation.
    pub flatpaks: Vec<[String; 4]>,
    /// Units that are enabled.
    pub enabled: Vec<String>,
    /// Units that are masked.
    pub masked: Vec<String>,
    /// Crontabs of users.
    pub crontabs: Vec<(String, Vec<u8>)>,
}

impl Software {
    /// Reads what was extracted below `top`; none when there is neither an inventory nor a list.
    pub fn read(top: &Path) -> Option<Self> {
        let inventory = top.join(INVENTORY);
        if inventory.join("inventory.json").is_file() {
            return Some(Self::of_inventory(&inventory));
        }
        let lists = find_lists(top, 0)?;
        Some(Self::of_lists(&lists, top))
    }

    fn of_inventory(top: &Path) -> Self {
        let lines = |name: &str| lines(&top.join(name));
        let mut software = Self {
            origin: "the inventory of the system".to_owned(),
            ..Self::default()
        };
        let versions: BTreeMap<String, String> = lines("apt/packages")
            .iter()
            .filter_map(|line| {
                let (name, rest) = line.split_once('\t')?;
                let version = rest.split('\t').next()?;
                Some((name.to_owned(), version.to_owned()))
            })
            .collect();
        let own = lines("apt/architecture").into_iter().next();
        let version = |name: &str| {
            let qualified = || format!("{name}:{}", own.as_deref().unwrap_or_default());
            let version = versions.get(name).or_else(|| versions.get(&qualified()))?;
            is_version(version).then(|| version.clone())
        };
        let manual = lines("apt/manual")
            .into_iter()
            .filter(|name| is_package(name));
        software.packages = manual.map(|name| (name.clone(), version(&name))).collect();
        software.held = words(lines("apt/held"), is_package);
        software.architectures = words(lines("apt/foreign-architectures"), is_package);
        software.enabled = units(lines("units/enabled"));
        software.masked = units(lines("units/masked"));
        software.add_files(&top.join("files"));
        software.add_pythons(top);
        software.snaps = lines("snap/list")
            .iter()
            .skip(1)
            .filter_map(|line| snap(line))
            .collect();
        software.remotes = lines("flatpak/remotes")
            .iter()
            .filter_map(|line| pair(line, '\t'))
            .collect();
        software.flatpaks = lines("flatpak/list")
            .iter()
            .filter_map(|line| flatpak(line))
            .collect();
        software
    }

    fn of_lists(lists: &Path, top: &Path) -> Self {
        let lines = |name: &str| lines(&lists.join(name));
        let mut software = Self {
            origin: "the lists in /var/backups/packages".to_owned(),
            ..Self::default()
        };
        let selected = |state: &str| {
            let lines = lines("dpkg-selections.txt");
            let chosen = lines.iter().filter_map(|line| {
                let mut words = line.split_whitespace();
                let name = words.next()?;
                (words.next() == Some(state) && is_package(name)).then(|| name.to_owned())
            });
            chosen.collect::<Vec<String>>()
        };
        let mut manual = words(lines("apt-manual.txt"), is_package);
        if manual.is_empty() {
            manual = selected("install");
        }
        software.packages = manual.into_iter().map(|name| (name, None)).collect();
        software.held = selected("hold");
        let held = software.held.iter().map(|name| (name.clone(), None));
        let new: Vec<_> = held
            .filter(|one| !software.packages.contains(one))
            .collect();
        software.packages.extend(new);
        let packages: Vec<_> = lines("pip.txt")
            .iter()
            .filter_map(|line| frozen(line))
            .collect();
        if !packages.is_empty() {
            let environment = None;
            software.pythons.push(Python {
                environment,
                packages,
            });
        }
        software.add_files(top);
        software
    }

    /// Reads copies of files below `top`, which stands for the root.
    fn add_files(&mut self, top: &Path) {
        for place in APT_FILES {
            gather(top, Path::new(place), 0, &mut self.files);
        }
        gather(top, Path::new("etc/cron.d"), 0, &mut self.missing_files);
        let mut crontabs = Vec::new();
        gather(top, Path::new("var/spool/cron/crontabs"), 0, &mut crontabs);
        let named = crontabs.into_iter().filter_map(|(path, content)| {
            let user = path.rsplit('/').next()?.to_owned();
            is_account(&user).then_some((user, content))
        });
        self.crontabs = named.collect();
        self.users = lines(&top.join("etc/passwd"))
            .iter()
            .filter_map(|line| user(line))
            .collect();
        self.groups = lines(&top.join("etc/group"))
            .iter()
            .filter_map(|line| group(line))
            .collect();
        let release = lines(&top.join("etc/os-release"));
        let code = release
            .iter()
            .find_map(|line| line.strip_prefix("VERSION_CODENAME="));
        self.release = code
            .map(|code| code.trim_matches('"').to_owned())
            .filter(|code| is_package(code));
    }

    fn add_pythons(&mut self, top: &Path) {
        let packages = |path: &Path| -> Vec<(String, String)> {
            lines(path).iter().filter_map(|line| frozen(line)).collect()
        };
        let local = packages(&top.join("pip/local"));
        if !local.is_empty() {
            self.pythons.push(Python {
                environment: None,
                packages: local,
            });
        }
        let mut environments = Vec::new();
        let place = top.join("pip/environments");
        find_files(&place, "packages", 0, &mut environments);
        for path in environments {
            let directory = path
                .parent()
                .and_then(|path| path.strip_prefix(&place).ok());
            let environment = directory
                .and_then(Path::to_str)
                .map(|path| format!("/{path}"));
            self.pythons.push(Python {
                environment,
                packages: packages(&path),
            });
        }
        let text = fs::read_to_string(top.join("pip/pipx")).unwrap_or_default();
        let value: Value = serde_json::from_str(&text).unwrap_or_default();
        let apps = value.get("venvs").and_then(Value::as_object);
        let main = apps.into_iter().flatten().filter_map(|(_, app)| {
            let package = app.get("metadata")?.get("main_package")?;
            let text = |key: &str| Some(package.get(key)?.as_str()?.to_owned());
            let (name, version) = (text("package")?, text("package_version")?);
            (is_python(&name) && is_version(&version)).then_some((name, version))
        });
        self.pipx = main.collect();
    }
}

/// The directory of lists, which may lie below another root.
fn find_lists(directory: &Path, depth: usize) -> Option<PathBuf> {
    let lists = directory.join(LISTS);
    if lists.join("apt-manual.txt").is_file() || lists.join("dpkg-selections.txt").is_file() {
        return Some(lists);
    }
    let entries = fs::read_dir(directory).ok().filter(|_| depth < 32)?;
    let mut below = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    below.find_map(|entry| find_lists(&entry.path(), depth + 1))
}

fn find_files(directory: &Path, name: &str, depth: usize, found: &mut Vec<PathBuf>) {
    let Some(entries) = fs::read_dir(directory).ok().filter(|_| depth < 32) else {
        return;
    };
    let mut entries: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        match path.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => find_files(&path, name, depth + 1, found),
            Ok(metadata) if metadata.is_file() && path.ends_with(name) => found.push(path),
            _ => {}
        }
    }
}

/// Reads regular files at or below a place, with their absolute paths. Symlinks of an archive lead
/// nowhere here.
fn gather(top: &Path, place: &Path, depth: usize, files: &mut Vec<(String, Vec<u8>)>) {
    let path = top.join(place);
    let Ok(metadata) = path.symlink_metadata() else {
        return;
    };
    if metadata.is_file() {
        if let (Ok(content), Some(text)) = (fs::read(&path), place.to_str()) {
            files.push((format!("/{text}"), content));
        }
    } else if metadata.is_dir() && depth < 8 {
        let entries = fs::read_dir(&path).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
        names.sort();
        for name in names {
            gather(top, &place.join(name), depth + 1, files);
        }
    }
}

fn lines(path: &Path) -> Vec<String> {
    let is_file = path
        .symlink_metadata()
        .is_ok_and(|metadata| metadata.is_file());
    let content = if is_file {
        fs::read(path)
    } else {
        Ok(Vec::new())
    };
    let text = String::from_utf8_lossy(&content.unwrap_or_default()).into_owned();
    let lines = text.lines().map(|line| line.trim_end().to_owned());
    lines.filter(|line| !line.is_empty()).collect()
}

fn words(lines: Vec<String>, is_good: fn(&str) -> bool) -> Vec<String> {
    lines.into_iter().filter(|word| is_good(word)).collect()
}

fn is_made_of(text: &str, more: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
    !text.is_empty() && text.len() < 256 && text.chars().all(good) && !text.starts_with('-')
}

fn is_package(name: &str) -> bool {
    is_made_of(name, "+.:-_")
}

fn is_version(version: &str) -> bool {
    is_made_of(version, "+.:~-!")
}

fn is_python(name: &str) -> bool {
    is_made_of(name, "._-")
}

fn is_account(name: &str) -> bool {
    is_made_of(name, "._-")
}

fn is_unit(name: &str) -> bool {
    is_made_of(name, ":-_.\\@") && name.contains('.')
}

fn units(lines: Vec<String>) -> Vec<String> {
    let names = lines
        .iter()
        .filter_map(|line| line.split_whitespace().next());
    names
        .filter(|name| is_unit(name))
        .map(str::to_owned)
        .collect()
}

/// A line such as `name==version`.
fn frozen(line: &str) -> Option<(String, String)> {
    let (name, version) = line.split_once("==")?;
    (is_python(name) && is_version(version)).then(|| (name.to_owned(), version.to_owned()))
}

fn pair(line: &str, between: char) -> Option<(String, String)> {
    let (one, other) = line.split_once(between)?;
    (is_python(one) && !other.is_empty()).then(|| (one.to_owned(), other.trim().to_owned()))
}

fn user(line: &str) -> Option<User> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, gid, comment, home, shell] = fields.as_slice() else {
        return None;
    };
    let numbers = [uid, gid].iter().all(|id| id.parse::<u32>().is_ok());
    (is_account(name) && numbers).then(|| User {
        name: (*name).to_owned(),
        fields: [uid, gid, comment, home, shell].map(|field| (*field).to_owned()),
    })
}

fn group(line: &str) -> Option<Group> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, id, members] = fields.as_slice() else {
        return None;
    };
    (is_account(name) && id.parse::<u32>().is_ok()).then(|| Group {
        name: (*name).to_owned(),
        id: (*id).to_owned(),
        members: members
            .split(',')
            .filter(|member| is_account(member))
            .map(str::to_owned)
            .collect(),
    })
}

fn snap(line: &str) -> Option<(String, String, bool)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [name, _, _, channel, ..] = words.as_slice() else {
        return None;
    };
    let classic = words.last().is_some_and(|notes| notes.contains("classic"));
    let channel = if is_made_of(channel, "./-_") {
        *channel
    } else {
        "latest/stable"
    };
    is_python(name).then(|| ((*name).to_owned(), channel.to_owned(), classic))
}

fn flatpak(line: &str) -> Option<[String; 4]> {
    let words: Vec<&str> = line.split('\t').map(str::trim).collect();
    let [application, branch, origin, installation] = words.as_slice() else {
        return None;
    };
    let words = [application, branch, origin, installation];
    words
        .iter()
        .all(|word| is_made_of(word, "._-"))
        .then(|| words.map(|word| (*word).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_names_are_left_out() {
        for bad in ["", "a b", "a;reboot", "$(x)", "-o", "a\nb", "'"] {
            assert!(!is_package(bad), "{bad:?}");
        }
        assert!(is_package("libstdc++6:i386"));
        assert!(is_version("1:2.3~rc1+dfsg-4"));
        assert_eq!(frozen("-e git+https://x#egg=y"), None);
        assert_eq!(frozen("a==1.0"), Some(("a".into(), "1.0".into())));
        assert_eq!(user("evil;x:x:1:1::/:/bin/sh"), None);
        assert!(user("ann:x:1000:1000:Ann's,,,:/home/ann:/bin/bash").is_some());
    }

    #[test]
    fn versions_come_with_the_names_of_the_inventory() {
        let top = tempfile::tempdir().unwrap();
        let place = top.path().join(INVENTORY);
        fs::create_dir_all(place.join("apt")).unwrap();
        let write = |name: &str, text: &str| fs::write(place.join(name), text).unwrap();
        write("inventory.json", "{}");
        write("apt/packages", "bash\t5.2-1\tii \nlibc6:amd64\t2.36\tii \n");
        write("apt/manual", "bash\nlibc6\nlocal-tool\n");
        write("apt/architecture", "amd64\n");
        let software = Software::read(top.path()).unwrap();
        let version = |text: &str| Some(text.to_owned());
        let expected = [
            ("bash".to_owned(), version("5.2-1")),
            ("libc6".to_owned(), version("2.36")),
            ("local-tool".to_owned(), None),
        ];
        assert_eq!(software.packages, expected);
    }

    #[test]
    fn lists_are_found_below_another_root() {
        let top = tempfile::tempdir().unwrap();
        let lists = top.path().join("srv/machine").join(LISTS);
        fs::create_dir_all(&lists).unwrap();
        fs::write(lists.join("apt-manual.txt"), "bash\n").unwrap();
        fs::write(
            lists.join("dpkg-selections.txt"),
            "bash install\nnano\t\thold\n",
        )
        .unwrap();
        fs::write(lists.join("pip.txt"), "idna==3.3\n").unwrap();
        let software = Software::read(top.path()).unwrap();
        let names: Vec<&str> = software
            .packages
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(names, ["bash", "nano"]);
        assert_eq!(software.held, ["nano"]);
        assert_eq!(software.pythons[0].packages[0].0, "idna");
    }
}
