//! A tar stream as an archive.
//!
//! The caller's thread takes the stream apart; what is in it goes the way of all content of new
//! archives. Paths become relative and local, as for files that are archived.

use std::io::Read;
use std::time::Duration;

use fastness_format::chunker::ChunkerParams;
use fastness_format::compress::CompressionSpec;
use fastness_format::item::{Item, MAX_TIMESTAMP};
use fastness_sys::stat::device_number;

use super::reader::{Entry, Mtime, TarError, TarReader};
use crate::cache::chunks::ChunkTable;
use crate::create::feed::{Feed, FeedOptions, feed};
use crate::create::stamp::Stamp;
use crate::create::{CreateReport, Maker};
use crate::error::EngineError;
use crate::event::{Event, Level, Monitor, Warning};
use crate::extract::walk::shown;
use crate::select::roots::safe_path;
use crate::session::Session;
use crate::world::World;

const NANOS: i128 = 1_000_000_000;

/// What is made of the stream, and how.
#[derive(Debug)]
pub struct ImportOptions {
    /// Name of the archive.
    pub name: Vec<u8>,
    /// Comment, possibly empty.
    pub comment: Vec<u8>,
    /// Start time to be recorded instead of the real one, in microseconds since 1970.
    pub timestamp: Option<i64>,
    /// Passes over empty and damaged blocks instead of taking them for the end.
    pub ignore_zeros: bool,
    /// How files are cut.
    pub chunker: ChunkerParams,
    /// How chunks are compressed.
    pub compression: CompressionSpec,
    /// Time between checkpoints; none for no checkpoints.
    pub checkpoint_interval: Option<Duration>,
    /// Number of worker threads, at least 1.
    pub threads: usize,
    /// Who makes it.
    pub maker: Maker,
}

/// Makes an archive of a tar stream and commits it. `confirm` gets the rest of the stream when all
/// is stored: with an error of it the archive is not made.
///
/// # Errors
/// When the archive exists, the stream is damaged, or the operation failed; then nothing of it is
/// committed but checkpoints, and the caller rolls back.
pub fn import<R: Read>(
    session: &mut Session,
    chunks: &mut ChunkTable,
    input: R,
    options: &ImportOptions,
    confirm: &mut dyn FnMut(&mut dyn Read) -> Result<(), EngineError>,
    world: World<'_>,
    monitor: &dyn Monitor,
) -> Result<CreateReport, EngineError> {
    let _stage = tracing::trace_span!("import_tar").entered();
    let manifest = &session.catalogue.manifest;
    if manifest.archives.contains_key(&options.name) {
        let name = String::from_utf8_lossy(&options.name).into_owned();
        return Err(EngineError::ArchiveExists(name));
    }
    let stamp = Stamp::new(&options.maker, options.chunker, options.timestamp, world);
    let metadata = |name: &[u8], items, stats| stamp.metadata(name, &options.comment, items, stats);
    let how = FeedOptions {
        name: &options.name,
        chunker: options.chunker,
        compression: &options.compression,
        checkpoint_interval: options.checkpoint_interval,
        threads: options.threads,
        keeps_sizes: false,
        rewriter: None,
        carrier: None,
        metadata: &metadata,
    };
    let mut reader = TarReader::new(input, options.ignore_zeros);
    let fed = feed(session, chunks, &how, world, monitor, |feed| {
        read(feed, &mut reader, monitor)
    })?;
    let mut stats = fed.stats;
    monitor.event(Event::ArchiveFinished { stats });
    if let Some((offset, fault)) = reader.left_off {
        let text = format!(
            "tar stream: {fault} at offset {offset}, what comes after that was not imported"
        );
        monitor.log(Level::Warning, "borg.archiver", text);
    }
    if monitor.interrupted() {
        return Err(EngineError::Interrupted);
    }
    confirm(&mut reader.into_input())?;
    // Borg counts each file of an import twice, and so does what is compared with it.
    stats.files *= 2;
    let metadata = metadata(&options.name, fed.items, stats);
    let (catalogue, repository) = session.split();
    let compression = &options.compression;
    let stored = catalogue.put_archive(repository, chunks, world, compression, &metadata)?;
    catalogue.write(repository, world, compression)?;
    repository.commit(None)?;
    Ok(CreateReport {
        id: stored.id,
        metadata,
        stored_metadata_bytes: stored.csize.into(),
        stats,
    })
}

/// Feeds all members of the stream.
fn read<R: Read>(
    feed: &mut Feed<'_, '_>,
    reader: &mut TarReader<R>,
    monitor: &dyn Monitor,
) -> Result<(), EngineError> {
    while let Some(entry) = reader.next_entry().map_err(failed)? {
        let (status, format) = match entry.kind {
            b'1' => ('h', 0o100_000),
            b'2' => ('s', 0o120_000),
            b'3' => ('c', 0o020_000),
            b'4' => ('b', 0o060_000),
            b'5' => ('d', 0o040_000),
            b'6' => ('f', 0o010_000),
            _ if entry.is_file() => ('A', 0o100_000),
            kind => {
                monitor.event(Event::Warning(Warning {
                    msgid: "BorgWarning",
                    text: format!(
                        "{}: Unsupported tarinfo type {}",
                        shown(&entry.name),
                        literal(kind)
                    ),
                }));
                status(monitor, 'E', &entry.name);
                continue;
            }
        };
        let item = item(&entry, format)?;
        if entry.is_file() {
            self::status(monitor, status, &item.path);
            let mut content = reader.content(&entry).map_err(failed)?;
            feed.file(item, &mut |out, most| {
                content.read(out, most).map_err(failed)
            })?;
        } else {
            feed.item(item)?;
            self::status(monitor, status, &entry.name);
        }
    }
    Ok(())
}

fn status(monitor: &dyn Monitor, status: char, path: &[u8]) {
    monitor.event(Event::FileStatus { status, path });
}

fn failed(error: TarError) -> EngineError {
    let text = match &error {
        TarError::Io(cause) => format!("{error}: {cause}"),
        _ => error.to_string(),
    };
    EngineError::Other(text)
}

/// One byte as Python writes it, which is how Borg names a type that it does not know.
fn literal(byte: u8) -> String {
    match byte {
        b'\'' => "b\"'\"".to_owned(),
        b'\\' => "b'\\\\'".to_owned(),
        b'\t' => "b'\\t'".to_owned(),
        b'\n' => "b'\\n'".to_owned(),
        b'\r' => "b'\\r'".to_owned(),
        0x20..=0x7e => format!("b'{}'", char::from(byte)),
        _ => format!("b'\\x{byte:02x}'"),
    }
}

/// Makes an item of what a header says.
fn item(entry: &Entry, format: u32) -> Result<Item, EngineError> {
    let path = normal_path(&entry.name);
    let impossible =
        |what: &str| EngineError::Other(format!("tar stream: {}: impossible {what}", shown(&path)));
    let number = |value: i128, what| u32::try_from(value).map_err(|_| impossible(what));
    let (uid, gid) = (number(entry.uid, "owner")?, number(entry.gid, "group")?);
    let mtime = match entry.mtime {
        Mtime::Seconds(seconds) => seconds.saturating_mul(NANOS),
        Mtime::Fraction(seconds) if seconds.is_nan() => return Err(impossible("time")),
        Mtime::Fraction(seconds) => (seconds * NANOS as f64) as i128,
    };
    let text = |text: &[u8]| (!text.is_empty()).then(|| text.to_vec());
    let mut item = Item {
        mode: number(entry.mode, "mode")? | format,
        uid: Some(uid),
        gid: Some(gid),
        user: text(&entry.user),
        group: text(&entry.group),
        mtime: Some(mtime.clamp(0, MAX_TIMESTAMP.into()) as i64),
        ..Item::default()
    };
    match entry.kind {
        b'1' | b'2' => item.source = Some(entry.link.clone()),
        b'3' | b'4' => {
            let (major, minor) = entry.device;
            let [major, minor] = [number(major, "device")?, number(minor, "device")?];
            item.rdev = Some(device_number(major, minor));
        }
        _ => {}
    }
    item.path = path;
    Ok(item)
}

/// A path without `.` and `..` as far as they can be taken out, relative and local.
fn normal_path(name: &[u8]) -> Vec<u8> {
    let rooted = name.starts_with(b"/");
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if !rooted && parts.last().is_none_or(|last| *last == b"..") => parts.push(part),
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    safe_path(&parts.join(&b'/')).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_relative_and_local() {
        let cases = [
            ("./a/b/", "a/b"),
            ("/etc/passwd", "etc/passwd"),
            ("///x", "x"),
            ("a/../../b", "b"),
            ("../../etc", "etc"),
            ("a/..", "."),
            ("", "."),
            ("/..", "."),
            ("..", ".."),
        ];
        for (name, path) in cases {
            let made = normal_path(name.as_bytes());
            assert_eq!(String::from_utf8_lossy(&made), path, "{name}");
        }
    }

    #[test]
    fn types_are_named_as_bytes() {
        assert_eq!(literal(b'V'), "b'V'");
        assert_eq!(literal(0x81), "b'\\x81'");
    }
}
