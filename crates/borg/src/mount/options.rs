//! The options behind `-o`: some are ours, some the kernel's, all others are refused.
//!
//! The view is always read-only, whatever is asked for.

use fuser::{Config, MountOption, SessionACL};

use crate::error::CommandError;

/// How archives are mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountOptions {
    /// All archives in one tree, each file a directory of its versions.
    pub versions: bool,
    /// Files may be read that have lost chunks.
    pub allow_damaged_files: bool,
    /// The owner of everything.
    pub uid: Option<u32>,
    /// The group of everything.
    pub gid: Option<u32>,
    /// Permissions to take away.
    pub umask: u32,
    ignore_permissions: bool,
    source: String,
    acl: SessionACL,
    kernel: Vec<MountOption>,
}

impl Default for MountOptions {
    fn default() -> Self {
        Self {
            versions: false,
            allow_damaged_files: false,
            uid: None,
            gid: None,
            umask: 0,
            ignore_permissions: false,
            source: "borgfs".to_owned(),
            acl: SessionACL::Owner,
            kernel: Vec::new(),
        }
    }
}

/// Words of fstab that mean nothing here; mount(8) passes some of them on.
const MEANINGLESS: [&str; 10] = [
    "ro", "rw", "defaults", "auto", "noauto", "user", "nouser", "users", "_netdev", "nofail",
];

impl MountOptions {
    /// Reads a list of options, with commas between them.
    ///
    /// # Errors
    /// When one is not known or has a value it cannot have.
    pub fn parse(text: &str) -> Result<Self, CommandError> {
        let mut options = Self::default();
        for option in text.split(',').filter(|option| !option.is_empty()) {
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (option, None),
            };
            let known = match options.own(name, value) {
                Own::Taken => true,
                Own::BadValue => {
                    return Err(bad(format!("unsupported value in option: {option}")));
                }
                Own::Unknown => options.kernels(name, value),
            };
            if !known {
                return Err(bad(format!("unknown mount option: {option}")));
            }
        }
        options.check_conflicts()?;
        Ok(options)
    }

    fn own(&mut self, name: &str, value: Option<&str>) -> Own {
        let read = match name {
            "versions" => yes_or_no(value).map(|yes| self.versions = yes),
            "allow_damaged_files" => yes_or_no(value).map(|yes| self.allow_damaged_files = yes),
            "ignore_permissions" => yes_or_no(value).map(|yes| self.ignore_permissions = yes),
            "uid" => number(value).map(|uid| self.uid = uid),
            "gid" => number(value).map(|gid| self.gid = gid),
            "umask" => match value {
                None => Some(()),
                Some(value) => octal(value).map(|umask| self.umask = umask),
            },
            _ => return Own::Unknown,
        };
        match read {
            Some(()) => Own::Taken,
            None => Own::BadValue,
        }
    }

    /// Takes an option of the kernel or of its helper; false when there is none like it.
    fn kernels(&mut self, name: &str, value: Option<&str>) -> bool {
        if let Some(value) = value {
            match name {
                "fsname" => value.clone_into(&mut self.source),
                "subtype" => self.kernel.push(MountOption::Subtype(value.to_owned())),
                "max_read" if value.parse::<u32>().is_ok() => {
                    let option = format!("max_read={value}");
                    self.kernel.push(MountOption::CUSTOM(option));
                }
                "user" | "comment" => {}
                _ => return name.starts_with("x-"),
            }
            return true;
        }
        let flag = match name {
            "allow_other" => {
                self.acl = SessionACL::All;
                return true;
            }
            "allow_root" => {
                self.acl = SessionACL::RootAndOwner;
                return true;
            }
            // Given in any case, unless permissions are to be ignored.
            "default_permissions" => return true,
            "auto_unmount" => MountOption::AutoUnmount,
            "dev" => MountOption::Dev,
            "nodev" => MountOption::NoDev,
            "suid" => MountOption::Suid,
            "nosuid" => MountOption::NoSuid,
            "exec" => MountOption::Exec,
            "noexec" => MountOption::NoExec,
            "atime" => MountOption::Atime,
            "noatime" => MountOption::NoAtime,
            "dirsync" => MountOption::DirSync,
            "sync" => MountOption::Sync,
            "async" => MountOption::Async,
            _ => return MEANINGLESS.contains(&name) || name.starts_with("x-"),
        };
        self.kernel.push(flag);
        true
    }

    fn check_conflicts(&self) -> Result<(), CommandError> {
        if self.kernel.contains(&MountOption::AutoUnmount) && self.acl == SessionACL::Owner {
            return Err(bad(
                "auto_unmount needs allow_other or allow_root".to_owned()
            ));
        }
        Ok(())
    }

    /// Returns what FUSE is told.
    pub fn config(&self, threads: usize) -> Config {
        let mut config = Config::default();
        config.acl = self.acl;
        config.n_threads = Some(threads);
        config.mount_options = self.kernel_options();
        config
    }

    fn kernel_options(&self) -> Vec<MountOption> {
        let mut options = vec![MountOption::FSName(self.source.clone()), MountOption::RO];
        if !self.ignore_permissions {
            // The kernel checks who may read what. Without this, other users could read
            // everything where they are let in.
            options.push(MountOption::DefaultPermissions);
        }
        for option in &self.kernel {
            // Of two that contradict each other the last one counts.
            options.retain(|earlier| earlier != option && !contradict(earlier, option));
            options.push(option.clone());
        }
        options
    }
}

enum Own {
    Taken,
    BadValue,
    Unknown,
}

fn contradict(one: &MountOption, other: &MountOption) -> bool {
    use MountOption::{Async, Atime, Dev, Exec, NoAtime, NoDev, NoExec, NoSuid, Suid, Sync};
    matches!(
        (one, other),
        (Dev, NoDev)
            | (NoDev, Dev)
            | (Suid, NoSuid)
            | (NoSuid, Suid)
            | (Exec, NoExec)
            | (NoExec, Exec)
            | (Atime, NoAtime)
            | (NoAtime, Atime)
            | (Sync, Async)
            | (Async, Sync)
    )
}

fn bad(reason: String) -> CommandError {
    CommandError::usage(format!("argument -o: {reason}"))
}

fn yes_or_no(value: Option<&str>) -> Option<bool> {
    match value.map(str::to_lowercase).as_deref() {
        None | Some("y" | "yes" | "true" | "1") => Some(true),
        Some("n" | "no" | "false" | "0") => Some(false),
        Some(_) => None,
    }
}

/// Reads a number as it is written in Python; none is given without a value.
fn number(value: Option<&str>) -> Option<Option<u32>> {
    let Some(value) = value else {
        return Some(None);
    };
    let (digits, base) = match value.get(..2) {
        Some("0x" | "0X") => (value.get(2..)?, 16),
        Some("0o" | "0O") => (value.get(2..)?, 8),
        Some("0b" | "0B") => (value.get(2..)?, 2),
        Some(octal) if octal.starts_with('0') => return None,
        _ => (value, 10),
    };
    // The last number stands for "no user" in system calls.
    let number = u32::from_str_radix(digits, base).ok()?;
    (number != u32::MAX).then_some(Some(number))
}

fn octal(value: &str) -> Option<u32> {
    let digits = value.strip_prefix("0o").unwrap_or(value);
    u32::from_str_radix(digits, 8)
        .ok()
        .filter(|mask| *mask <= 0o7777)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(text: &str) -> String {
        MountOptions::parse(text).unwrap_err().message
    }

    #[test]
    fn our_own_options_have_values_as_in_borg() {
        let text = "versions,allow_damaged_files=no,uid=0x10,gid=1000,umask=0027";
        let options = MountOptions::parse(text).unwrap();
        assert!(options.versions && !options.allow_damaged_files);
        assert_eq!((options.uid, options.gid), (Some(16), Some(1000)));
        assert_eq!(options.umask, 0o27);
        let unset = MountOptions::parse("uid,versions,versions=FALSE,,").unwrap();
        assert_eq!(unset, MountOptions::default());
    }

    #[test]
    fn unknown_options_and_values_are_refused() {
        for option in [
            "versions=maybe",
            "uid=-1",
            "uid=012",
            "uid=x",
            "gid=4294967295",
            "umask=9",
            "umask=10000",
        ] {
            let expected = format!("argument -o: unsupported value in option: {option}");
            assert_eq!(reason(option), expected);
        }
        for option in [
            "bogus",
            "fd=3",
            "max_read=1;2",
            "rootmode=40000",
            "user_id=0",
            "remount",
        ] {
            let expected = format!("argument -o: unknown mount option: {option}");
            assert_eq!(reason(option), expected);
        }
        assert!(reason("auto_unmount").contains("allow_other"));
    }

    #[test]
    fn it_stays_read_only_and_checks_permissions_unless_told_not_to() {
        let options = MountOptions::parse("rw,dev,nodev,user=x,x-systemd.automount").unwrap();
        let kernel = options.kernel_options();
        let name = MountOption::FSName("borgfs".to_owned());
        let expected = [
            name,
            MountOption::RO,
            MountOption::DefaultPermissions,
            MountOption::NoDev,
        ];
        assert_eq!(kernel, expected);
        let ignoring = MountOptions::parse("ignore_permissions,default_permissions").unwrap();
        assert!(
            !ignoring
                .kernel_options()
                .contains(&MountOption::DefaultPermissions)
        );
        let shared = MountOptions::parse("allow_other").unwrap();
        assert_eq!(shared.config(2).acl, SessionACL::All);
    }
}
