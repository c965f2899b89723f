//! The first configuration of somebody who has none: few options, each with a comment that says
//! what it does and how to change it.
//!
//! It is in borgmatic's format, so that borgmatic can use it, too.

use std::fmt::Write as _;

/// A repository of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// Its path or address.
    pub path: String,
    /// Its short name.
    pub label: String,
}

impl Destination {
    /// Tells whether it is reached by ssh.
    pub fn is_remote(&self) -> bool {
        self.path.contains("://")
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct First {
    /// What is saved.
    pub directories: Vec<String>,
    /// Where to.
    pub destinations: Vec<Destination>,
    /// How it is encrypted.
    pub encryption: String,
    /// The file that holds the passphrase; none without encryption.
    pub passphrase_file: Option<String>,
    /// How other machines are reached.
    pub ssh_command: String,
}

impl First {
    /// Writes the file.
    pub fn text(&self) -> String {
        let mut out = String::from(
            "# Written by \"fastness setup\". The format is borgmatic's; all options:\n\
             # fastness config generate --destination /tmp/all.yaml\n\
             # After a change: fastness config validate\n\n\
             # What is saved.\nsource_directories:\n",
        );
        list(&mut out, &self.directories);
        out.push_str("\n# Where to. Each repository gets an archive of its own in every backup.\n");
        out.push_str("repositories:\n");
        for destination in &self.destinations {
            // A string takes everything.
            let _ = write!(
                out,
                "    - path: {}\n      label: {}\n      encryption: {}\n",
                quoted(&destination.path),
                quoted(&destination.label),
                self.encryption
            );
            if !destination.is_remote() {
                out.push_str("      make_parent_directories: true\n");
            }
        }
        out.push_str(
            "\n# What is left out: caches, and directories that hold a file \".nobackup\".\n",
        );
        out.push_str("exclude_patterns:\n");
        list(&mut out, &self.excluded());
        out.push_str("exclude_caches: true\nexclude_if_present:\n    - .nobackup\n");
        if let Some(file) = &self.passphrase_file {
            let command = format!("cat {}", shlex::try_quote(file).unwrap_or(file.into()));
            let _ = write!(
                out,
                "\n# Where the passphrase comes from.\nencryption_passcommand: {}\n",
                quoted(&command)
            );
        }
        if self.destinations.iter().any(Destination::is_remote) {
            let _ = write!(
                out,
                "\n# How the other machine is reached; nobody is there to answer questions.\n\
                 ssh_command: {}\n",
                quoted(&self.ssh_command)
            );
        }
        out.push_str(
            "\ncompression: zstd\n\n\
             # Of each of the last 7 days, 4 weeks and 6 months the last archive is kept.\n\
             keep_daily: 7\nkeep_weekly: 4\nkeep_monthly: 6\n\n\
             # How often it is checked that everything is still readable.\n\
             checks:\n    - name: repository\n      frequency: 2 weeks\n    - name: archives\n      \
             frequency: 1 month\n",
        );
        out
    }

    /// Caches, and the repositories themselves where they are below what is saved.
    fn excluded(&self) -> Vec<String> {
        let mut patterns = vec!["**/.cache".to_owned()];
        let below = |path: &str| {
            let path = std::path::Path::new(path);
            let mut all = self.directories.iter();
            all.any(|directory| path.starts_with(directory))
        };
        for cache in ["/var/cache", "/var/tmp"] {
            patterns.extend(below(cache).then(|| cache.to_owned()));
        }
        let local = self.destinations.iter().filter(|one| !one.is_remote());
        let inside = local.filter(|one| below(&one.path));
        patterns.extend(inside.map(|one| format!("pp:{}", one.path)));
        patterns
    }
}

fn list(out: &mut String, texts: &[String]) {
    for text in texts {
        let _ = writeln!(out, "    - {}", quoted(text));
    }
}

/// A text as YAML: plain where that is beyond doubt, otherwise in double quotes as JSON has them,
/// which YAML reads the same.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-@".contains(c);
    let begins = |c: char| c.is_ascii_alphabetic() || c == '/';
    let word = matches!(
        text,
        "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
    );
    match text.starts_with(begins) && text.chars().all(plain) && !word {
        true => text.to_owned(),
        false => serde_json::Value::from(text).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::load_text;
    use crate::config::{Configuration, LoadContext};

    fn first() -> First {
        First {
            directories: vec![
                "/etc".into(),
                "/srv/my files: \"all\"".into(),
                "/var".into(),
            ],
            destinations: vec![
                Destination {
                    path: "/var/backup".into(),
                    label: "disk".into(),
                },
                Destination {
                    path: "ssh://me@nas:2222/./server".into(),
                    label: "nas".into(),
                },
            ],
            encryption: "keyfile-blake2".into(),
            passphrase_file: Some("/etc/my passphrase".into()),
            ssh_command: "ssh -o BatchMode=yes".into(),
        }
    }

    #[test]
    fn what_was_asked_for_is_what_is_read_back() {
        let first = first();
        let tree = load_text(&first.text(), "config.yaml").unwrap();
        let context = LoadContext {
            variable: &|_| None,
            interpolate_environment: true,
            overrides: &[],
        };
        let read = Configuration::from_tree(vec!["config.yaml".into()], tree, context).unwrap();
        assert_eq!(read.options.sources.directories, first.directories);
        assert_eq!(
            read.options.access.passcommand.as_deref(),
            Some("cat '/etc/my passphrase'")
        );
        let paths: Vec<&str> = read.repositories.iter().map(|one| &*one.path).collect();
        assert_eq!(paths, ["/var/backup", "ssh://me@nas:2222/./server"]);
        let excluded = &read.options.sources.exclude_patterns;
        let expected = ["**/.cache", "/var/cache", "/var/tmp", "pp:/var/backup"];
        assert_eq!(excluded, &expected);
        assert!(read.warnings.is_empty(), "{:?}", read.warnings);
    }

    #[test]
    fn words_that_yaml_would_understand_are_quoted() {
        for (text, yaml) in [
            ("disk", "disk"),
            ("no", "\"no\""),
            ("1.5", "\"1.5\""),
            ("a: b", "\"a: b\""),
        ] {
            assert_eq!(quoted(text), yaml);
        }
    }
}
