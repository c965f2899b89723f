//! Why a recovery ends, and what to do then.

use std::io;
use std::path::{Path, PathBuf};

/// What ends a recovery. The text says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The command line cannot be meant.
    #[error("{0}")]
    Usage(String),
    /// A Borg command failed.
    #[error("{what}: {text}{}", hint(*.code))]
    Borg {
        /// What was tried.
        what: String,
        /// Its exit code.
        code: u8,
        /// What it said.
        text: String,
    },
    /// There is nothing to restore.
    #[error("{0} has no archive; is it the right repository?")]
    NoArchive(String),
    /// The newest archives are of several machines.
    #[error("{repository} has archives of several machines: {machines}; choose with --archive")]
    SeveralMachines {
        /// The repository.
        repository: String,
        /// The newest archive of each.
        machines: String,
    },
    /// An archive that a plain `borg create` made.
    #[error(
        "archive {0} holds no configuration, which says how its databases are restored; restore the rest with --only packages,files"
    )]
    NoConfiguration(String),
    /// Something is in the destination.
    #[error(
        "{} is not empty; choose with --overwrite what happens to files that are there: never, changed or always", .0.display()
    )]
    NotEmpty(PathBuf),
    /// A recovery came not to its end.
    #[error(
        "{0} holds a recovery that did not come to its end: --continue goes on with it; remove {0} to begin anew"
    )]
    Unfinished(String),
    /// There is nothing to go on with.
    #[error("there is no unfinished recovery in {}: leave out --continue to begin one", .0.display())]
    NothingToContinue(PathBuf),
    /// The unfinished recovery is another one.
    #[error(
        "the unfinished recovery is of {there}, not of {asked}; name that, or remove {directory} to begin anew"
    )]
    Another {
        /// What is being recovered.
        there: String,
        /// What was asked for.
        asked: String,
        /// Where its state is.
        directory: String,
    },
    /// The key on paper was not typed as it was printed.
    #[error("{}, line {line}: {reason}", path.display())]
    Paper {
        /// The file.
        path: PathBuf,
        /// The number of the line.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// The destination is full.
    #[error("{} is full; make room, then go on with --continue", .0.display())]
    Full(PathBuf),
    /// A step did not do its work.
    #[error("{what}: {text}; when that is mended, go on with --continue")]
    Step {
        /// What was tried.
        what: String,
        /// What became of it.
        text: String,
    },
    /// Nobody can be asked.
    #[error("there is nobody to ask: give --yes to restore without questions")]
    Nobody,
    /// The person wants no more.
    #[error("ended as you wish; --continue goes on from here")]
    Ended,
    /// The system refused something.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// Why not.
        source: io::Error,
    },
}

impl RecoverError {
    /// What went wrong with a path.
    pub fn system(what: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let what = format!("{what} {}", path.display());
        move |source| Self::System { what, source }
    }
}

/// What to do about an error of Borg, by its code in the modern scheme.
fn hint(code: u8) -> &'static str {
    match code {
        13 | 15 | 18 | 83 => {
            "\nhint: the address after --repository is that of the repository in your configuration"
        }
        40..=43 => {
            "\nhint: --key-file names the key file or its export, --paper a file with the key as it was printed"
        }
        50..=53 => {
            "\nhint: --passphrase-file names a file with the passphrase in its first line; with a key file of another repository no passphrase is right"
        }
        70..=75 => {
            "\nhint: another program works on the repository; when it is gone for good, \"borg break-lock\" helps"
        }
        80..=87 => {
            "\nhint: --ssh-key names the private key; \"ssh -i KEY user@host\" shows whether the way is open"
        }
        _ => "",
    }
}
