//! Lines about the items of an archive: `list --format`, `--json-lines`.
//!
//! Keys whose values must be looked up elsewhere (contents, the chunk index) are asked for through
//! [`ItemFacts`], and only when the format has them.

use fastness_engine::times::LocalTime;
use fastness_format::item::ItemRef;
use jiff::tz::TimeZone;

use super::json::Json;
use super::python_format::{FormatError, Piece, Specifier, characters, parse};
use super::text::replace_foreign;
use crate::error::CommandError;

/// The format of `list ARCHIVE`.
pub const DEFAULT_ITEM_FORMAT: &str =
    "{mode} {user:6} {group:6} {size:8} {mtime} {path}{extra}{NL}";

/// The format of `list --short ARCHIVE`.
pub const SHORT_ITEM_FORMAT: &str = "{path}{NL}";

/// Hashes that can be asked for, in the order of their output.
pub const HASHES: [&str; 13] = [
    "blake2b", "blake2s", "md5", "sha1", "sha224", "sha256", "sha384", "sha3_224", "sha3_256",
    "sha3_384", "sha3_512", "sha512", "xxh64",
];

/// Keys that stand for a character, in item and archive formats.
pub(super) const FIXED: [(&str, &str); 7] = [
    ("NEWLINE", "\n"),
    ("NL", "\n"),
    ("NUL", "\0"),
    ("SPACE", " "),
    ("TAB", "\t"),
    ("CR", "\r"),
    ("LF", "\n"),
];

/// Sums over those chunks of an item that nothing else in the repository refers to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UniqueChunks {
    /// How many they are; one that the item has twice counts twice.
    pub count: u64,
    /// Their size.
    pub size: u64,
    /// Their size in the repository.
    pub csize: u64,
}

/// What a format may need beyond the item itself.
pub trait ItemFacts {
    /// Returns the hashes of the item's content, in hexadecimal and in the order asked for.
    ///
    /// # Errors
    /// When the content cannot be read.
    fn hashes(&mut self, item: &ItemRef<'_>, names: &[&str]) -> Result<Vec<String>, CommandError>;

    /// Returns sums over the item's own chunks.
    ///
    /// # Errors
    /// When there is no chunk index.
    fn unique_chunks(&mut self, item: &ItemRef<'_>) -> Result<UniqueChunks, CommandError>;
}

/// Facts for formats that need none.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFacts;

impl ItemFacts for NoFacts {
    fn hashes(&mut self, _: &ItemRef<'_>, names: &[&str]) -> Result<Vec<String>, CommandError> {
        Ok(vec![String::new(); names.len()])
    }

    fn unique_chunks(&mut self, _: &ItemRef<'_>) -> Result<UniqueChunks, CommandError> {
        Ok(UniqueChunks::default())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clock {
    Modified,
    Changed,
    Accessed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Type,
    Mode,
    Uid,
    Gid,
    User,
    Group,
    Path,
    BytePath,
    Source,
    Flags,
    Size,
    CompressedSize,
    UniqueSize,
    UniqueCompressedSize,
    Chunks,
    UniqueChunks,
    Time(Clock),
    IsoTime(Clock),
    Hash(&'static str),
    ArchiveName,
    ArchiveId,
    Extra,
    Health,
    Fixed(&'static str),
}

impl Key {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "type" => Self::Type,
            "mode" => Self::Mode,
            "uid" => Self::Uid,
            "gid" => Self::Gid,
            "user" => Self::User,
            "group" => Self::Group,
            "path" => Self::Path,
            "bpath" => Self::BytePath,
            "source" | "linktarget" => Self::Source,
            "flags" => Self::Flags,
            "size" => Self::Size,
            "csize" => Self::CompressedSize,
            "dsize" => Self::UniqueSize,
            "dcsize" => Self::UniqueCompressedSize,
            "num_chunks" => Self::Chunks,
            "unique_chunks" => Self::UniqueChunks,
            "mtime" => Self::Time(Clock::Modified),
            "ctime" => Self::Time(Clock::Changed),
            "atime" => Self::Time(Clock::Accessed),
            "isomtime" => Self::IsoTime(Clock::Modified),
            "isoctime" => Self::IsoTime(Clock::Changed),
            "isoatime" => Self::IsoTime(Clock::Accessed),
            "archivename" => Self::ArchiveName,
            "archiveid" => Self::ArchiveId,
            "extra" => Self::Extra,
            "health" => Self::Health,
            _ => {
                let fixed = FIXED.iter().find(|(key, _)| *key == name);
                let hash = HASHES.iter().find(|key| **key == name);
                return fixed
                    .map(|(_, text)| Self::Fixed(text))
                    .or(hash.map(|key| Self::Hash(key)));
            }
        })
    }

    /// Keys that JSON lines have only when the format has them, after the others.
    fn is_asked_for(self) -> bool {
        use Key::*;
        matches!(
            self,
            Size | CompressedSize
                | UniqueSize
                | UniqueCompressedSize
                | Chunks
                | UniqueChunks
                | Time(_)
                | IsoTime(_)
                | Hash(_)
        )
    }
}

/// A value on its way into a line.
enum Value<'a> {
    Text(std::borrow::Cow<'a, [u8]>),
    Int(i64),
    Time(LocalTime),
    /// Python's `None`.
    Nothing,
}

impl<'a> Value<'a> {
    fn text(text: &'a [u8]) -> Self {
        Self::Text(text.into())
    }

    fn owned(text: String) -> Self {
        Self::Text(text.into_bytes().into())
    }

    fn shown(text: &'a [u8]) -> Self {
        match replace_foreign(text) {
            std::borrow::Cow::Borrowed(text) => Self::text(text.as_bytes()),
            std::borrow::Cow::Owned(text) => Self::owned(text),
        }
    }

    fn int(value: impl TryInto<i64>) -> Self {
        Self::Int(value.try_into().unwrap_or(i64::MAX))
    }

    fn into_json(self) -> Json {
        match self {
            Self::Text(text) => text.into_owned().into(),
            Self::Int(value) => value.into(),
            Self::Time(time) => time.iso().into(),
            Self::Nothing => Json::Null,
        }
    }
}

#[derive(Clone, Debug)]
struct Part {
    literal: String,
    key: Option<(Key, String)>,
    as_text: bool,
    format: String,
    specifier: Specifier,
}

/// A format for items, ready for use.
#[derive(Clone, Debug)]
pub struct ItemFormat {
    parts: Vec<Part>,
    hashes: Vec<&'static str>,
    needs_unique: bool,
    archive_name: Vec<u8>,
    archive_id: String,
    zone: TimeZone,
}

/// What was looked up for one item.
#[derive(Default)]
struct Looked {
    hashes: Vec<String>,
    unique: UniqueChunks,
}

impl ItemFormat {
    /// Reads a format.
    ///
    /// # Errors
    /// `InvalidPlaceholder` for an unknown key, `PlaceholderError` for a malformed format.
    pub fn new(
        format: &str,
        archive_name: &[u8],
        archive_id: &str,
        zone: &TimeZone,
    ) -> Result<Self, CommandError> {
        let mut parts = Vec::new();
        for piece in parse(format).map_err(|error| malformed(format, &error))? {
            parts.push(part(format, piece)?);
        }
        let keys = || parts.iter().filter_map(|part| Some(part.key.as_ref()?.0));
        let asked = |hash: &&'static str| keys().any(|key| key == Key::Hash(hash));
        let hashes = HASHES.into_iter().filter(|hash| asked(hash)).collect();
        let unique = [
            Key::UniqueSize,
            Key::UniqueCompressedSize,
            Key::UniqueChunks,
        ];
        Ok(Self {
            needs_unique: keys().any(|key| unique.contains(&key)),
            hashes,
            parts,
            archive_name: archive_name.to_vec(),
            archive_id: archive_id.to_owned(),
            zone: zone.clone(),
        })
    }

    /// Returns whether the chunk index is needed ([`ItemFacts::unique_chunks`]).
    pub fn needs_chunk_index(&self) -> bool {
        self.needs_unique
    }

    /// Returns whether contents are needed ([`ItemFacts::hashes`]).
    pub fn needs_content(&self) -> bool {
        !self.hashes.is_empty()
    }

    fn look_up(
        &self,
        item: &ItemRef<'_>,
        facts: &mut dyn ItemFacts,
    ) -> Result<Looked, CommandError> {
        let mut looked = Looked::default();
        if self.needs_unique {
            looked.unique = facts.unique_chunks(item)?;
        }
        if !self.hashes.is_empty() {
            looked.hashes = match item.chunks {
                Some(_) => facts.hashes(item, &self.hashes)?,
                None => vec![String::new(); self.hashes.len()],
            };
        }
        Ok(looked)
    }

    /// Appends what the format says of an item.
    ///
    /// # Errors
    /// Those of `facts`; `PlaceholderError` when a format does not go with its value.
    pub fn write(
        &self,
        out: &mut Vec<u8>,
        item: &ItemRef<'_>,
        facts: &mut dyn ItemFacts,
    ) -> Result<(), CommandError> {
        let looked = self.look_up(item, facts)?;
        for part in &self.parts {
            out.extend_from_slice(part.literal.as_bytes());
            if let Some((key, name)) = &part.key {
                let value = self.value(*key, item, &looked);
                write_value(out, value, part)
                    .map_err(|error| malformed(&format!("{{{name}:{}}}", part.format), &error))?;
            }
        }
        Ok(())
    }

    /// Returns an item as the object of a JSON line.
    ///
    /// # Errors
    /// Those of `facts`.
    pub fn json(
        &self,
        item: &ItemRef<'_>,
        facts: &mut dyn ItemFacts,
    ) -> Result<Json, CommandError> {
        let looked = self.look_up(item, facts)?;
        let value = |key: Key| self.value(key, item, &looked).into_json();
        let mut members = Vec::new();
        let mut push = |name: &str, json: Json| members.push((name.to_owned(), json));
        let asked = || self.parts.iter().filter_map(|part| part.key.as_ref());
        for (name, key) in [
            ("archivename", Key::ArchiveName),
            ("archiveid", Key::ArchiveId),
        ] {
            if asked().any(|(asked, _)| *asked == key) {
                push(name, value(key));
            }
        }
        for (name, key) in [
            ("type", Key::Type),
            ("mode", Key::Mode),
            ("user", Key::User),
            ("group", Key::Group),
            ("uid", Key::Uid),
            ("gid", Key::Gid),
            ("path", Key::Path),
        ] {
            push(name, value(key));
        }
        push("healthy", item.chunks_healthy.is_none().into());
        push("source", value(Key::Source));
        push("linktarget", value(Key::Source));
        push("flags", value(Key::Flags));
        let mut seen = Vec::new();
        for (key, name) in asked() {
            if key.is_asked_for() && !seen.contains(key) {
                seen.push(*key);
                push(name, value(*key));
            }
        }
        Ok(Json::Map(members))
    }

    fn value<'a>(&'a self, key: Key, item: &ItemRef<'a>, looked: &'a Looked) -> Value<'a> {
        match key {
            Key::Fixed(text) => Value::text(text.as_bytes()),
            Key::Type => Value::owned(file_mode(item.mode).chars().take(1).collect()),
            Key::Mode => Value::owned(shown_mode(item)),
            Key::Uid => item.uid.map_or(Value::Nothing, Value::int),
            Key::Gid => item.gid.map_or(Value::Nothing, Value::int),
            Key::User => name_or_number(item.user, item.uid),
            Key::Group => name_or_number(item.group, item.gid),
            Key::Path => Value::shown(item.path),
            Key::BytePath => Value::text(item.path),
            Key::Source => Value::shown(item.source.unwrap_or_default()),
            Key::Flags => Value::int(item.bsdflags.unwrap_or(0)),
            Key::Size => Value::int(size(item)),
            Key::CompressedSize => Value::int(compressed_size(item)),
            Key::UniqueSize => Value::int(looked.unique.size),
            Key::UniqueCompressedSize => Value::int(looked.unique.csize),
            Key::Chunks => Value::int(item.chunks.map_or(0, |chunks| chunks.len())),
            Key::UniqueChunks => Value::int(looked.unique.count),
            Key::Time(clock) => Value::Time(self.time(clock, item)),
            Key::IsoTime(clock) => Value::owned(self.time(clock, item).iso()),
            Key::Hash(name) => {
                let at = self.hashes.iter().position(|hash| *hash == name);
                let hash = at.and_then(|at| looked.hashes.get(at));
                Value::text(hash.map_or(&[], |hash| hash.as_bytes()))
            }
            Key::ArchiveName => Value::text(&self.archive_name),
            Key::ArchiveId => Value::text(self.archive_id.as_bytes()),
            Key::Extra => Value::owned(extra(item)),
            Key::Health if item.chunks_healthy.is_some() => Value::text(b"broken"),
            Key::Health => Value::text(b"healthy"),
        }
    }

    fn time(&self, clock: Clock, item: &ItemRef<'_>) -> LocalTime {
        let time = match clock {
            Clock::Modified => None,
            Clock::Changed => item.ctime,
            Clock::Accessed => item.atime,
        };
        // Borg takes a time of 0 for none.
        let time = time.filter(|&nanos| nanos != 0).or(item.mtime);
        LocalTime::of_file(time.unwrap_or(0), &self.zone)
    }
}

fn part(format: &str, piece: Piece) -> Result<Part, CommandError> {
    let mut part = Part {
        literal: String::new(),
        key: None,
        as_text: false,
        format: String::new(),
        specifier: Specifier::default(),
    };
    match piece {
        Piece::Literal(text) => part.literal = text,
        Piece::Field(field) => {
            let key = Key::from_name(&field.key).ok_or_else(|| unknown_key(&field.key, format))?;
            part.as_text = field.as_text().map_err(|error| malformed(format, &error))?;
            // The format of a time is for strftime.
            if !matches!(key, Key::Time(_)) || part.as_text {
                let specifier = field.format.parse();
                part.specifier = specifier.map_err(|error| malformed(format, &error))?;
            }
            part.key = Some((key, field.key));
            part.format = field.format;
        }
    }
    Ok(part)
}

fn write_value(out: &mut Vec<u8>, value: Value<'_>, part: &Part) -> Result<(), FormatError> {
    let specifier = &part.specifier;
    match value {
        Value::Text(text) => specifier.write_text(out, &text),
        Value::Int(value) if part.as_text => {
            specifier.write_text(out, value.to_string().as_bytes())
        }
        Value::Int(value) => specifier.write_int(out, value),
        Value::Time(time) if part.format.is_empty() => {
            out.extend_from_slice(time.human().as_bytes());
            Ok(())
        }
        Value::Time(time) if part.as_text => specifier.write_text(out, time.human().as_bytes()),
        Value::Time(time) => {
            out.extend_from_slice(time.strftime(&part.format).as_bytes());
            Ok(())
        }
        Value::Nothing if part.as_text || part.format.is_empty() => {
            specifier.write_text(out, b"None")
        }
        Value::Nothing => Err(FormatError::NotAllowed(
            "unsupported format string passed to NoneType.__format__",
        )),
    }
}

/// Makes the error of an unknown key.
pub(crate) fn unknown_key(key: &str, format: &str) -> CommandError {
    CommandError::new(
        "InvalidPlaceholder",
        format!("Invalid placeholder \"{key}\" in string: {format}"),
    )
}

/// Makes the error of a format that cannot be used.
pub(crate) fn malformed(format: &str, error: &FormatError) -> CommandError {
    CommandError::new(
        "PlaceholderError",
        format!("Formatting Error: \"{format}\": {error}"),
    )
}

fn name_or_number<'a>(name: Option<&'a [u8]>, number: Option<u32>) -> Value<'a> {
    match name {
        Some(name) if !name.is_empty() => Value::text(name),
        _ => number.map_or(Value::Nothing, Value::int),
    }
}

/// A symlink is as long as its target, in characters.
fn size(item: &ItemRef<'_>) -> u64 {
    match symlink_size(item) {
        Some(size) if item.size.is_none() => size,
        _ => item.content_size(),
    }
}

fn symlink_size(item: &ItemRef<'_>) -> Option<u64> {
    let target = item.source.filter(|_| item.mode & 0o170_000 == 0o120_000)?;
    u64::try_from(characters(target)).ok()
}

fn compressed_size(item: &ItemRef<'_>) -> u64 {
    if let Some(size) = symlink_size(item) {
        return size;
    }
    let chunks = item.chunks.into_iter().flatten();
    chunks.map(|chunk| u64::from(chunk.csize)).sum()
}

fn extra(item: &ItemRef<'_>) -> String {
    let source = item.source.unwrap_or_default();
    let arrow = match (source.is_empty(), item.mode & 0o170_000) {
        (true, _) => return String::new(),
        (_, 0o120_000) => "->",
        _ => "link to",
    };
    format!(" {arrow} {}", replace_foreign(source))
}

/// The mode as `ls` shows it, with `h` in front for a further name of a file.
fn shown_mode(item: &ItemRef<'_>) -> String {
    let mode = file_mode(item.mode);
    let linked = item.source.is_some_and(|source| !source.is_empty());
    match mode.strip_prefix(|kind| kind != 'l') {
        Some(permissions) if linked => format!("h{permissions}"),
        _ => mode,
    }
}

/// Returns a mode as `ls -l` shows it.
pub fn file_mode(mode: u32) -> String {
    let kind = match mode & 0o170_000 {
        0o140_000 => 's',
        0o120_000 => 'l',
        0o100_000 => '-',
        0o060_000 => 'b',
        0o040_000 => 'd',
        0o020_000 => 'c',
        0o010_000 => 'p',
        _ => '?',
    };
    let mut text = String::from(kind);
    for (shift, special, letters) in [
        (6, 0o4000, ('s', 'S')),
        (3, 0o2000, ('s', 'S')),
        (0, 0o1000, ('t', 'T')),
    ] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (bits & 1 != 0, mode & special != 0) {
            (true, true) => letters.0,
            (false, true) => letters.1,
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text
}

#[cfg(test)]
mod tests;
