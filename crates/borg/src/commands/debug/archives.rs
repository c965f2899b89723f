//! `debug dump-archive`, `dump-archive-items` and `dump-manifest`: metadata as it is stored.

use std::ffi::OsString;
use std::io::Write;

use fastness_engine::archives::items::ItemSource;
use fastness_engine::error::EngineError;
use fastness_engine::objects::read_object;
use fastness_format::archive::ArchiveMetadata;
use fastness_format::id::ChunkId;
use fastness_format::msgpack::Value;
use fastness_repository::local::lock::LockKind;

use super::dump::{decoded, indented, json};
use super::write_failed;
use crate::access::Opened;
use crate::commands::Action;
use crate::context::{Context, Wanted};
use crate::error::CommandError;
use crate::options::CommonOptions;
use crate::output::json::{Indent, Json};

/// Write all metadata of an archive as JSON
#[derive(Clone, Debug, clap::Parser)]
pub struct DumpArchive {
    /// The archive
    #[arg(value_name = "ARCHIVE")]
    location: OsString,
    /// Where it goes; - is standard output
    #[arg(value_name = "PATH")]
    path: OsString,
    /// Options of all commands.
    #[command(flatten)]
    common: CommonOptions,
}

/// Write the item stream of an archive into files, decrypted
#[derive(Clone, Debug, clap::Parser)]
pub struct DumpArchiveItems {
    /// The archive
    #[arg(value_name = "ARCHIVE")]
    location: OsString,
    /// Options of all commands.
    #[command(flatten)]
    common: CommonOptions,
}

/// Write the manifest as JSON
#[derive(Clone, Debug, clap::Parser)]
pub struct DumpManifest {
    /// The repository
    #[arg(value_name = "REPOSITORY")]
    location: OsString,
    /// Where it goes; - is standard output
    #[arg(value_name = "PATH")]
    path: OsString,
    /// Options of all commands.
    #[command(flatten)]
    common: CommonOptions,
}

impl Action for DumpArchive {
    fn common(&self) -> &CommonOptions {
        &self.common
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError> {
        let location = context.location("ARCHIVE", Some(&self.location), Wanted::Archive)?;
        let place = context.place(location);
        let mut opened = context.open(place, LockKind::Shared, &[])?;
        let name = opened.place.archive_name()?.to_vec();
        let metadata = Metadata::read(&opened, &name)?;
        let threads = context.threads();
        let mut sink = context.sink(&self.path)?;
        metadata.write(&opened, &name, threads, sink.as_mut())?;
        sink.flush().map_err(write_failed)?;
        drop(sink);
        Ok(opened.session.repository.close()?)
    }
}

/// What stands before the items.
struct Metadata {
    manifest_entry: Json,
    metadata: Json,
    items: Vec<ChunkId>,
}

impl Metadata {
    fn read(opened: &Opened, name: &[u8]) -> Result<Self, CommandError> {
        let session = &opened.session;
        let entry = session
            .catalogue
            .manifest
            .archives
            .get(name)
            .ok_or_else(|| {
                EngineError::ArchiveDoesNotExist(String::from_utf8_lossy(name).into_owned())
            })?;
        let data = read_object(session.repository.as_ref(), &session.crypto, &entry.id)
            .map_err(EngineError::from)?;
        let archive = ArchiveMetadata::decode(&data).map_err(|source| EngineError::Archive {
            archive: String::from_utf8_lossy(name).into_owned(),
            source,
        })?;
        let id = Value::Raw(entry.id.as_bytes().to_vec());
        Ok(Self {
            manifest_entry: Json::Map(vec![
                ("id".to_owned(), json(&id)),
                ("time".to_owned(), entry.time.as_str().into()),
            ]),
            metadata: decoded(&data)?,
            items: archive.items,
        })
    }

    fn write(
        &self,
        opened: &Opened,
        name: &[u8],
        threads: usize,
        out: &mut dyn Write,
    ) -> Result<(), CommandError> {
        let head = format!(
            "{{\n    \"_name\": {},\n    \"_manifest_entry\":\n{},\n    \"_meta\":\n{},\n    \"_items\": [\n",
            Json::from(name).to_line(),
            indented(&self.manifest_entry),
            indented(&self.metadata)
        );
        out.write_all(head.as_bytes()).map_err(write_failed)?;
        let source = ItemSource {
            repository: opened.session.repository.as_ref(),
            crypto: &opened.session.crypto,
            archive: name,
            ids: &self.items,
            threads,
        };
        let mut failed = None;
        let mut separator = "";
        let result = source.for_each(|item| {
            let written = decoded(item.as_bytes()).and_then(|item| {
                let text = format!("{separator}{}", indented(&item));
                separator = ",\n";
                out.write_all(text.as_bytes()).map_err(write_failed)
            });
            written.map_err(|error| {
                failed = Some(error);
                EngineError::Abandoned
            })
        });
        match failed {
            Some(error) => return Err(error),
            None => result?,
        }
        out.write_all(b"\n    ]\n}\n").map_err(write_failed)
    }
}

impl Action for DumpArchiveItems {
    fn common(&self) -> &CommonOptions {
        &self.common
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError> {
        let location = context.location("ARCHIVE", Some(&self.location), Wanted::Archive)?;
        let place = context.place(location);
        let mut opened = context.open(place, LockKind::Shared, &[])?;
        let name = opened.place.archive_name()?.to_vec();
        let ids = context.archive(&opened, &name)?.metadata.items;
        for (number, id) in ids.iter().enumerate() {
            let session = &opened.session;
            let data = read_object(session.repository.as_ref(), &session.crypto, id)
                .map_err(EngineError::from)?;
            context.dump(&format!("{number:06}_{id}.items"), &data)?;
        }
        context.print("Done.\n")?;
        Ok(opened.session.repository.close()?)
    }
}

impl Action for DumpManifest {
    fn common(&self) -> &CommonOptions {
        &self.common
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError> {
        let place = context.repository_place(Some(&self.location))?;
        let mut opened = context.open(place, LockKind::Shared, &[])?;
        let session = &opened.session;
        let data = read_object(
            session.repository.as_ref(),
            &session.crypto,
            &ChunkId::MANIFEST,
        )
        .map_err(EngineError::from)?;
        let text = decoded(&data)?.to_document_in_order(&Indent::default());
        let mut sink = context.sink(&self.path)?;
        sink.write_all(text.as_bytes())
            .and_then(|()| sink.flush())
            .map_err(write_failed)?;
        drop(sink);
        Ok(opened.session.repository.close()?)
    }
}
