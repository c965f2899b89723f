//! `debug get-obj`, `put-obj`, `delete-obj`, `refcount-obj` and `id-hash`: single objects.

use std::ffi::OsString;
use std::path::Path;

use fastness_format::id::ChunkId;
use fastness_repository::RepositoryError;
use fastness_repository::local::lock::LockKind;

use super::{file_failed, object_id};
use crate::commands::Action;
use crate::context::Context;
use crate::error::CommandError;
use crate::options::CommonOptions;

/// Write an object as it is stored into a file
#[derive(Clone, Debug, clap::Parser)]
pub struct GetObj {
    /// The repository
    #[arg(value_name = "REPOSITORY")]
    location: OsString,
    /// Id of the object
    #[arg(value_name = "ID")]
    id: String,
    /// The file
    #[arg(value_name = "PATH")]
    path: OsString,
    /// Options of all commands.
    #[command(flatten)]
    common: CommonOptions,
}

/// Store a file as an object, as it is
#[derive(Clone, Debug, clap::Parser)]
pub struct PutObj {
    /// The repository
    #[arg(value_name = "REPOSITORY")]
    location: OsString,
    /// Id of the object
    #[arg(value_name = "ID")]
    id: String,
    /// The file
    #[arg(value_name = "PATH")]
    path: OsString,
    /// Options of all commands.
    #[command(flatten)]
    common: CommonOptions,
}

/// Delete objects
#[derive(Clone, Debug, clap::Parser)]
pub struct DeleteObj {
    /// The repository
    #[arg(value_name = "REPOSITORY")]
    location: OsString,
    /// Ids of the objects
    #[arg(value_name = "IDs", required = true)]
    ids: Vec<String>,
    /// Options of all commands.
    #[command(flatten)]
    common: CommonOptions,
}

/// Show how often archives refer to objects
#[derive(Clone, Debug, clap::Parser)]
pub struct RefcountObj {
    /// The repository
    #[arg(value_name = "REPOSITORY")]
    location: OsString,
    /// Ids of the objects
    #[arg(value_name = "IDs", required = true)]
    ids: Vec<String>,
    /// Options of all commands.
    #[command(flatten)]
    common: CommonOptions,
}

/// Show the id that the content of a file has in a repository
#[derive(Clone, Debug, clap::Parser)]
pub struct IdHash {
    /// The repository
    #[arg(value_name = "REPOSITORY")]
    location: OsString,
    /// The file
    #[arg(value_name = "PATH")]
    path: OsString,
    /// Options of all commands.
    #[command(flatten)]
    common: CommonOptions,
}

fn read_file(path: &OsString) -> Result<Vec<u8>, CommandError> {
    std::fs::read(path).map_err(|error| file_failed(Path::new(path), &error))
}

impl Action for GetObj {
    fn common(&self) -> &CommonOptions {
        &self.common
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError> {
        let place = context.repository_place(Some(&self.location))?;
        let mut repository = context.open_repository(&place, Some(LockKind::Shared))?;
        let object = match repository.get(&object_id(&self.id)?) {
            Err(RepositoryError::ObjectNotFound { .. }) => {
                let text = format!("Runtime Error: object {} not found.", self.id);
                return Err(CommandError::new("RTError", text));
            }
            object => object?,
        };
        let path = Path::new(&self.path);
        std::fs::write(path, object).map_err(|error| file_failed(path, &error))?;
        context.print(format!("object {} fetched.\n", self.id))?;
        Ok(repository.close()?)
    }
}

impl Action for PutObj {
    fn common(&self) -> &CommonOptions {
        &self.common
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError> {
        let place = context.repository_place(Some(&self.location))?;
        let mut repository = context.open_repository(&place, Some(LockKind::Exclusive))?;
        let object = read_file(&self.path)?;
        repository.put(&object_id(&self.id)?, &object)?;
        context.print(format!("object {} put.\n", self.id))?;
        repository.commit(None)?;
        Ok(repository.close()?)
    }
}

impl Action for DeleteObj {
    fn common(&self) -> &CommonOptions {
        &self.common
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError> {
        let place = context.repository_place(Some(&self.location))?;
        let mut repository = context.open_repository(&place, Some(LockKind::Exclusive))?;
        let mut modified = false;
        for text in &self.ids {
            let what = match ChunkId::from_hex(text).map(|id| repository.delete(&id)) {
                Err(_) => format!("object id {text} is invalid.\n"),
                Ok(Err(RepositoryError::ObjectNotFound { .. })) => {
                    format!("object {text} not found.\n")
                }
                Ok(deleted) => {
                    deleted?;
                    modified = true;
                    format!("object {text} deleted.\n")
                }
            };
            context.print(what)?;
        }
        if modified {
            repository.commit(None)?;
        }
        context.print("Done.\n")?;
        Ok(repository.close()?)
    }
}

impl Action for RefcountObj {
    fn common(&self) -> &CommonOptions {
        &self.common
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError> {
        let place = context.repository_place(Some(&self.location))?;
        let mut opened = context.open(place, LockKind::Exclusive, &[])?;
        let chunks = context.load_chunks_to_read(&opened)?;
        for text in &self.ids {
            let known = ChunkId::from_hex(text).map(|id| chunks.get(&id));
            let what = match known {
                Err(_) => format!("object id {text} is invalid."),
                Ok(None) => format!("object {text} not found [info from chunks cache]."),
                Ok(Some(entry)) => format!(
                    "object {text} has {} referrers [info from chunks cache].",
                    entry.references
                ),
            };
            context.print(what + "\n")?;
        }
        Ok(opened.session.repository.close()?)
    }
}

impl Action for IdHash {
    fn common(&self) -> &CommonOptions {
        &self.common
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError> {
        let place = context.repository_place(Some(&self.location))?;
        let mut opened = context.open(place, LockKind::Shared, &[])?;
        let id = opened.session.crypto.id(&read_file(&self.path)?);
        context.print(format!("{id}\n"))?;
        Ok(opened.session.repository.close()?)
    }
}
