//! `key export`: a copy of the key, in a file or for paper.

use std::ffi::OsString;

use fastness_engine::keys::backup;
use fastness_format::crypto::paper_key;

use super::printable;
use crate::commands::Action;
use crate::context::Context;
use crate::error::CommandError;
use crate::options::CommonOptions;

/// Copy the key of a repository
///
/// Without the key nothing in a repository can be read, and a repokey is lost with its
/// repository: keep a copy at another place. The copy is protected by the passphrase the key has
/// now, also when that is changed later.
#[derive(Clone, Debug, clap::Parser)]
pub struct Export {
    /// The repository
    #[arg(value_name = "REPOSITORY")]
    location: Option<OsString>,
    /// Where the copy goes; - or nothing is standard output
    #[arg(value_name = "PATH")]
    path: Option<OsString>,
    /// Make a text with checksums that can be printed and typed in
    #[arg(long)]
    paper: bool,
    /// Make a page for printing, with a QR code and the text for typing in
    #[arg(long = "qr-html")]
    qr_html: bool,
    /// Options of all commands.
    #[command(flatten)]
    common: CommonOptions,
}

/// The first line of a key on paper.
const HOW_TO_RESTORE: &str = "To restore key use borg key import --paper /path/to/repo\n\n";

impl Action for Export {
    fn common(&self) -> &CommonOptions {
        &self.common
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError> {
        let place = context.repository_place(self.location.as_deref())?;
        let mut repository = context.open_repository(&place, None)?;
        let keys = context.key_context(&place);
        let file = backup::export(&keys, &*repository)?;
        let paper = || -> Result<String, CommandError> {
            let blob = backup::blob(&keys, &*repository)?;
            Ok(paper_key::to_text(&repository.id(), &blob))
        };
        let content = match (self.paper, self.qr_html) {
            (true, _) => format!("{HOW_TO_RESTORE}{}", paper()?),
            (false, true) => printable::page(&file, &paper()?)?,
            (false, false) => file.to_string(),
        };
        context.write_secret(self.path.as_deref(), content.as_bytes())?;
        Ok(repository.close()?)
    }
}
