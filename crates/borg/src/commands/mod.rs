//! The commands: one file each, and the table of all of them.
//!
//! A file holds the arguments, whose doc comments are the help, and what the command does. A new
//! command is a file and a line in [`COMMANDS`].

pub mod benchmark;
pub mod break_lock;
pub mod check;
pub mod compact;
pub mod config;
pub mod create;
pub mod debug;
pub mod delete;
pub mod diff;
pub mod export_tar;
pub mod extract;
pub mod help;
pub mod import_tar;
pub mod info;
pub mod init;
pub mod key;
pub mod list;
pub mod mount;
pub mod prune;
pub mod recreate;
pub mod rename;
pub mod serve;
mod transfer;
pub mod umount;
pub mod upgrade;
pub mod version;
pub mod with_lock;

use clap::{ArgMatches, Args, ColorChoice};

use crate::context::Context;
use crate::error::CommandError;
use crate::options::CommonOptions;

/// Parts of the output that options of a command switch on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outputs {
    /// `--list`.
    pub list: bool,
    /// `--stats` or `--quick-stats`.
    pub stats: bool,
}

/// A command with its arguments, ready to run.
pub trait Action {
    /// Returns the options that all commands have.
    fn common(&self) -> &CommonOptions;

    /// Returns the parts of the output that the options ask for.
    fn outputs(&self) -> Outputs {
        Outputs::default()
    }

    /// Finds mistakes in the command line that the parser does not see, and drops options that
    /// mean nothing together, with a warning for each.
    ///
    /// # Errors
    /// When the arguments contradict each other.
    fn settle(&mut self) -> Result<Vec<String>, CommandError> {
        Ok(Vec::new())
    }

    /// Tells whether it works in the background, and lets its caller go once it is ready.
    fn goes_to_background(&self) -> bool {
        false
    }

    /// Returns the texts in which placeholders are replaced before the command runs.
    fn texts_with_placeholders(&mut self) -> Vec<&mut String> {
        Vec::new()
    }

    /// Tells whether a client reads stderr, and wants progress there.
    fn is_server(&self) -> bool {
        false
    }

    /// Takes over what a client may decide that asked for this command, in place of which a
    /// command fixed by the administrator runs.
    fn follow(&mut self, _client: &CommonOptions) {}

    /// Does it.
    ///
    /// # Errors
    /// What kept it from being done.
    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError>;
}

/// A line of the table of commands.
pub struct Entry {
    /// The words that name it.
    pub words: &'static [&'static str],
    /// The program that is this command alone.
    program: Option<&'static str>,
    /// Whether it can do without the lock of the repository.
    pub may_bypass_lock: bool,
    build: fn() -> clap::Command,
    parse: fn(&ArgMatches) -> Result<Box<dyn Action>, clap::Error>,
}

impl Entry {
    const fn new<A>(words: &'static [&'static str]) -> Self
    where
        A: Action + clap::Parser + 'static,
    {
        Self {
            words,
            program: None,
            may_bypass_lock: false,
            build: A::command,
            parse: |matches| Ok(Box::new(A::from_arg_matches(matches)?)),
        }
    }

    /// Lets it do without the lock of the repository.
    const fn without_lock(mut self) -> Self {
        self.may_bypass_lock = true;
        self
    }

    /// Makes it a program of its own.
    const fn called(mut self, name: &'static str) -> Self {
        self.program = Some(name);
        self
    }

    /// Returns how it is called on the command line.
    pub fn title(&self) -> String {
        match self.program {
            Some(program) => program.to_owned(),
            None => format!("borg {}", self.name()),
        }
    }

    /// Returns the words in one text.
    pub fn name(&self) -> String {
        self.words.join(" ")
    }

    /// Returns what it does, in one line.
    pub fn summary(&self) -> String {
        (self.build)()
            .get_about()
            .map(ToString::to_string)
            .unwrap_or_default()
    }

    /// Returns the parser.
    pub fn command(&self) -> clap::Command {
        let name = self.title();
        let command = (self.build)();
        // The whole explanation, but a single line for each option.
        let about = command
            .get_long_about()
            .or(command.get_about())
            .cloned()
            .unwrap_or_default();
        command
            .about(about)
            .name(name.clone())
            .bin_name(name)
            .no_binary_name(true)
            .disable_help_flag(true)
            .disable_version_flag(true)
            .args_override_self(true)
            .infer_long_args(true)
            .color(ColorChoice::Never)
    }

    /// Returns the long options whose names begin so, in the order of the help.
    pub fn options_that_begin_with(&self, begin: &str) -> Vec<String> {
        let command = self.command();
        let names = command.get_arguments().flat_map(|option| {
            let aliases = option.get_all_aliases().unwrap_or_default();
            option.get_long().into_iter().chain(aliases)
        });
        names
            .filter(|name| name.starts_with(begin))
            .map(|name| format!("--{name}"))
            .collect()
    }

    /// Reads the arguments of the command.
    ///
    /// # Errors
    /// When they are not its arguments.
    pub fn action(&self, matches: &ArgMatches) -> Result<Box<dyn Action>, clap::Error> {
        (self.parse)(matches)
    }
}

/// All commands.
pub static COMMANDS: &[Entry] = &[
    Entry::new::<benchmark::Crud>(&["benchmark", "crud"]),
    Entry::new::<break_lock::BreakLock>(&["break-lock"]),
    Entry::new::<check::Check>(&["check"]).without_lock(),
    Entry::new::<compact::Compact>(&["compact"]),
    Entry::new::<config::Config>(&["config"]),
    Entry::new::<create::Create>(&["create"]),
    Entry::new::<debug::profile::ConvertProfile>(&["debug", "convert-profile"]),
    Entry::new::<debug::objects::DeleteObj>(&["debug", "delete-obj"]),
    Entry::new::<debug::archives::DumpArchive>(&["debug", "dump-archive"]),
    Entry::new::<debug::archives::DumpArchiveItems>(&["debug", "dump-archive-items"]),
    Entry::new::<debug::hints::DumpHints>(&["debug", "dump-hints"]),
    Entry::new::<debug::archives::DumpManifest>(&["debug", "dump-manifest"]),
    Entry::new::<debug::scan::DumpRepoObjs>(&["debug", "dump-repo-objs"]),
    Entry::new::<debug::objects::GetObj>(&["debug", "get-obj"]),
    Entry::new::<debug::objects::IdHash>(&["debug", "id-hash"]),
    Entry::new::<debug::info::Info>(&["debug", "info"]),
    Entry::new::<debug::objects::PutObj>(&["debug", "put-obj"]),
    Entry::new::<debug::objects::RefcountObj>(&["debug", "refcount-obj"]),
    Entry::new::<debug::scan::SearchRepoObjs>(&["debug", "search-repo-objs"]),
    Entry::new::<delete::Delete>(&["delete"]),
    Entry::new::<diff::Diff>(&["diff"]).without_lock(),
    Entry::new::<export_tar::ExportTar>(&["export-tar"]).without_lock(),
    Entry::new::<extract::Extract>(&["extract"]).without_lock(),
    Entry::new::<help::Help>(&["help"]),
    Entry::new::<import_tar::ImportTar>(&["import-tar"]),
    Entry::new::<info::Info>(&["info"]).without_lock(),
    Entry::new::<init::Init>(&["init"]),
    Entry::new::<key::change_passphrase::ChangePassphrase>(&["key", "change-passphrase"]),
    Entry::new::<key::export::Export>(&["key", "export"]),
    Entry::new::<key::export_related_secrets::ExportRelatedSecrets>(&[
        "key",
        "export-related-secrets",
    ]),
    Entry::new::<key::import::Import>(&["key", "import"]),
    Entry::new::<key::migrate_to_repokey::MigrateToRepokey>(&["key", "migrate-to-repokey"]),
    Entry::new::<key::verify::Verify>(&["key", "verify"]),
    Entry::new::<list::List>(&["list"]).without_lock(),
    Entry::new::<mount::Mount>(&["mount"]).without_lock(),
    Entry::new::<prune::Prune>(&["prune"]),
    Entry::new::<recreate::Recreate>(&["recreate"]),
    Entry::new::<rename::Rename>(&["rename"]),
    Entry::new::<serve::Serve>(&["serve"]),
    Entry::new::<transfer::Transfer>(&["transfer"]),
    Entry::new::<umount::Umount>(&["umount"]).without_lock(),
    Entry::new::<upgrade::Upgrade>(&["upgrade"]),
    Entry::new::<version::Version>(&["version"]),
    Entry::new::<with_lock::WithLock>(&["with-lock"]),
];

/// The command `mount` as a program, for fstab.
pub static BORGFS: Entry = Entry::new::<mount::Mount>(&["mount"])
    .without_lock()
    .called("borgfs");

/// Returns the words of all commands, in the order of the table.
pub fn words() -> Vec<&'static [&'static str]> {
    COMMANDS.iter().map(|entry| entry.words).collect()
}

/// Returns the whole command line as one parser, for what is made of it: completions and manual
/// pages. Commands are read one by one when they are run.
pub fn tree() -> clap::Command {
    let mut groups: Vec<clap::Command> = Vec::new();
    let mut all = clap::Command::new("borg")
        .about("Deduplicating backups")
        .disable_help_subcommand(true)
        .disable_help_flag(true)
        .args(CommonOptions::augment_args(clap::Command::new("borg")).get_arguments());
    for entry in COMMANDS {
        match entry.words {
            [group, name] => {
                let command = entry.command().name(*name);
                match groups.iter_mut().find(|known| known.get_name() == *group) {
                    Some(known) => *known = known.clone().subcommand(command),
                    None => {
                        let summary = match *group {
                            "key" => "Manage the key of a repository",
                            "debug" => "Look into a repository to find a mistake",
                            _ => "Measure the speed of a repository",
                        };
                        let known = clap::Command::new(*group).about(summary);
                        let known = known.disable_help_subcommand(true).subcommand(command);
                        groups.push(known);
                    }
                }
            }
            words => all = all.subcommand(entry.command().name(words.join(" "))),
        }
    }
    all.subcommands(groups)
}

/// Refuses both kinds of tables at once, and drops both in a dry run, which knows no sizes.
fn drop_stats_of_dry_run(
    dry_run: bool,
    stats: &mut bool,
    quick_stats: &mut bool,
) -> Result<Vec<String>, CommandError> {
    if *stats && *quick_stats {
        return Err(CommandError::usage(
            "--stats and --quick-stats are mutually exclusive.",
        ));
    }
    let mut warnings = Vec::new();
    for (wanted, name) in [(stats, "--stats"), (quick_stats, "--quick-stats")] {
        if dry_run && std::mem::take(wanted) {
            warnings.push(format!(
                "Ignoring {name}. It is not supported when using --dry-run."
            ));
        }
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::options::PatternOption;

    fn parsed<A: Parser>(line: &str) -> Result<A, clap::Error> {
        let command = A::command()
            .no_binary_name(true)
            .disable_help_flag(true)
            .args_override_self(true)
            .infer_long_args(true);
        let matches = command.try_get_matches_from(line.split_whitespace())?;
        A::from_arg_matches(&matches)
    }

    #[test]
    fn every_command_has_a_sound_parser() {
        init::Init::command().disable_help_flag(true).debug_assert();
        create::Create::command()
            .disable_help_flag(true)
            .debug_assert();
        export_tar::ExportTar::command()
            .disable_help_flag(true)
            .debug_assert();
        extract::Extract::command()
            .disable_help_flag(true)
            .debug_assert();
        import_tar::ImportTar::command()
            .disable_help_flag(true)
            .debug_assert();
        list::List::command().disable_help_flag(true).debug_assert();
        info::Info::command().disable_help_flag(true).debug_assert();
        check::Check::command()
            .disable_help_flag(true)
            .debug_assert();
        delete::Delete::command()
            .disable_help_flag(true)
            .debug_assert();
        prune::Prune::command()
            .disable_help_flag(true)
            .debug_assert();
        compact::Compact::command()
            .disable_help_flag(true)
            .debug_assert();
        recreate::Recreate::command()
            .disable_help_flag(true)
            .debug_assert();
        rename::Rename::command()
            .disable_help_flag(true)
            .debug_assert();
    }

    #[test]
    fn patterns_keep_the_order_of_the_command_line() {
        let create: create::Create =
            parsed("r::a p -e x --pattern +y q --exclude-from f -e z").unwrap();
        let expected = [
            PatternOption::Exclude("x".into()),
            PatternOption::Pattern("+y".into()),
            PatternOption::ExcludeFrom("f".into()),
            PatternOption::Exclude("z".into()),
        ];
        assert_eq!(create.exclude.0, expected);
        assert_eq!(create.paths, ["p", "q"]);
    }

    #[test]
    fn most_options_take_the_last_value_and_some_only_one() {
        let create: create::Create =
            parsed("r::a p -C zstd -C lz4 --info --debug --list --list").unwrap();
        assert_eq!(create.archive.compression.to_string(), "lz4");
        assert_eq!(create.common.level(), crate::output::log::Level::Debug);
        let mut twice: create::Create =
            parsed("r::a p --files-cache disabled --files-cache mtime,size").unwrap();
        let error = twice.settle().unwrap_err();
        assert_eq!(
            error.message,
            "argument --files-cache: There can be only one."
        );
        let list: list::List = parsed("-a x* -a y*").unwrap();
        assert!(list.filter.name.glob().is_err());
    }

    #[test]
    fn exclusive_options_exclude_each_other() {
        assert!(parsed::<list::List>("-a x -P y").is_err());
        assert!(parsed::<list::List>("--first 1 --last 1").is_err());
        let mut create: create::Create = parsed("r::a p -s --quick-stats").unwrap();
        let error = create.settle().unwrap_err();
        assert_eq!(
            error.message,
            "--stats and --quick-stats are mutually exclusive."
        );
    }

    #[test]
    fn dry_runs_drop_tables_with_a_warning() {
        let mut prune: prune::Prune = parsed("-n --stats --keep-daily -1").unwrap();
        assert_eq!(prune.keep.daily, Some(-1));
        let warnings = prune.settle().unwrap();
        assert_eq!(
            warnings,
            ["Ignoring --stats. It is not supported when using --dry-run."]
        );
        assert!(!prune.stats);
    }

    #[test]
    fn a_prune_without_rules_is_refused() {
        let prune: prune::Prune = parsed("--keep-daily 0").unwrap();
        let error = prune.keep.require().unwrap_err();
        assert!(
            error
                .message
                .starts_with("Command Error: At least one of the \"keep-within\"")
        );
    }

    #[test]
    fn standard_input_is_a_path_and_two_dashes_end_the_options() {
        let create: create::Create =
            parsed("--content-from-command r::a -- tar -c --file -").unwrap();
        assert_eq!(create.paths, ["tar", "-c", "--file", "-"]);
        let create: create::Create = parsed("r::a -").unwrap();
        assert_eq!(create.paths, ["-"]);
    }

    #[test]
    fn beginnings_of_options_are_enough_where_only_one_has_them() {
        let list: list::List = parsed("--consider-ch --glob x").unwrap();
        assert!(list.consider_checkpoints && list.filter.name.is_given());
        assert!(parsed::<list::List>("--js").is_err());
    }
}
