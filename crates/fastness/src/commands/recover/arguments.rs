//! The words of `fastness recover` and `fastness recover plan`.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, ValueEnum};

/// Restore a whole machine from a repository
///
/// Finds the newest archive, shows what it holds, and restores packages, files and databases in
/// this order, asking before each step. Nothing of this machine is needed but this program, the way
/// to the repository, and its key and passphrase.
///
/// "fastness recover plan" prints the script that reinstalls the packages and stops there.
#[derive(Debug, Parser)]
#[command(name = "fastness recover", no_binary_name = true)]
pub struct Recover {
    /// Where the archive is.
    #[command(flatten)]
    pub access: Access,
    /// Where everything goes; another root than / is for looking, or for a disk that will be one
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub destination: PathBuf,
    /// What happens to files that are there already: they stay, are replaced where size or time
    /// differ, or are all replaced. Without this the destination must be empty
    #[arg(long, value_enum, value_name = "WHAT")]
    pub overwrite: Option<Overwrite>,
    /// Restore these parts only
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PARTS")]
    pub only: Vec<Part>,
    /// Leave out what matches this pattern ("borg help patterns"); may be repeated
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// What is done about packages: by default they are installed if the destination is /
    #[arg(long, value_enum, value_name = "HOW")]
    pub packages: Option<Packages>,
    /// Where the data files of MariaDB go, as a path below the destination
    #[arg(long, value_name = "DIR", default_value = "/var/lib/mysql")]
    pub datadir: PathBuf,
    /// Go on with a recovery that was interrupted
    #[arg(long = "continue")]
    pub resume: bool,
    /// Ask nothing
    #[arg(short, long)]
    pub yes: bool,
    /// Only show what would be done
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// Print the script that reinstalls what an archive lists
///
/// The script is for /bin/sh, and says what it does; "--simulate" as its argument changes nothing
/// and shows what apt would do.
#[derive(Debug, Parser)]
#[command(name = "fastness recover plan", no_binary_name = true)]
pub struct Plan {
    /// Where the archive is.
    #[command(flatten)]
    pub access: Access,
    /// The configuration file that names the repository; the usual ones without --repository
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Write the script to this file
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// The way to an archive.
#[derive(Debug, Clone, Args)]
pub struct Access {
    /// The repository, such as ssh://user@host/./server
    #[arg(short, long, value_name = "REPOSITORY")]
    pub repository: Option<String>,
    /// The archive; latest is the newest one
    #[arg(long, value_name = "NAME", default_value = "latest")]
    pub archive: String,
    /// The private key for ssh
    #[arg(long, value_name = "FILE")]
    pub ssh_key: Option<PathBuf>,
    /// The command that reaches the other machine, instead of ssh
    #[arg(long, value_name = "COMMAND", conflicts_with = "ssh_key")]
    pub ssh_command: Option<String>,
    /// The program on the other machine, instead of borg
    #[arg(long, value_name = "PROGRAM")]
    pub remote_path: Option<String>,
    /// The key file of the repository, or a copy that "key export" made
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// The text of the key on paper
    #[arg(long, value_name = "FILE", conflicts_with = "key_file")]
    pub paper: Option<PathBuf>,
    /// The file with the passphrase in its first line; without it BORG_PASSPHRASE and
    /// BORG_PASSCOMMAND count, or it is asked for
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

/// What happens to files that are there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Overwrite {
    /// They stay.
    Never,
    /// They are replaced where size or time of change differ.
    Changed,
    /// They are replaced.
    Always,
}

/// A part of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Installed software.
    Packages,
    /// Files.
    Files,
    /// Databases.
    Databases,
}

/// What is done about packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Packages {
    /// Run the script.
    Install,
    /// Let apt show what it would do.
    Simulate,
    /// Nothing.
    Skip,
}

impl Part {
    /// All of them, in the order in which they are restored.
    pub const ALL: [Self; 3] = [Self::Packages, Self::Files, Self::Databases];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Packages => "packages",
            Self::Files => "files",
            Self::Databases => "databases",
        }
    }
}

impl Overwrite {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Changed => "changed",
            Self::Always => "always",
        }
    }

    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Never, Self::Changed, Self::Always]
            .into_iter()
            .find(|mode| mode.name() == name)
    }
}

impl Recover {
    /// The parts that are wanted, in order.
    pub fn parts(&self) -> Vec<Part> {
        let wanted = |part: &Part| self.only.is_empty() || self.only.contains(part);
        Part::ALL.into_iter().filter(wanted).collect()
    }
}

/// A path that stays the same wherever this program goes.
pub fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
