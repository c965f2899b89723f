//! The script that reinstalls what [`Software`] lists: for `/bin/sh`, to be read before it is run.
//!
//! It begins with functions (`script_head.sh`); then each line does one thing, and does nothing
//! where that is done already.

use std::fmt::Write as _;

use data_encoding::BASE64;

use super::software::{Python, Software};
use super::vault::Archive;

const HEAD: &str = include_str!("script_head.sh");

/// What ends data in the script; nothing in the data can look like it.
const END: &str = "END_OF_DATA";

/// The code of a script that came to its end, but could not do everything.
pub const PROBLEMS: i32 = 3;

/// Writes the script.
pub fn write(software: &Software, archive: &Archive) -> String {
    let mut script = Script(String::new());
    script.line("#!/bin/sh");
    let origin = &software.origin;
    script.comment(&format!(
        "Reinstalls what {} had at {}: {origin} in archive {}.",
        archive.host, archive.time, archive.name
    ));
    script.comment("Run it as root on a machine with the same release. With --simulate nothing is changed and apt shows");
    script.comment("what it would do. It may be run again: what is there already stays.");
    script.0.push_str(HEAD);
    script.release(software);
    script.accounts(software);
    script.sources(software);
    script.packages(software);
    script.python(software);
    script.bundles(software);
    script.crontabs(software);
    script.units(software);
    script.line("");
    script.line("if [ \"$problems\" -gt 0 ]; then");
    script.line("    say \"done, with $problems problems: see the lines that begin with !!\"");
    script.line(&format!("    exit {PROBLEMS}"));
    script.line("fi");
    script.line("say \"done\"");
    script.0
}

struct Script(String);

impl Script {
    fn line(&mut self, text: &str) {
        self.0.push_str(text);
        self.0.push('\n');
    }

    /// A comment; its text is from an archive and may have any characters.
    fn comment(&mut self, text: &str) {
        let text: String = text
            .chars()
            .map(|c| if c.is_control() { '?' } else { c })
            .collect();
        self.line(&format!("# {text}"));
    }

    fn heading(&mut self, text: &str) {
        self.line("");
        self.line(&format!("say {}", quoted(text)));
    }

    /// A command that gets these bytes.
    fn fed(&mut self, command: &str, content: &[u8]) {
        self.line(&format!("{command} <<'{END}'"));
        let text = BASE64.encode(content);
        for line in text.as_bytes().chunks(76) {
            self.line(&String::from_utf8_lossy(line));
        }
        self.line(END);
    }

    fn release(&mut self, software: &Software) {
        let Some(release) = &software.release else {
            return;
        };
        let _ = write!(
            self.0,
            "
release=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release 2>/dev/null | tr -d '\"')
if [ \"$release\" != {0} ]; then
    [ \"$simulate\" = yes ] || die \"the lists are of {release}, this machine runs ${{release:-something else}}: its package sources would not fit\"
    problem \"the lists are of {release}, this machine runs ${{release:-something else}}\"
fi
",
            quoted(release)
        );
    }

    fn accounts(&mut self, software: &Software) {
        if software.groups.is_empty() && software.users.is_empty() {
            return;
        }
        self.heading("groups and users, before packages make some with other ids");
        for group in &software.groups {
            self.line(&format!("need_group {} {}", quoted(&group.name), group.id));
        }
        for user in &software.users {
            let fields: Vec<String> = user.fields.iter().map(|field| quoted(field)).collect();
            self.line(&format!(
                "need_user {} {}",
                quoted(&user.name),
                fields.join(" ")
            ));
        }
        for group in &software.groups {
            for member in &group.members {
                self.line(&format!(
                    "need_member {} {}",
                    quoted(&group.name),
                    quoted(member)
                ));
            }
        }
    }

    fn sources(&mut self, software: &Software) {
        if software.files.is_empty() {
            return;
        }
        self.heading("package sources and their keys");
        for (path, content) in &software.files {
            self.fed(&format!("put_file always 644 {}", quoted(path)), content);
        }
    }

    fn packages(&mut self, software: &Software) {
        if software.packages.is_empty() {
            return;
        }
        let count = software.packages.len();
        self.heading(&format!(
            "{count} packages that were asked for; apt adds those they need"
        ));
        for architecture in &software.architectures {
            self.line(&format!(
                "act dpkg --add-architecture {}",
                quoted(architecture)
            ));
        }
        self.line("act apt-get update");
        self.line(&format!("cat >\"$work/packages\" <<'{END}'"));
        for (name, version) in &software.packages {
            self.line(&format!("{name} {}", version.as_deref().unwrap_or("-")));
        }
        self.line(END);
        self.line("install_packages \"$work/packages\"");
        if !software.held.is_empty() {
            self.line(&format!("act apt-mark hold {}", software.held.join(" ")));
        }
    }

    fn python(&mut self, software: &Software) {
        for Python {
            environment,
            packages,
        } in &software.pythons
        {
            let mut python = "python3".to_owned();
            match environment {
                None => self.heading("Python packages of the system"),
                Some(directory) => {
                    self.heading(&format!("Python packages of {directory}"));
                    python = format!("{directory}/bin/python");
                    let (quoted_python, directory) = (quoted(&python), quoted(directory));
                    self.line(&format!(
                        "[ -x {quoted_python} ] || act python3 -m venv {directory}"
                    ));
                }
            }
            for (name, version) in packages {
                self.line(&format!("need_python {} {name} {version}", quoted(&python)));
            }
        }
        if !software.pipx.is_empty() {
            self.heading("applications of pipx");
            for (name, version) in &software.pipx {
                self.line(&format!("act pipx install {name}=={version}"));
            }
        }
    }

    fn bundles(&mut self, software: &Software) {
        if !software.snaps.is_empty() {
            self.heading("snaps");
            for (name, channel, classic) in &software.snaps {
                let classic = if *classic { " --classic" } else { "" };
                self.line(&format!(
                    "snap list {name} >/dev/null 2>&1 || act snap install{classic} --channel={channel} {name}"
                ));
            }
        }
        if !software.flatpaks.is_empty() {
            self.heading("flatpaks");
            for (name, address) in &software.remotes {
                self.line(&format!(
                    "act flatpak remote-add --if-not-exists {} {}",
                    quoted(name),
                    quoted(address)
                ));
            }
            for [application, branch, origin, installation] in &software.flatpaks {
                self.line(&format!(
                    "act flatpak install --noninteractive --or-update --{} {origin} {application}//{branch}",
                    if installation == "user" { "user" } else { "system" }
                ));
            }
        }
    }

    fn crontabs(&mut self, software: &Software) {
        if software.crontabs.is_empty() && software.missing_files.is_empty() {
            return;
        }
        self.heading("crontabs");
        for (path, content) in &software.missing_files {
            self.fed(&format!("put_file missing 644 {}", quoted(path)), content);
        }
        for (user, content) in &software.crontabs {
            self.fed(&format!("need_crontab {}", quoted(user)), content);
        }
    }

    fn units(&mut self, software: &Software) {
        if software.enabled.is_empty() && software.masked.is_empty() {
            return;
        }
        self.heading("units of systemd");
        self.line("if has systemctl; then");
        for unit in &software.enabled {
            self.line(&format!("    enable_unit {}", quoted(unit)));
        }
        for unit in &software.masked {
            self.line(&format!("    act systemctl mask {}", quoted(unit)));
        }
        self.line("    :");
        self.line("fi");
    }
}

/// A word of a shell, whatever is in it.
fn quoted(text: &str) -> String {
    // A zero byte can be in no word.
    let text = text.replace('\0', "");
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::super::software::User;
    use super::*;

    fn archive() -> Archive {
        Archive {
            name: "server-1".to_owned(),
            id: String::new(),
            time: "2026-11-01T02:00:00".to_owned(),
            host: "server\nreboot".to_owned(),
        }
    }

    #[test]
    fn what_stands_in_an_archive_never_becomes_a_command() {
        let evil = "'; touch /tmp/evil; echo '$(reboot)`reboot`\nreboot";
        let software = Software {
            users: vec![User {
                name: "ann".to_owned(),
                fields: ["1", "1", evil, evil, evil].map(str::to_owned),
            }],
            files: vec![(
                format!("/etc/apt/{evil}"),
                b"END_OF_DATA\nreboot\n".to_vec(),
            )],
            ..Software::default()
        };
        let script = write(&software, &archive());
        let words: Vec<String> = script
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(str::to_owned)
            .collect();
        assert!(!words.contains(&"touch /tmp/evil".to_owned()));
        // The shell itself takes all of it for one word each.
        let line = quoted(evil);
        let output = Command::new("sh")
            .args(["-c", &format!("printf %s {line}")])
            .output();
        assert_eq!(output.unwrap().stdout, evil.as_bytes());
        let check = Command::new("sh")
            .args(["-n", "-c", &script])
            .output()
            .unwrap();
        assert!(
            check.status.success(),
            "{}",
            String::from_utf8_lossy(&check.stderr)
        );
    }

    #[test]
    fn a_script_without_anything_to_do_is_done() {
        let script = write(&Software::default(), &archive());
        let output = Command::new("sh")
            .args(["-c", &script, "sh", "--simulate"])
            .output();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(output.stdout, b"== done\n");
    }
}
