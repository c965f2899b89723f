//! Parsers of option values that need nothing but the text.

use std::os::unix::fs::MetadataExt;

use fastness_engine::times;

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
pub fn interval(text: &str) -> Result<u64, String> {
    times::parse_interval(text).map_err(|error| error.to_string())
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
    let time = match std::fs::metadata(text) {
        Ok(metadata) => {
            let nanos = metadata.mtime().saturating_mul(1_000_000_000);
            times::timestamp_of_file(nanos.saturating_add(metadata.mtime_nsec()))
        }
        Err(_) => times::parse_timestamp_argument(text).map_err(|error| error.to_string())?,
    };
    Ok(time.as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;

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
