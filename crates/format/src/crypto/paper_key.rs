//! The key on paper: hexadecimal digits in short lines with checksums, to be printed and typed in.
//!
//! ```text
//! BORG PAPER KEY v1
//! id: 27 / 616263 646566 676869 / 25f62a 5a3d41 - 02
//!  1: 616263 646566 676869 6a6b6c 6d6e6f 707172 - 6d
//! ```
//!
//! The line `id` has the number of lines, the beginning of the repository's id, and the checksum
//! of the whole key. Every checksum is the beginning of a SHA-256: of the line's number and bytes,
//! or of the text of the line `id`. Spaces are of no account.

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::id::RepositoryId;

/// Bytes on a line.
const LINE_BYTES: usize = 18;
/// Digits of the repository's id that are printed.
const ID_DIGITS: usize = 18;
/// Digits of the checksum of the key.
const KEY_DIGITS: usize = 12;
/// Digits of the checksum of a line.
const LINE_DIGITS: usize = 2;
/// More lines than any key has.
const MAX_LINES: usize = 4096;

/// A line that was not typed as it was printed. The texts are Borg's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// The checksum is not set off by a dash.
    #[error("each line must contain exactly one '-', try again")]
    Dash,
    /// The line `id` has not three parts.
    #[error("the id line must contain exactly two '/', try again")]
    Parts,
    /// The line `id` has another checksum.
    #[error("line checksum did not match, try same line again")]
    IdChecksum,
    /// The number of lines is none.
    #[error("the number of lines is not valid, try again")]
    Count,
    /// There is something that is no digit, or a digit is missing.
    #[error("only characters 0-9 and a-f and '-' are valid, try again")]
    Digits,
    /// A line has another checksum.
    #[error("line checksum did not match, try line {0} again")]
    Checksum(usize),
}

/// A text that holds no whole key for paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// There is no line `id`.
    #[error("there is no line that begins with \"id:\"")]
    NoId,
    /// The line `id` is not as it was printed.
    #[error("the line \"id:\"")]
    Id(#[source] LineError),
    /// A line is missing.
    #[error("line {0} is missing")]
    Missing(usize),
    /// A line is not as it was printed.
    #[error("line {number}")]
    Line {
        /// Its number.
        number: usize,
        /// What is wrong with it.
        #[source]
        source: LineError,
    },
    /// All lines are right, but not of one key.
    #[error("the lines are not those of one key: the checksum over all of them differs")]
    Whole,
}

/// What the line `id` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdLine {
    /// How many lines follow.
    pub lines: usize,
    repository: String,
    checksum: String,
}

/// Writes the key of a repository for paper.
pub fn to_text(id: &RepositoryId, blob: &[u8]) -> String {
    let lines = blob.len().div_ceil(LINE_BYTES);
    let (repository, checksum) = (printed_id(id), digest(&[blob], KEY_DIGITS));
    let id_line = format!("{lines}/{repository}/{checksum}");
    let mut text = format!(
        "BORG PAPER KEY v1\nid: {lines} / {} / {} - {}\n",
        grouped(&repository),
        grouped(&checksum),
        digest(&[id_line.as_bytes()], LINE_DIGITS)
    );
    for (bytes, number) in blob.chunks(LINE_BYTES).zip(1..) {
        let digits = grouped(&HEXLOWER.encode(bytes));
        text.push_str(&format!(
            "{number:2}: {digits} - {}\n",
            line_digest(number, bytes)
        ));
    }
    text
}

/// Reads the line `id` as it was typed.
///
/// # Errors
/// When it was not printed so.
pub fn read_id_line(text: &str) -> Result<IdLine, LineError> {
    let (data, checksum) = parts(text)?;
    let mut fields = data.split('/');
    let (Some(lines), Some(repository), Some(key), None) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(LineError::Parts);
    };
    if digest(&[data.as_bytes()], LINE_DIGITS) != checksum {
        return Err(LineError::IdChecksum);
    }
    let lines = lines
        .parse()
        .ok()
        .filter(|lines| (1..=MAX_LINES).contains(lines));
    Ok(IdLine {
        lines: lines.ok_or(LineError::Count)?,
        repository: repository.to_owned(),
        checksum: key.to_owned(),
    })
}

/// Reads the line with this number as it was typed and returns its bytes.
///
/// # Errors
/// When it was not printed so.
pub fn read_line(number: usize, text: &str) -> Result<Vec<u8>, LineError> {
    let (data, checksum) = parts(text)?;
    let bytes = HEXLOWER_PERMISSIVE.decode(data.as_bytes());
    let bytes = bytes.map_err(|_| LineError::Digits)?;
    match line_digest(number, &bytes) == checksum {
        true => Ok(bytes),
        false => Err(LineError::Checksum(number)),
    }
}

/// Finds a key in a text that was printed, whatever stands around it.
///
/// # Errors
/// When it is not whole.
pub fn from_text(text: &str) -> Result<(IdLine, Zeroizing<Vec<u8>>), TextError> {
    let mut lines = text.lines().map(str::trim);
    let id = lines.find_map(|line| line.strip_prefix("id:"));
    let id = read_id_line(id.ok_or(TextError::NoId)?).map_err(TextError::Id)?;
    let mut blob = Zeroizing::new(Vec::new());
    let mut lines = lines.filter_map(|line| line.split_once(':'));
    for number in 1..=id.lines {
        let (digits, line) = lines.next().ok_or(TextError::Missing(number))?;
        if digits.parse() != Ok(number) {
            return Err(TextError::Missing(number));
        }
        let bytes = read_line(number, line);
        blob.extend(bytes.map_err(|source| TextError::Line { number, source })?);
    }
    match id.is_complete(&blob) {
        true => Ok((id, blob)),
        false => Err(TextError::Whole),
    }
}

impl IdLine {
    /// Tells whether this is the key of the repository.
    pub fn is_of(&self, id: &RepositoryId) -> bool {
        self.repository == printed_id(id)
    }

    /// Tells whether all bytes are those that were printed.
    pub fn is_complete(&self, blob: &[u8]) -> bool {
        digest(&[blob], KEY_DIGITS) == self.checksum
    }
}

/// Takes a line apart at its dash.
fn parts(text: &str) -> Result<(String, String), LineError> {
    let text = text.replace(char::is_whitespace, "").to_lowercase();
    match text.split_once('-') {
        Some((data, checksum)) if !checksum.contains('-') => {
            Ok((data.to_owned(), checksum.to_owned()))
        }
        _ => Err(LineError::Dash),
    }
}

fn printed_id(id: &RepositoryId) -> String {
    HEXLOWER
        .encode(id.as_bytes())
        .chars()
        .take(ID_DIGITS)
        .collect()
}

fn line_digest(number: usize, bytes: &[u8]) -> String {
    let number = u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes();
    digest(&[&number, bytes], LINE_DIGITS)
}

fn digest(parts: &[&[u8]], digits: usize) -> String {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    HEXLOWER
        .encode(&hash.finalize())
        .chars()
        .take(digits)
        .collect()
}

fn grouped(digits: &str) -> String {
    let mut text = String::with_capacity(digits.len() * 7 / 6);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && at % 6 == 0 {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository() -> RepositoryId {
        let mut id = [7; 32];
        id[..3].copy_from_slice(&[0xe2, 0x94, 0x42]);
        RepositoryId::new(id)
    }

    #[test]
    fn what_was_printed_is_read_back() {
        let blob: Vec<u8> = (0..200).collect();
        let text = to_text(&repository(), &blob);
        let mut lines = text.lines().skip(1);
        let id = read_id_line(lines.next().unwrap().strip_prefix("id:").unwrap()).unwrap();
        assert!(id.is_of(&repository()) && !id.is_of(&RepositoryId::new([7; 32])));
        assert_eq!(id.lines, 12);
        let mut typed = Vec::new();
        for (line, number) in lines.zip(1..) {
            let (_, digits) = line.split_once(':').unwrap();
            typed.extend(read_line(number, &digits.to_uppercase()).unwrap());
        }
        assert!(id.is_complete(&typed) && !id.is_complete(&blob[1..]));
        assert_eq!(typed, blob);
    }

    #[test]
    fn a_printed_text_is_read_whole_whatever_stands_around_it() {
        let blob: Vec<u8> = (0..50).collect();
        let text = to_text(&repository(), &blob);
        let page = format!("<pre>\n{text}</pre>\nBORG_KEY 00\n");
        let (id, read) = from_text(&page).unwrap();
        assert!(id.is_of(&repository()) && *read == blob);
        assert_eq!(from_text("1: 00"), Err(TextError::NoId));
        let short = text.rsplit_once(" 3:").unwrap().0;
        assert_eq!(from_text(short), Err(TextError::Missing(3)));
        let wrong = text.replace(" 2: 12", " 2: 13");
        let source = LineError::Checksum(2);
        assert_eq!(
            from_text(&wrong),
            Err(TextError::Line { number: 2, source })
        );
    }

    #[test]
    fn mistakes_are_found_in_the_line_where_they_are() {
        let line = "616263 646566 676869 6a6b6c 6d6e6f 707172 - 6d";
        assert_eq!(read_line(1, line).unwrap(), b"abcdefghijklmnopqr");
        assert_eq!(read_line(2, line), Err(LineError::Checksum(2)));
        assert_eq!(read_line(1, "737475 88"), Err(LineError::Dash));
        assert_eq!(read_line(1, "73747i - 88"), Err(LineError::Digits));
        assert_eq!(read_line(1, "73747 - 88"), Err(LineError::Digits));
        for (typed, error) in [
            ("2 / e2 / 25  02", LineError::Dash),
            ("2 / e2  25 - 02", LineError::Parts),
            ("2 / e2 / 25 - 02", LineError::IdChecksum),
        ] {
            assert_eq!(read_id_line(typed), Err(error), "{typed}");
        }
    }
}
