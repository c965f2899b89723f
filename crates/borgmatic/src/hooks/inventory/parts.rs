//! The parts of an inventory: which files are copied and which programs are asked for each.
//!
//! A new part is a function and a line in [`PARTS`], and its name in `options.yaml`. Secrets stay
//! where they are: neither `/etc/shadow` nor passwords of package sources are among the files.

use std::path::Path;

use super::Settings;

/// A part that can be chosen.
pub struct Part {
    /// Its name.
    pub name: &'static str,
    /// What belongs to it.
    pub wants: fn(&Settings) -> Vec<Want>,
}

/// Something to be saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// A file, or all files below a directory, under `files/` and its path.
    Copy(String),
    /// What a program prints.
    Output {
        /// The name of the file that it becomes.
        name: String,
        /// The program and its arguments.
        words: Vec<String>,
    },
}

/// All parts.
pub static PARTS: &[Part] = &[
    Part {
        name: "system",
        wants: system,
    },
    Part {
        name: "apt",
        wants: apt,
    },
    Part {
        name: "pip",
        wants: pip,
    },
    Part {
        name: "snap",
        wants: |_| vec![output("snap/list", &["snap", "list"])],
    },
    Part {
        name: "flatpak",
        wants: flatpak,
    },
    Part {
        name: "units",
        wants: units,
    },
    Part {
        name: "accounts",
        wants: |_| copies(&["/etc/passwd", "/etc/group"]),
    },
    Part {
        name: "storage",
        wants: storage,
    },
    Part {
        name: "crontabs",
        wants: |_| copies(&["/etc/crontab", "/etc/cron.d", "/var/spool/cron/crontabs"]),
    },
];

fn copies(paths: &[&str]) -> Vec<Want> {
    let copy = |path: &&str| Want::Copy((*path).to_owned());
    paths.iter().map(copy).collect()
}

fn output(name: &str, words: &[&str]) -> Want {
    Want::Output {
        name: name.to_owned(),
        words: words.iter().map(|word| (*word).to_owned()).collect(),
    }
}

fn system(_: &Settings) -> Vec<Want> {
    let mut wants = copies(&[
        "/etc/os-release",
        "/etc/hostname",
        "/proc/version",
        "/proc/cmdline",
    ]);
    wants.push(output("system/kernel", &["uname", "-a"]));
    wants
}

fn apt(_: &Settings) -> Vec<Want> {
    let mut wants = copies(&[
        "/etc/apt/sources.list",
        "/etc/apt/sources.list.d",
        "/etc/apt/preferences",
        "/etc/apt/preferences.d",
        "/etc/apt/trusted.gpg",
        "/etc/apt/trusted.gpg.d",
        "/etc/apt/keyrings",
    ]);
    wants.extend(keyrings_elsewhere().into_iter().map(Want::Copy));
    let format = "--showformat=${binary:Package}\t${Version}\t${db:Status-Abbrev}\n";
    wants.extend([
        output("apt/packages", &["dpkg-query", "--show", format]),
        output("apt/selections", &["dpkg", "--get-selections"]),
        output("apt/manual", &["apt-mark", "showmanual"]),
        output("apt/held", &["apt-mark", "showhold"]),
        output("apt/architecture", &["dpkg", "--print-architecture"]),
        output(
            "apt/foreign-architectures",
            &["dpkg", "--print-foreign-architectures"],
        ),
    ]);
    wants
}

/// The key files outside of `/etc/apt` that package sources name.
fn keyrings_elsewhere() -> Vec<String> {
    let mut files = vec![Path::new("/etc/apt/sources.list").to_owned()];
    let listed = std::fs::read_dir("/etc/apt/sources.list.d");
    files.extend(
        listed
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path()),
    );
    let mut keyrings = Vec::new();
    for file in files {
        keyrings.extend(keys_named(
            &std::fs::read_to_string(file).unwrap_or_default(),
        ));
    }
    keyrings.retain(|path| !path.starts_with("/etc/apt/"));
    keyrings.sort();
    keyrings.dedup();
    keyrings
}

/// The key files that a file about package sources names.
fn keys_named(text: &str) -> Vec<String> {
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    let words = lines.flat_map(|line| line.split([' ', '\t', ',', '=', '[', ']']));
    let is_key = |word: &&str| {
        word.starts_with('/')
            && [".gpg", ".asc", ".pgp"]
                .iter()
                .any(|end| word.ends_with(end))
    };
    words.filter(is_key).map(str::to_owned).collect()
}

fn pip(settings: &Settings) -> Vec<Want> {
    let list = ["-m", "pip", "list", "--format=freeze"];
    let mut wants = vec![output("pip/system", &[&["python3"], &list[..]].concat())];
    // What pip itself installed beside the packages of the distribution.
    let local = local_packages();
    if !local.is_empty() {
        let mut words = [&["python3"], &list[..]].concat();
        words.extend(local.iter().flat_map(|path| ["--path", path.as_str()]));
        wants.push(output("pip/local", &words));
    }
    wants.push(output("pip/pipx", &["pipx", "list", "--json"]));
    for environment in &settings.virtual_environments {
        let environment = environment.trim_end_matches('/');
        let python = format!("{environment}/bin/python");
        let name = format!("pip/environments{environment}/packages");
        wants.push(output(&name, &[&[python.as_str()], &list[..]].concat()));
    }
    wants
}

/// The directories below `/usr/local` that hold Python packages.
fn local_packages() -> Vec<String> {
    let Ok(versions) = std::fs::read_dir("/usr/local/lib") else {
        return Vec::new();
    };
    let versions = versions.flatten().map(|entry| entry.path());
    let pythons = versions.filter(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("python3"))
    });
    let places =
        pythons.flat_map(|path| ["dist-packages", "site-packages"].map(|end| path.join(end)));
    let there = places.filter(|path| path.is_dir());
    there
        .filter_map(|path| path.to_str().map(str::to_owned))
        .collect()
}

fn flatpak(_: &Settings) -> Vec<Want> {
    let columns = "--columns=application,branch,origin,installation";
    vec![
        output("flatpak/list", &["flatpak", "list", "--app", columns]),
        output(
            "flatpak/remotes",
            &["flatpak", "remotes", "--columns=name,url"],
        ),
    ]
}

fn units(_: &Settings) -> Vec<Want> {
    let list = [
        "systemctl",
        "--root=/",
        "--no-legend",
        "--no-pager",
        "list-unit-files",
    ];
    let of = |state: &str| {
        let state_option = format!("--state={state}");
        let words = [&list[..], &[state_option.as_str()]].concat();
        output(&format!("units/{state}"), &words)
    };
    vec![of("enabled"), of("masked")]
}

fn storage(_: &Settings) -> Vec<Want> {
    let mut wants = copies(&[
        "/etc/fstab",
        "/etc/crypttab",
        "/etc/mdadm/mdadm.conf",
        "/proc/self/mountinfo",
        "/proc/mdstat",
    ]);
    let columns =
        "NAME,TYPE,SIZE,FSTYPE,LABEL,UUID,PARTTYPE,PARTLABEL,PARTUUID,MOUNTPOINT,MODEL,SERIAL";
    wants.push(output(
        "storage/devices.json",
        &["lsblk", "--json", "--bytes", "--output", columns],
    ));
    for (name, words) in [("volumes", "pvs"), ("groups", "vgs"), ("logical", "lvs")] {
        let name = format!("storage/lvm-{name}.json");
        let words = [words, "--reportformat", "json", "--options", "+all"];
        wants.push(output(&name, &words));
    }
    for disk in disks() {
        let name = format!("storage/partitions/{disk}");
        wants.push(output(
            &name,
            &["sfdisk", "--dump", &format!("/dev/{disk}")],
        ));
    }
    wants
}

/// Whole disks with partitions on them.
fn disks() -> Vec<String> {
    let Ok(listed) = std::fs::read_dir("/sys/block") else {
        return Vec::new();
    };
    let names = listed
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| has_partitions(name)).collect();
    names.sort();
    names
}

fn has_partitions(disk: &str) -> bool {
    let entries = std::fs::read_dir(format!("/sys/block/{disk}"));
    let mut entries = entries.into_iter().flatten().flatten();
    entries.any(|entry| entry.path().join("partition").is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_in_both_forms_of_sources() {
        let one =
            "deb [arch=amd64 signed-by=/usr/share/keyrings/a.gpg] https://x.example stable main\n";
        assert_eq!(keys_named(one), ["/usr/share/keyrings/a.gpg"]);
        let two = "Types: deb\nSigned-By: /opt/keys/b.asc\n# Signed-By: /c.gpg\n";
        assert_eq!(keys_named(two), ["/opt/keys/b.asc"]);
    }

    #[test]
    fn an_environment_is_asked_by_its_own_python() {
        let settings = Settings {
            parts: Vec::new(),
            virtual_environments: vec!["/opt/app/".to_owned()],
            timeout: std::time::Duration::ZERO,
        };
        let wants = pip(&settings);
        let Some(Want::Output { name, words }) = wants.last() else {
            panic!("{wants:?}");
        };
        assert_eq!(name, "pip/environments/opt/app/packages");
        assert_eq!(words[0], "/opt/app/bin/python");
    }
}
