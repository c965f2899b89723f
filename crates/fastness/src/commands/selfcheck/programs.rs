//! The two programs, run apart from every setting of the user.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A program with Borg's command line.
pub struct Program {
    label: &'static str,
    path: PathBuf,
    words: &'static [&'static str],
    base: PathBuf,
}

impl fmt::Display for Program {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.label)
    }
}

impl Program {
    /// The program at `path`, with these words before its arguments; its own files go below
    /// `place`. Both share keys, but neither sees the other's caches.
    pub fn new(
        label: &'static str,
        path: PathBuf,
        words: &'static [&'static str],
        place: &Path,
    ) -> Self {
        Self {
            label,
            path,
            words,
            base: place.to_owned(),
        }
    }

    /// A name without spaces.
    pub fn short(&self) -> &'static str {
        self.label.rsplit(' ').next().unwrap_or(self.label)
    }

    /// Runs it in a directory and returns what it prints.
    ///
    /// # Errors
    /// When it cannot be started, or ends with anything but 0: a warning counts, too.
    pub fn run(&self, directory: &Path, arguments: &[&str]) -> Result<String, String> {
        let ours = |name: &OsString| name.to_string_lossy().starts_with("BORG_");
        let mut command = Command::new(&self.path);
        for (name, _) in std::env::vars_os().filter(|(name, _)| ours(name)) {
            command.env_remove(name);
        }
        let output = command
            .args(self.words)
            .args(arguments)
            .current_dir(directory)
            .stdin(Stdio::null())
            .env(
                "BORG_BASE_DIR",
                self.base.join(format!("home-{}", self.short())),
            )
            .env("BORG_KEYS_DIR", self.base.join("keys"))
            .env("BORG_PASSPHRASE", "a scratch repository")
            .env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes")
            .env("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes")
            .output()
            .map_err(|error| format!("{}: {error}", self.path.display()))?;
        if !output.status.success() {
            return Err(format!(
                "{self}: {} ended with {}: {}",
                arguments.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stderr).trim_end()
            ));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
