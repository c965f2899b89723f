//! `check`: is everything there and unharmed?

use std::ffi::OsString;
use std::time::Duration;

use fastness_engine::check::{CheckContext, CheckOptions, SortKey, Verdict, check};
use fastness_engine::event::Level;
use fastness_engine::parallel::cores;
use fastness_engine::security::WrongTag;
use fastness_engine::select::archive_glob::ArchiveGlob;
use fastness_repository::Repository;
use fastness_repository::local::lock::LockKind;

use crate::access::Place;
use crate::commands::Action;
use crate::context::{Context, Wanted};
use crate::error::{CommandError, with_causes};
use crate::exit_code::ExitCode;
use crate::options::values::SortKey as SortOption;
use crate::options::{ArchiveFilter, CommonOptions};
use crate::output::questions::Question;
use crate::signals::Watch;

/// Check the consistency of a repository
///
/// First the repository: every segment is read, and every entry compared with its checksum. Then
/// the archives: every file's chunks must be there. --verify-data also decrypts and decompresses
/// every chunk and compares it with its id, which finds what checksums cannot.
///
/// --repair writes back what can be saved. Damaged files get zeros of the same length for what is
/// missing, and heal when a later backup brings the missing chunk again. Copy the repository
/// before you use it.
#[derive(Clone, Debug, clap::Parser)]
pub struct Check {
    /// The repository or archive
    #[arg(value_name = "REPOSITORY_OR_ARCHIVE")]
    pub location: Option<OsString>,
    /// Check only the repository
    #[arg(long)]
    pub repository_only: bool,
    /// Check only the archives
    #[arg(long)]
    pub archives_only: bool,
    /// Decrypt all data and compare it with its ids
    #[arg(long)]
    pub verify_data: bool,
    /// Try to repair what is found
    #[arg(long)]
    pub repair: bool,
    /// Does nothing, as in Borg
    #[arg(long)]
    pub save_space: bool,
    /// Stop after SECONDS and go on there the next time (with --repository-only)
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub max_duration: u64,
    /// Which archives.
    #[command(flatten)]
    pub filter: ArchiveFilter,
    /// Options of all commands.
    #[command(flatten)]
    pub common: CommonOptions,
}

/// What is asked before a repair; the words are looked for by other programs.
const WARNING: &str = "This is a potentially dangerous function.
check --repair might lead to data loss (for kinds of corruption it is not
capable of dealing with). BE VERY CAREFUL!

Type 'YES' if you understand this and want to continue: ";

impl Action for Check {
    fn common(&self) -> &CommonOptions {
        &self.common
    }

    fn texts_with_placeholders(&mut self) -> Vec<&mut String> {
        self.filter.name.texts()
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError> {
        let argument = "REPOSITORY_OR_ARCHIVE";
        let location = context.location(argument, self.location.as_deref(), Wanted::Either)?;
        let options = self.options(location.archive.clone())?;
        let place = context.place(location);
        let mut repository = context.open_repository(&place, Some(LockKind::Exclusive))?;
        let result = self.in_repository(context, &place, &mut *repository, &options);
        // Rolls back what was not committed and gives the lock back.
        let closed = repository.close();
        result?;
        Ok(closed?)
    }
}

impl Check {
    fn options(&self, archive: Option<Vec<u8>>) -> Result<CheckOptions, CommandError> {
        let glob = match self.filter.name.glob()? {
            Some(text) => {
                let glob = ArchiveGlob::new(text.as_bytes())
                    .map_err(|error| CommandError::usage(with_causes(&error)))?;
                Some((text, glob))
            }
            None => None,
        };
        let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let sort_by = self.filter.sort_keys()?.into_iter().map(|key| match key {
            SortOption::Timestamp => SortKey::Timestamp,
            SortOption::Name => SortKey::Name,
            SortOption::Id => SortKey::Id,
        });
        Ok(CheckOptions {
            archive,
            glob,
            first: self.filter.first.map(number),
            last: self.filter.last.map(number),
            sort_by: sort_by.collect(),
            verify_data: self.verify_data,
            repair: self.repair,
            threads: cores(),
        })
    }

    fn in_repository(
        &self,
        context: &Context<'_>,
        place: &Place,
        repository: &mut dyn Repository,
        options: &CheckOptions,
    ) -> Result<(), CommandError> {
        self.ask(context)?;
        self.refuse_contradictions()?;
        if self.repository_only && self.archives_only {
            // Borg does nothing then, either, and does not say so.
            let nothing = "--repository-only together with --archives-only: nothing was checked.";
            let log = context.reporter.log();
            log.log(Level::Warning, "borg.archiver", nothing, None);
        }
        let problems = || context.reporter.raise(ExitCode::WARNING);
        if !self.archives_only && !repository.check(&self.segment_options())? {
            problems();
            return Ok(());
        }
        if self.repository_only {
            return Ok(());
        }
        let security = context.security(place, repository.id());
        let surroundings = CheckContext {
            keys: context.key_context(place),
            security_directory: security.directory(),
            wrong_tag: match context.environment.workarounds.ignore_invalid_archive_tam {
                true => WrongTag::Ignore,
                false => WrongTag::Refuse,
            },
            world: crate::world::real(),
        };
        let watch = Watch::begin();
        let verdict = check(repository, options, &surroundings);
        drop(watch);
        match verdict? {
            Verdict::Sound => {}
            Verdict::Problems if self.repair => {}
            Verdict::Problems | Verdict::Empty => problems(),
        }
        Ok(())
    }

    fn ask(&self, context: &Context<'_>) -> Result<(), CommandError> {
        let question = Question {
            message: WARNING,
            variable: "BORG_CHECK_I_KNOW_WHAT_I_AM_DOING",
            truish: &["YES"],
            no_message: "Aborting.",
            invalid_message: "Invalid answer, aborting.",
            ..Question::default()
        };
        if self.repair && !context.ask(&question) {
            return Err(CommandError::cancelled());
        }
        Ok(())
    }

    fn segment_options(&self) -> fastness_repository::CheckOptions {
        fastness_repository::CheckOptions {
            repair: self.repair,
            max_duration: (self.max_duration > 0).then(|| Duration::from_secs(self.max_duration)),
        }
    }

    fn refuse_contradictions(&self) -> Result<(), CommandError> {
        if self.repository_only && (self.verify_data || self.filter.is_given()) {
            return Err(CommandError::command(
                "--repository-only contradicts --first, --last, --glob-archives, --prefix and --verify-data arguments.",
            ));
        }
        if self.repair && self.max_duration > 0 {
            return Err(CommandError::command(
                "--repair does not allow --max-duration argument.",
            ));
        }
        if self.max_duration > 0 && !self.repository_only {
            return Err(CommandError::command(
                "--repository-only is required for --max-duration support.",
            ));
        }
        Ok(())
    }
}
