//! Parsers of option values that need nothing but the text.

use std::time::SystemTime;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

/// Reads an octal number such as `0077`.
pub fn octal(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    u32::from_str_radix(digits, 8).map_err(|_| format!("{text:?} is no octal number"))
}

/// Reads a number greater than zero.
pub fn positive(text: &str) -> Result<u64, String> {
    match text.trim().parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("A positive integer is required: {text}")),
    }
}

/// Reads a span of time such as `24H` or `2w` and returns its hours.
///
/// A month has 31 days and a year 365.
pub fn interval(text: &str) -> Result<u64, String> {
    const UNITS: [(char, u64); 5] = [
        ('H', 1),
        ('d', 24),
        ('w', 24 * 7),
        ('m', 24 * 31),
        ('y', 24 * 365),
    ];
    let mut characters = text.chars();
    let Some(last) = characters.next_back() else {
        return Err("an interval cannot be empty".to_owned());
    };
    let Some((_, hours)) = UNITS.iter().find(|(unit, _)| *unit == last) else {
        return Err(format!(
            "Unexpected interval time unit \"{last}\": expected one of ['H', 'd', 'w', 'm', 'y']"
        ));
    };
    let number = characters.as_str();
    match number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(*hours))
    {
        Some(hours) if hours > 0 => Ok(hours),
        _ => Err(format!(
            "Unexpected interval number \"{number}\": expected an integer greater than 0"
        )),
    }
}

/// Reads a size such as `1234`, `55G` or `1.7T`, in units of 1000.
pub fn file_size(text: &str) -> Result<u64, String> {
    let bad = || format!("{text:?} is no size (examples: 5G, 1.5T)");
    let (digits, factor) = match text.char_indices().next_back() {
        Some((at, 'K')) => (text.get(..at), 1e3),
        Some((at, 'M')) => (text.get(..at), 1e6),
        Some((at, 'G')) => (text.get(..at), 1e9),
        Some((at, 'T')) => (text.get(..at), 1e12),
        Some((at, 'P')) => (text.get(..at), 1e15),
        _ => (Some(text), 1.0),
    };
    let number: f64 = digits.unwrap_or_default().parse().map_err(|_| bad())?;
    let bytes = number * factor;
    if !(0.0..=9.2e18).contains(&bytes) {
        return Err(bad());
    }
    Ok(bytes as u64)
}

/// Reads the size a repository may grow to; 0 is no limit.
pub fn storage_quota(text: &str) -> Result<u64, String> {
    match file_size(text)? {
        bytes if bytes != 0 && bytes < 10_000_000 => Err(format!(
            "quota is too small ({text}). At least 10M are required."
        )),
        bytes => Ok(bytes),
    }
}

/// How the files cache tells changed files from unchanged ones.
///
/// The text is Borg's short form: some of the letters `c`, `i`, `m`, `r`, `s`, or `d`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilesCacheMode(pub String);

impl Default for FilesCacheMode {
    fn default() -> Self {
        Self("cis".to_owned())
    }
}

impl std::str::FromStr for FilesCacheMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const VALID: [&str; 8] = ["cis", "ims", "cs", "ms", "cr", "mr", "d", "s"];
        let mut letters = Vec::new();
        for word in text.trim().split(',') {
            match word {
                "ctime" | "mtime" | "size" | "inode" | "rechunk" | "disabled" => {
                    letters.extend(word.chars().next());
                }
                _ => {
                    return Err("cache mode must be a comma-separated list of: \
                         ctime,disabled,inode,mtime,rechunk,size"
                        .to_owned());
                }
            }
        }
        letters.sort_unstable();
        letters.dedup();
        let mode: String = letters.into_iter().collect();
        if VALID.contains(&mode.as_str()) {
            Ok(Self(mode))
        } else {
            Err(format!(
                "cache mode short must be one of: {}",
                VALID.join(",")
            ))
        }
    }
}

/// Reads the keys to sort archives by and returns them under their internal names.
pub fn sort_by(text: &str) -> Result<Vec<SortKey>, String> {
    text.split(',')
        .map(|word| match word {
            "timestamp" => Ok(SortKey::Timestamp),
            "archive" | "name" => Ok(SortKey::Name),
            "id" => Ok(SortKey::Id),
            _ => Err(format!("Invalid sort key: {word}")),
        })
        .collect()
}

/// What archives can be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortKey {
    /// The time at which the archive was begun.
    Timestamp,
    /// Its name.
    Name,
    /// Its id.
    Id,
}

/// Reads a point of time, in UTC, or takes that of a file; returns microseconds since 1970.
pub fn timestamp(text: &str) -> Result<i64, String> {
    if let Ok(modified) = std::fs::metadata(text).and_then(|metadata| metadata.modified()) {
        let since = modified
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        return Ok(i64::try_from(since.as_micros()).unwrap_or(i64::MAX));
    }
    let bad = || format!("{text:?} is neither a file nor a time like 2026-11-22T18:30:00");
    let time = text
        .strip_suffix('Z')
        .or_else(|| text.strip_suffix("+00:00"))
        .unwrap_or(text);
    const FORMATS: [&str; 4] = [
        "%Y-%m-%dT%H:%M:%S",
        "%Y-%m-%d %H:%M:%S",
        "%Y-%m-%dT%H:%M",
        "%Y-%m-%d %H:%M",
    ];
    let parsed = FORMATS
        .iter()
        .find_map(|format| DateTime::strptime(format, time).ok())
        .or_else(|| Date::strptime("%Y-%m-%d", text).ok().map(DateTime::from))
        .or_else(|| Date::strptime("%Y-%j", text).ok().map(DateTime::from))
        .ok_or_else(bad)?;
    let zoned = parsed.to_zoned(TimeZone::UTC).map_err(|_| bad())?;
    Ok(zoned.timestamp().as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_hours_of_long_months() {
        assert_eq!(interval("24H"), Ok(24));
        assert_eq!(interval("2m"), Ok(2 * 24 * 31));
        for bad in ["", "5", "0d", "-1d", "xd", "99999999999999999999y"] {
            assert!(interval(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_decimal_and_quotas_have_a_least_size() {
        assert_eq!(file_size("1.5K"), Ok(1500));
        assert_eq!(file_size("7"), Ok(7));
        assert!(file_size("1x").is_err() && file_size("-1G").is_err() && file_size("").is_err());
        assert_eq!(storage_quota("0"), Ok(0));
        assert!(storage_quota("1M").is_err());
        assert_eq!(storage_quota("10M"), Ok(10_000_000));
    }

    #[test]
    fn files_cache_modes_have_a_canonical_short_form() {
        let short = |text: &str| text.parse().map(|mode: FilesCacheMode| mode.0);
        assert_eq!(short("size,inode,ctime").as_deref(), Ok("cis"));
        assert_eq!(short("rechunk,mtime").as_deref(), Ok("mr"));
        assert_eq!(short("disabled").as_deref(), Ok("d"));
        assert!(short("ctime").is_err() && short("wishes").is_err());
    }

    #[test]
    fn times_are_read_as_utc() {
        assert_eq!(timestamp("1970-01-01"), Ok(0));
        assert_eq!(timestamp("1970-01-01T00:01:02Z"), Ok(62_000_000));
        assert_eq!(timestamp("1970-01-01 00:02"), Ok(120_000_000));
        assert_eq!(timestamp("1970-032"), Ok(31 * 86_400_000_000));
        assert!(timestamp("tomorrow").is_err());
    }

    #[test]
    fn archives_sort_by_named_keys_only() {
        assert_eq!(
            sort_by("timestamp,archive"),
            Ok(vec![SortKey::Timestamp, SortKey::Name])
        );
        assert!(sort_by("size").is_err());
    }
}
