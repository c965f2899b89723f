//! What is told about one archive, as text and as JSON.

use fastness_engine::event::ArchiveStats;
use fastness_engine::times::LocalTime;
use fastness_format::id::ChunkId;
use jiff::tz::TimeZone;

use super::json::{Json, object};
use super::stats::{percent, sizes_line};
use super::text::{Units, duration, replace_foreign};

/// What is known of every archive.
#[derive(Clone, Debug)]
pub struct ArchiveFacts {
    /// Its name.
    pub name: Vec<u8>,
    /// Its id.
    pub id: ChunkId,
    /// When it was begun, in microseconds since 1970.
    pub start: i64,
    /// When it was done, in microseconds since 1970.
    pub end: i64,
    /// Sums over its files.
    pub stats: ArchiveStats,
    /// Share of the greatest size that the metadata of an archive may have.
    pub used_share: f64,
    /// The command that made it.
    pub command_line: Vec<Vec<u8>>,
}

/// What is known of an archive that is in the repository.
#[derive(Clone, Debug)]
pub struct StoredFacts {
    /// What is known of every archive.
    pub archive: ArchiveFacts,
    /// A remark of its maker.
    pub comment: Vec<u8>,
    /// The machine it was made on.
    pub hostname: Vec<u8>,
    /// Who made it.
    pub username: Vec<u8>,
    /// The directory it was made in.
    pub cwd: Vec<u8>,
    /// How its files were cut: the algorithm and its numbers; none in very old archives.
    pub chunker_params: Vec<ChunkerParam>,
}

/// A part of the parameters of a chunker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChunkerParam {
    /// The name of the algorithm.
    Name(String),
    /// A number.
    Number(i64),
}

/// Returns the line by which archives are listed in messages.
pub fn archive_line(name: &[u8], micros: i64, id: &ChunkId, zone: &TimeZone) -> String {
    format!(
        "{:<36} {} [{id}]",
        replace_foreign(name),
        LocalTime::of_archive_micros(micros, zone).human()
    )
}

impl ArchiveFacts {
    /// Returns the lines that `create --stats` prints above the sizes.
    pub fn head(&self, repository: &str, zone: &TimeZone) -> String {
        format!(
            "Repository: {repository}\nArchive name: {}\nArchive fingerprint: {}\n\
             Time (start): {}\nTime (end):   {}\nDuration: {}\nNumber of files: {}\n\
             Utilization of max. archive size: {}",
            replace_foreign(&self.name),
            self.id,
            LocalTime::of_archive_micros(self.start, zone).human(),
            LocalTime::of_archive_micros(self.end, zone).human(),
            duration(self.end - self.start),
            self.stats.files,
            percent(self.used_share),
        )
    }

    /// Returns the line with its sizes.
    pub fn sizes(&self, units: Units) -> String {
        archive_sizes("This archive:", units, &self.stats)
    }

    /// Returns the object for JSON.
    pub fn json(&self, zone: &TimeZone) -> Json {
        Json::Map(self.members(zone))
    }

    fn members(&self, zone: &TimeZone) -> Vec<(String, Json)> {
        let seconds = (self.end - self.start) as f64 / 1e6;
        let members = object([
            ("name", self.name.as_slice().into()),
            ("id", self.id.to_string().into()),
            (
                "start",
                LocalTime::of_archive_micros(self.start, zone).iso().into(),
            ),
            (
                "end",
                LocalTime::of_archive_micros(self.end, zone).iso().into(),
            ),
            ("duration", seconds.into()),
            ("stats", stats_json(&self.stats)),
            (
                "limits",
                object([("max_archive_size", self.used_share.into())]),
            ),
            ("command_line", words(&self.command_line)),
        ]);
        match members {
            Json::Map(members) => members,
            _ => Vec::new(),
        }
    }
}

impl StoredFacts {
    /// Returns the text that `info` prints, without the lines about the repository.
    pub fn text(&self, units: Units, zone: &TimeZone) -> String {
        let archive = &self.archive;
        format!(
            "Archive name: {}\nArchive fingerprint: {}\nComment: {}\nHostname: {}\nUsername: {}\n\
             Time (start): {}\nTime (end): {}\nDuration: {}\nNumber of files: {}\n\
             Working Directory: {}\nCommand line: {}\n\
             Utilization of maximum supported archive size: {}\n{}\n{}\n{}",
            replace_foreign(&archive.name),
            archive.id,
            replace_foreign(&self.comment),
            replace_foreign(&self.hostname),
            replace_foreign(&self.username),
            LocalTime::of_archive_micros(archive.start, zone).human(),
            LocalTime::of_archive_micros(archive.end, zone).human(),
            duration(archive.end - archive.start),
            archive.stats.files,
            replace_foreign(&self.cwd),
            shell_words(&archive.command_line),
            percent(archive.used_share),
            super::stats::DASHES,
            super::stats::HEADER,
            archive.sizes(units),
        )
    }

    /// Returns the object for JSON.
    pub fn json(&self, zone: &TimeZone) -> Json {
        let mut members = self.archive.members(zone);
        let mut add = |key: &str, value: Json| members.push((key.to_owned(), value));
        add("cwd", self.cwd.as_slice().into());
        add("hostname", self.hostname.as_slice().into());
        add("username", self.username.as_slice().into());
        add("comment", self.comment.as_slice().into());
        let params = self.chunker_params.iter().map(|param| match param {
            ChunkerParam::Name(name) => Json::from(name.as_str()),
            ChunkerParam::Number(number) => Json::Int(*number),
        });
        add(
            "chunker_params",
            if self.chunker_params.is_empty() {
                "".into()
            } else {
                params.collect()
            },
        );
        Json::Map(members)
    }
}

fn archive_sizes(label: &str, units: Units, stats: &ArchiveStats) -> String {
    sizes_line(
        label,
        units,
        signed(stats.original_bytes),
        signed(stats.compressed_bytes),
        signed(stats.deduplicated_bytes),
    )
}

/// Returns the line with the sizes of what was deleted: what was given back is negative.
pub fn deleted_sizes(units: Units, stats: &ArchiveStats) -> String {
    sizes_line(
        "Deleted data:",
        units,
        -signed(stats.original_bytes),
        -signed(stats.compressed_bytes),
        -signed(stats.deduplicated_bytes),
    )
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn stats_json(stats: &ArchiveStats) -> Json {
    object([
        ("original_size", stats.original_bytes.into()),
        ("compressed_size", stats.compressed_bytes.into()),
        ("deduplicated_size", stats.deduplicated_bytes.into()),
        ("nfiles", stats.files.into()),
    ])
}

fn words(words: &[Vec<u8>]) -> Json {
    words.iter().map(|word| word.as_slice().into()).collect()
}

/// Returns words as a shell would read them back.
pub fn shell_words(words: &[Vec<u8>]) -> String {
    let quoted = words.iter().map(|word| {
        let text = replace_foreign(word);
        let plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c);
        if !text.is_empty() && text.chars().all(plain) {
            text.into_owned()
        } else {
            format!("'{}'", text.replace('\'', "'\"'\"'"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> StoredFacts {
        StoredFacts {
            archive: ArchiveFacts {
                name: b"monday".to_vec(),
                id: ChunkId::new([0x24; 32]),
                start: 1_795_373_558_000_000,
                end: 1_795_373_558_500_000,
                stats: ArchiveStats {
                    original_bytes: 93_720,
                    compressed_bytes: 27_250,
                    deduplicated_bytes: 500,
                    files: 7,
                    ..ArchiveStats::default()
                },
                used_share: 0.000_2,
                command_line: vec![b"borg".to_vec(), b"create".to_vec(), b"it's".to_vec()],
            },
            comment: Vec::new(),
            hostname: b"nas".to_vec(),
            username: b"root".to_vec(),
            cwd: b"/root".to_vec(),
            chunker_params: vec![
                ChunkerParam::Name("fixed".into()),
                ChunkerParam::Number(4096),
            ],
        }
    }

    #[test]
    fn info_text_is_line_by_line_borgs() {
        insta::assert_snapshot!(facts().text(Units::Decimal, &TimeZone::UTC), @r#"
        Archive name: monday
        Archive fingerprint: 2424242424242424242424242424242424242424242424242424242424242424
        Comment: 
        Hostname: nas
        Username: root
        Time (start): Sun, 2026-11-22 18:52:38
        Time (end): Sun, 2026-11-22 18:52:38
        Duration: 0.50 seconds
        Number of files: 7
        Working Directory: /root
        Command line: borg create 'it'"'"'s'
        Utilization of maximum supported archive size: 0%
        ------------------------------------------------------------------------------
                               Original size      Compressed size    Deduplicated size
        This archive:               93.72 kB             27.25 kB                500 B
        "#);
    }

    #[test]
    fn info_json_has_borgs_keys() {
        insta::assert_snapshot!(facts().json(&TimeZone::UTC).to_line(), @r#"{"name": "monday", "id": "2424242424242424242424242424242424242424242424242424242424242424", "start": "2026-11-22T18:52:38.000000", "end": "2026-11-22T18:52:38.000000", "duration": 0.5, "stats": {"original_size": 93720, "compressed_size": 27250, "deduplicated_size": 500, "nfiles": 7}, "limits": {"max_archive_size": 0.0002}, "command_line": ["borg", "create", "it's"], "cwd": "/root", "hostname": "nas", "username": "root", "comment": "", "chunker_params": ["fixed", 4096]}"#);
    }

    #[test]
    fn archive_lines_have_a_column_for_the_name() {
        assert_eq!(
            archive_line(b"a", 0, &ChunkId::new([0; 32]), &TimeZone::UTC),
            format!("{:<36} Thu, 1970-01-01 00:00:00 [{}]", "a", "0".repeat(64))
        );
    }
}
