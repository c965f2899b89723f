//! Lines about the archives of a repository: `list --format` and the JSON of `list`.
//!
//! What the manifest does not say of an archive is asked for only when the format has such a key:
//! it costs reading the archive's metadata.

use fastness_engine::times::LocalTime;
use fastness_format::id::ChunkId;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::archive_info::shell_words;
use super::item_format::{FIXED, malformed, unknown_key};
use super::json::Json;
use super::python_format::{Piece, Specifier, parse};
use super::text::replace_foreign;
use crate::error::CommandError;

/// The format of `list REPOSITORY`.
pub const DEFAULT_ARCHIVE_FORMAT: &str = "{archive:<36} {time} [{id}]{NL}";

/// The format of `list --short REPOSITORY`.
pub const SHORT_ARCHIVE_FORMAT: &str = "{archive}{NL}";

/// What the manifest says of an archive.
#[derive(Clone, Copy, Debug)]
pub struct ArchiveRow<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// Its id.
    pub id: ChunkId,
    /// When it was begun.
    pub time: Timestamp,
}

/// What the archive's own metadata say.
#[derive(Clone, Debug, Default)]
pub struct ArchiveDetails {
    /// The machine it was made on.
    pub hostname: Vec<u8>,
    /// Who made it.
    pub username: Vec<u8>,
    /// A remark of its maker.
    pub comment: Vec<u8>,
    /// When it was done.
    pub end: Timestamp,
    /// The command that made it.
    pub command_line: Vec<Vec<u8>>,
    /// Its authentication was verified.
    pub verified: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Name,
    ByteName,
    Id,
    Start,
    End,
    Comment,
    ByteComment,
    CommandLine,
    Hostname,
    Username,
    Tam,
    Fixed(&'static str),
}

impl Key {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "archive" | "name" => Self::Name,
            "barchive" => Self::ByteName,
            "id" => Self::Id,
            "time" | "start" => Self::Start,
            "end" => Self::End,
            "comment" => Self::Comment,
            "bcomment" => Self::ByteComment,
            "command_line" => Self::CommandLine,
            "hostname" => Self::Hostname,
            "username" => Self::Username,
            "tam" => Self::Tam,
            _ => {
                let fixed = FIXED.iter().find(|(key, _)| *key == name);
                return fixed.map(|(_, text)| Self::Fixed(text));
            }
        })
    }

    /// The manifest does not know it.
    fn is_detail(self) -> bool {
        use Key::*;
        matches!(
            self,
            End | Comment | ByteComment | CommandLine | Hostname | Username | Tam
        )
    }
}

#[derive(Clone, Debug)]
enum Part {
    Literal(String),
    Text(Key, String, Specifier),
    Time(Key, String, String),
}

/// A format for archives, ready for use.
#[derive(Clone, Debug)]
pub struct ArchiveFormat {
    template: String,
    parts: Vec<Part>,
    zone: TimeZone,
}

impl ArchiveFormat {
    /// Reads a format.
    ///
    /// # Errors
    /// `InvalidPlaceholder` for an unknown key, `PlaceholderError` for a malformed format.
    pub fn new(format: &str, zone: &TimeZone) -> Result<Self, CommandError> {
        let mut parts = Vec::new();
        for piece in parse(format).map_err(|error| malformed(format, &error))? {
            parts.push(match piece {
                Piece::Literal(text) => Part::Literal(text),
                Piece::Field(field) => {
                    let key = Key::from_name(&field.key);
                    let key = key.ok_or_else(|| unknown_key(&field.key, format))?;
                    let as_text = field.as_text().map_err(|error| malformed(format, &error))?;
                    match key {
                        Key::Start | Key::End if !as_text => {
                            Part::Time(key, field.key, field.format)
                        }
                        _ => {
                            let specifier = field.format.parse();
                            let specifier = specifier.map_err(|error| malformed(format, &error))?;
                            Part::Text(key, field.key, specifier)
                        }
                    }
                }
            });
        }
        Ok(Self {
            template: format.to_owned(),
            parts,
            zone: zone.clone(),
        })
    }

    fn keys(&self) -> impl Iterator<Item = (Key, &str)> {
        self.parts.iter().filter_map(|part| match part {
            Part::Literal(_) => None,
            Part::Text(key, name, _) | Part::Time(key, name, _) => Some((*key, name.as_str())),
        })
    }

    /// Returns whether [`ArchiveDetails`] are needed.
    pub fn needs_details(&self) -> bool {
        self.keys().any(|(key, _)| key.is_detail())
    }

    /// Appends what the format says of an archive. `details` may be the default one unless they
    /// are needed.
    ///
    /// # Errors
    /// `PlaceholderError` when a format does not go with its value.
    pub fn write(
        &self,
        out: &mut Vec<u8>,
        row: &ArchiveRow<'_>,
        details: &ArchiveDetails,
    ) -> Result<(), CommandError> {
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Part::Time(key, _, format) => {
                    let time = self.time(*key, row, details);
                    let text = match format.as_str() {
                        "" => time.human(),
                        format => time.strftime(format),
                    };
                    out.extend_from_slice(text.as_bytes());
                }
                Part::Text(key, _, specifier) => specifier
                    .write_text(out, &self.text(*key, row, details))
                    .map_err(|error| malformed(&self.template, &error))?,
            }
        }
        Ok(())
    }

    /// Returns an archive as an object for JSON: what the manifest says, and what the format asks
    /// for beyond that.
    pub fn json(&self, row: &ArchiveRow<'_>, details: &ArchiveDetails) -> Json {
        let start = self.time(Key::Start, row, details).iso();
        let name = replace_foreign(row.name).into_owned();
        let mut members: Vec<(String, Json)> = vec![
            ("archive".to_owned(), name.as_str().into()),
            ("barchive".to_owned(), row.name.into()),
            ("id".to_owned(), row.id.to_string().into()),
            ("name".to_owned(), name.as_str().into()),
            ("start".to_owned(), start.as_str().into()),
            ("time".to_owned(), start.as_str().into()),
        ];
        for (key, name) in self.keys().filter(|(key, _)| key.is_detail()) {
            let value = match key {
                Key::End => self.time(key, row, details).iso().into(),
                Key::CommandLine => {
                    let words = details.command_line.iter();
                    words
                        .map(|word| Json::from(&*replace_foreign(word)))
                        .collect()
                }
                _ => self.text(key, row, details).into(),
            };
            if !members.iter().any(|(known, _)| known == name) {
                members.push((name.to_owned(), value));
            }
        }
        Json::Map(members)
    }

    fn time(&self, key: Key, row: &ArchiveRow<'_>, details: &ArchiveDetails) -> LocalTime {
        let time = if key == Key::End {
            details.end
        } else {
            row.time
        };
        LocalTime::of_archive(time, &self.zone)
    }

    fn text(&self, key: Key, row: &ArchiveRow<'_>, details: &ArchiveDetails) -> Vec<u8> {
        let shown = |bytes: &[u8]| replace_foreign(bytes).into_owned().into_bytes();
        match key {
            Key::Fixed(text) => text.into(),
            Key::Name => shown(row.name),
            Key::ByteName => row.name.to_vec(),
            Key::Id => row.id.to_string().into_bytes(),
            Key::Start | Key::End => self.time(key, row, details).human().into_bytes(),
            Key::Comment => shown(&details.comment),
            Key::ByteComment => details.comment.clone(),
            Key::CommandLine => shell_words(&details.command_line).into_bytes(),
            Key::Hostname => shown(&details.hostname),
            Key::Username => shown(&details.username),
            Key::Tam if details.verified => b"verified".to_vec(),
            Key::Tam => b"none".to_vec(),
        }
    }
}

#[cfg(test)]
mod tests;
