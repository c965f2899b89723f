//! Text for people: foreign bytes, widths, sizes, times and durations.
//!
//! The forms are Borg's, to the character: other programs and Borg's own tests read them.

use std::borrow::Cow;

/// Replaces every byte that is no UTF-8 by `?`.
pub fn replace_foreign(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => {
            let mut text = String::with_capacity(bytes.len());
            for part in bytes.utf8_chunks() {
                text.push_str(part.valid());
                text.extend(part.invalid().iter().map(|_| '?'));
            }
            Cow::Owned(text)
        }
    }
}

/// Whether sizes are counted in thousands or in 1024s (`--iec`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Units {
    /// kB is 1000 bytes.
    #[default]
    Decimal,
    /// KiB is 1024 bytes.
    Binary,
}

impl Units {
    /// Returns a size with two digits after the point, such as `2.05 kB`; plain below one unit.
    pub fn size(self, bytes: i64) -> String {
        self.with_digits(bytes, 2)
    }

    /// As [`Self::bytes`], with one digit after the point.
    pub fn bytes_short(self, bytes: u64) -> String {
        self.with_digits(i64::try_from(bytes).unwrap_or(i64::MAX), 1)
    }

    fn with_digits(self, bytes: i64, precision: usize) -> String {
        let (power, names): (f64, _) = match self {
            Self::Decimal => (1000.0, ["", "k", "M", "G", "T", "P", "E", "Z", "Y"]),
            Self::Binary => (1024.0, ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"]),
        };
        let scale = 10f64.powi(precision as i32);
        let mut amount = bytes as f64;
        let mut digits = 0;
        let mut unit = "";
        for name in names {
            unit = name;
            if ((amount * scale).round() / scale).abs() < power {
                break;
            }
            amount /= power;
            digits = precision;
        }
        format!("{amount:.digits$} {unit}B")
    }

    /// As [`Self::size`], for sizes that are never negative.
    pub fn bytes(self, bytes: u64) -> String {
        self.size(i64::try_from(bytes).unwrap_or(i64::MAX))
    }
}

/// Returns a duration in words: `3 minutes 0.12 seconds`.
pub fn duration(micros: i64) -> String {
    let days = micros.div_euclid(86_400_000_000);
    let seconds = micros as f64 / 1e6;
    let whole = micros / 1_000_000;
    let mut text = format!("{:.2} seconds", seconds.rem_euclid(60.0));
    let minutes = whole / 60 % 60;
    if minutes != 0 {
        text = format!("{minutes} minutes {text}");
    }
    let hours = whole / 3600 % 24;
    if hours != 0 {
        text = format!("{hours} hours {text}");
    }
    if days != 0 {
        text = format!("{days} days {text}");
    }
    text
}

/// Returns the columns a text takes in a terminal: wide characters count twice, marks not at all.
pub fn width(text: &str) -> usize {
    text.chars().map(character_width).sum()
}

fn character_width(character: char) -> usize {
    match u32::from(character) {
        0..=0x1f | 0x7f..=0x9f => 0,
        0x300..=0x36f | 0x200b..=0x200f | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f | 0x2e80..=0x303e | 0x3041..=0xa4cf | 0xac00..=0xd7a3 => 2,
        0xf900..=0xfaff | 0xfe30..=0xfe6f | 0xff00..=0xff60 | 0xffe0..=0xffe6 => 2,
        0x1f300..=0x1f64f | 0x1f900..=0x1f9ff | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// Shortens a text to a number of columns by dots in its middle, or fills it up with spaces.
pub fn fit(text: &str, columns: usize) -> String {
    const DOTS: &str = "...";
    if columns < 8 {
        let mut short = DOTS.to_owned();
        short.extend(std::iter::repeat_n(' ', columns.saturating_sub(DOTS.len())));
        return short;
    }
    let taken = width(text);
    if columns >= taken + DOTS.len() {
        return format!("{text}{}", " ".repeat(columns - taken));
    }
    let head = slice(text.chars(), columns / 2 - DOTS.len());
    let tail: String = slice(text.chars().rev(), columns.div_ceil(2))
        .chars()
        .rev()
        .collect();
    format!("{head}{DOTS}{tail}")
}

fn slice(characters: impl Iterator<Item = char>, columns: usize) -> String {
    let mut taken = 0;
    characters
        .take_while(|character| {
            taken += character_width(*character);
            taken <= columns
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_two_digits_from_the_first_unit_on() {
        assert_eq!(Units::Decimal.size(0), "0 B");
        assert_eq!(Units::Decimal.size(999), "999 B");
        assert_eq!(Units::Decimal.size(2049), "2.05 kB");
        assert_eq!(Units::Decimal.size(999_999), "1.00 MB");
        assert_eq!(Units::Decimal.size(-2_000_000), "-2.00 MB");
        assert_eq!(Units::Binary.size(2048), "2.00 KiB");
        assert_eq!(Units::Decimal.bytes(u64::MAX), "9.22 EB");
    }

    #[test]
    fn durations_name_only_what_they_have() {
        assert_eq!(duration(0), "0.00 seconds");
        assert_eq!(duration(61_500_000), "1 minutes 1.50 seconds");
        assert_eq!(
            duration(90_061_000_000),
            "1 days 1 hours 1 minutes 1.00 seconds"
        );
    }

    #[test]
    fn long_names_lose_their_middle() {
        assert_eq!(fit("this_is_a_very_long_string", 16), "this_...g_string");
        assert_eq!(fit("this_is_a_very_long_string", 17), "this_...ng_string");
        assert_eq!(fit("short", 10), "short     ");
        assert_eq!(fit("whatever", 5), "...  ");
    }

    #[test]
    fn foreign_bytes_become_question_marks() {
        assert_eq!(replace_foreign(b"a\xff\xfeb"), "a??b");
    }
}
