//! `mount`, also called as `borgfs`: archives as a file system.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use fastness_engine::vfs::{Vfs, VfsError, VfsOptions};
use fastness_format::location::Location;
use fastness_format::manifest::Operation;
use fastness_repository::local::lock::LockKind;
use fastness_sys::users::Accounts;

use crate::archives::{Checkpoints, ListedArchive};
use crate::commands::Action;
use crate::context::{Context, Wanted};
use crate::error::CommandError;
use crate::mount::options::MountOptions;
use crate::mount::{runtime_error, serve};
use crate::options::{ArchiveFilter, CommonOptions, ExcludeOptions, StripOptions, only_one};
use crate::signals::Watch;
use crate::world;

/// Mount a repository or an archive as a file system
///
/// Shows archives below MOUNTPOINT, to look into them or to copy single files out of them. Of a
/// repository every archive is a directory, which is read when somebody looks into it. With PATH,
/// only what lies at or below it is shown ("borg help patterns").
///
/// The command goes to the background when the mount stands, unless told to stay; it ends when it
/// is unmounted: "borg umount MOUNTPOINT". When a signal ends it, the mount point stays as it is,
/// dead, so that no program takes it for an empty directory. Only Ctrl-C in the foreground unmounts.
///
/// Symbolic links lead where they say, also out of the mount: "mount -o remount,nosymfollow
/// MOUNTPOINT" keeps programs from following them. Access control lists and file flags are not
/// shown.
///
/// Options behind -o, with commas between them:
///
/// versions: all archives of a repository in one tree, in which each file is a directory of its
/// different contents.
///
/// allow_damaged_files: lets files be read in which "borg check --repair" replaced lost data by
/// zeros. Otherwise that is an error.
///
/// ignore_permissions: does not check who may read what.
///
/// uid=N, gid=N, umask=N: other owners and fewer permissions for everything.
///
/// Also those of mount(8) and mount.fuse(8) that make sense for a read-only file system:
/// allow_other, allow_root, auto_unmount, dev, suid, noexec, noatime, fsname=, subtype=, max_read=.
///
/// Installed as borgfs, the program can stand in fstab:
/// "/path/to/repository /mnt fuse.borgfs noauto,user 0 0".
///
/// BORG_MOUNT_DATA_CACHE_ENTRIES tells how many chunks of file content are kept in memory, up to 8
/// MiB each; as many as there are processors if it is not set.
#[derive(Clone, Debug, clap::Parser)]
pub struct Mount {
    /// The repository or archive
    #[arg(value_name = "REPOSITORY_OR_ARCHIVE")]
    location: OsString,
    /// Where to mount it
    #[arg(value_name = "MOUNTPOINT")]
    mountpoint: OsString,
    /// What to show
    #[arg(value_name = "PATH")]
    paths: Vec<OsString>,
    /// Also show unfinished archives
    #[arg(long)]
    consider_checkpoints: bool,
    /// Stay in the foreground
    #[arg(short = 'f', long)]
    foreground: bool,
    /// Mount options, with commas between them
    #[arg(short = 'o', value_name = "OPTIONS", action = clap::ArgAction::Append)]
    options: Vec<String>,
    /// Show owners by number only
    #[arg(long, alias = "numeric-owner")]
    numeric_ids: bool,
    /// Which archives.
    #[command(flatten)]
    filter: ArchiveFilter,
    /// What to leave out.
    #[command(flatten)]
    exclude: ExcludeOptions,
    /// What is cut off paths.
    #[command(flatten)]
    strip: StripOptions,
    /// Options of all commands.
    #[command(flatten)]
    common: CommonOptions,
}

impl Action for Mount {
    fn common(&self) -> &CommonOptions {
        &self.common
    }

    fn settle(&mut self) -> Result<Vec<String>, CommandError> {
        self.mount_options()?;
        Ok(Vec::new())
    }

    fn texts_with_placeholders(&mut self) -> Vec<&mut String> {
        self.filter.name.texts()
    }

    fn goes_to_background(&self) -> bool {
        !self.foreground
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError> {
        let mountpoint = Path::new(&self.mountpoint);
        if !fastness_sys::mount::is_possible_at(mountpoint) {
            let place = mountpoint.display();
            let text = format!("{place}: Mount point must be a writable directory");
            return Err(runtime_error(text));
        }
        let options = self.mount_options()?;
        check_names(&options)?;
        let location = self.location(context, &options)?;
        let archive = location.archive.clone();
        let view = self.view(context, &options)?;
        let place = context.place(location);
        let opened = context.open(place, LockKind::Shared, &[Operation::Read])?;
        let archives = match &archive {
            Some(_) => Vec::new(),
            None => {
                let manifest = &opened.session.catalogue.manifest;
                self.filter.archives(manifest, self.checkpoints())?
            }
        };
        let _watch = Watch::begin();
        let monitor = Arc::clone(&context.reporter);
        let vfs = Arc::new(Vfs::new(opened.session, view, monitor));
        let shown = match &archive {
            Some(name) => vfs.show_archive(name),
            None => show_all(&vfs, &archives, &options),
        };
        let served = shown.map_err(told).and_then(|()| {
            context.info("Mounting filesystem");
            serve(context, &vfs, mountpoint, &options)
        });
        let closed = vfs.close();
        served?;
        Ok(closed?)
    }
}

impl Mount {
    fn mount_options(&self) -> Result<MountOptions, CommandError> {
        match only_one("-o", &self.options)? {
            Some(text) => MountOptions::parse(&text),
            None => Ok(MountOptions::default()),
        }
    }

    fn location(
        &self,
        context: &Context<'_>,
        options: &MountOptions,
    ) -> Result<Location, CommandError> {
        let wanted = Wanted::Either;
        let location = context.location("REPOSITORY_OR_ARCHIVE", Some(&self.location), wanted)?;
        if location.archive.is_some() && options.versions {
            return Err(CommandError::general(
                "for versions view, do not specify a single archive, but always give the \
                 repository as location.",
            ));
        }
        Ok(location)
    }

    fn checkpoints(&self) -> Checkpoints {
        match self.consider_checkpoints {
            true => Checkpoints::Consider,
            false => Checkpoints::Ignore,
        }
    }

    fn view(
        &self,
        context: &Context<'_>,
        options: &MountOptions,
    ) -> Result<VfsOptions, CommandError> {
        let entries = context.environment.text("BORG_MOUNT_DATA_CACHE_ENTRIES");
        let cached_chunks = match entries.map(|text| (text.trim().parse(), text)) {
            None => context.threads(),
            Some((Ok(number), _)) => number,
            Some((Err(_), text)) => {
                let text = format!("BORG_MOUNT_DATA_CACHE_ENTRIES: {text:?} is no number");
                return Err(CommandError::general(text));
            }
        };
        Ok(VfsOptions {
            patterns: self.exclude.matcher(&self.paths)?,
            strip_components: self.strip.components(),
            part_files: self.common.consider_part_files,
            versions: options.versions,
            allow_damaged_files: options.allow_damaged_files,
            umask: options.umask,
            uid: options.uid,
            gid: options.gid,
            numeric_ids: self.numeric_ids,
            own_ids: fastness_sys::process::own_ids(),
            now: world::real().clock.now().0,
            cached_chunks,
            threads: context.threads(),
        })
    }
}

/// Shows archives side by side, or merged.
fn show_all(vfs: &Vfs, archives: &[ListedArchive], options: &MountOptions) -> Result<(), VfsError> {
    for archive in archives {
        if options.versions {
            vfs.show_archive(&archive.name)?;
        } else {
            let time = archive.time.as_nanosecond();
            vfs.show_archive_directory(&archive.name, i64::try_from(time).unwrap_or(0));
        }
    }
    Ok(())
}

/// Refuses owners that the system does not know, as Borg does.
fn check_names(options: &MountOptions) -> Result<(), CommandError> {
    let mut accounts = Accounts::new();
    let unknown = match (options.uid, options.gid) {
        (Some(uid), _) if accounts.user_name(uid).is_none() => {
            format!(
                "uid {uid} can not be resolved to a username. Please check that the corresponding user"
            )
        }
        (_, Some(gid)) if accounts.group_name(gid).is_none() => {
            format!(
                "gid {gid} can not be resolved to a group name. Please check that the corresponding group"
            )
        }
        _ => return Ok(()),
    };
    let option = unknown.get(..3).unwrap_or_default();
    Err(CommandError::general(format!(
        "{unknown} exists or do not specify a {option} mount option."
    )))
}

fn told(error: VfsError) -> CommandError {
    match error {
        VfsError::Engine(error) => error.into(),
        other => CommandError::general(crate::error::with_causes(&other)),
    }
}
