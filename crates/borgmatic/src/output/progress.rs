//! Numbers of a running command as one line of text.
//!
//! Pure: the caller says how much is done, what is expected in all and how long it took. What is
//! expected comes from the last run over the same sources, so percent and time left are estimates
//! and never claim to be at the end before the end.

use std::time::Duration;

/// How far a command is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// What is being done: `create`, `check`, …
    pub label: String,
    /// Amount done; bytes for an archive being made.
    pub done: u64,
    /// Amount expected in all; none when nothing is known about it.
    pub total: Option<u64>,
    /// Whether the amounts are bytes.
    pub bytes: bool,
    /// Files done.
    pub files: Option<u64>,
    /// What is being handled.
    pub item: String,
    /// Time since the beginning.
    pub elapsed: Duration,
}

const BAR: usize = 20;

/// Draws the line, at most `columns` wide.
pub fn line(progress: &Progress, columns: usize) -> String {
    let mut parts = vec![progress.label.clone()];
    if let Some(share) = share(progress) {
        parts.push(format!("{:>3} %", (share * 100.0).floor()));
        parts.push(bar(share));
    }
    if progress.bytes {
        parts.push(
            match progress.total.filter(|total| *total >= progress.done) {
                Some(total) => format!("{} of {}", bytes(progress.done), bytes(total)),
                None => bytes(progress.done),
            },
        );
    }
    if let Some(files) = progress.files {
        parts.push(format!("{} files", grouped(files)));
    }
    if let Some(left) = left(progress) {
        parts.push(format!("{} left", clock(left)));
    }
    let text = parts.join("  ");
    let room = columns.saturating_sub(text.chars().count() + 2);
    if progress.item.is_empty() || room < 10 {
        return fit(&text, columns);
    }
    format!("{text}  {}", fit_end(&progress.item, room))
}

/// The share done; 99 % at most, for an estimate cannot know the end.
fn share(progress: &Progress) -> Option<f64> {
    let total = progress.total.filter(|total| *total > 0)?;
    Some((progress.done as f64 / total as f64).min(0.99))
}

/// Time left at the speed so far; none in the first seconds, when it would jump.
fn left(progress: &Progress) -> Option<Duration> {
    let share = share(progress)?;
    let elapsed = progress.elapsed.as_secs_f64();
    if elapsed < 2.0 || share < 0.01 {
        return None;
    }
    Duration::try_from_secs_f64(elapsed * (1.0 - share) / share).ok()
}

fn bar(share: f64) -> String {
    let eighths = (share * (BAR * 8) as f64).round() as usize;
    let (full, rest) = (eighths / 8, eighths % 8);
    let mut text = "█".repeat(full.min(BAR));
    if full < BAR {
        text.extend([' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'].get(rest));
        text.extend(std::iter::repeat_n(' ', BAR - full - 1));
    }
    format!("▕{text}▏")
}

/// A number of bytes with three digits and a decimal unit.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1000.0;
    let mut units = UNITS.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    while value >= 999.5 {
        match units.next() {
            Some(larger) => unit = larger,
            None => break,
        }
        value /= 1000.0;
    }
    match value {
        value if value < 9.995 => format!("{value:.2} {unit}"),
        value if value < 99.95 => format!("{value:.1} {unit}"),
        value => format!("{value:.0} {unit}"),
    }
}

/// A number with commas between thousands.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time as minutes and seconds, with hours where there are any.
pub fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        hours => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// A long time in its largest unit: `3 days`.
pub fn span(time: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [
        (86400, "day"),
        (3600, "hour"),
        (60, "minute"),
        (1, "second"),
    ];
    let seconds = time.as_secs();
    let (size, name) = UNITS
        .into_iter()
        .find(|(size, _)| seconds >= *size)
        .unwrap_or((1, "second"));
    let count = seconds / size;
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {name}{plural}")
}

/// Cuts a line to a width and keeps control characters out of the terminal.
pub fn fit(text: &str, columns: usize) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .take(columns)
        .collect()
}

/// Cuts a path to a width and keeps its end, which tells more.
fn fit_end(text: &str, columns: usize) -> String {
    let length = text.chars().count();
    if length <= columns {
        return fit(text, columns);
    }
    let tail: String = text
        .chars()
        .skip(length - columns.saturating_sub(1))
        .collect();
    format!("…{}", fit(&tail, columns))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(done: u64, total: Option<u64>, seconds: u64) -> Progress {
        Progress {
            label: "create".into(),
            done,
            total,
            bytes: true,
            files: Some(3210),
            item: "home/user/documents/letter.txt".into(),
            elapsed: Duration::from_secs(seconds),
        }
    }

    #[test]
    fn a_line_has_percent_bar_amounts_and_time_left() {
        insta::assert_snapshot!(line(&create(1_200_000_000, Some(2_900_000_000), 60), 120), @"create   41 %  ▕████████▎           ▏  1.20 GB of 2.90 GB  3,210 files  1:25 left  home/user/documents/letter.txt");
        insta::assert_snapshot!(line(&create(1_200_000_000, Some(2_900_000_000), 1), 80), @"create   41 %  ▕████████▎           ▏  1.20 GB of 2.90 GB  3,210 files");
        insta::assert_snapshot!(line(&create(1_200_000_000, None, 60), 120), @"create  1.20 GB  3,210 files  home/user/documents/letter.txt");
        let check = Progress {
            label: "check".into(),
            done: 7,
            total: Some(9),
            elapsed: Duration::from_secs(3600),
            ..Progress::default()
        };
        insta::assert_snapshot!(line(&check, 80), @"check   77 %  ▕███████████████▌    ▏  17:08 left");
    }

    #[test]
    fn an_estimate_that_was_too_low_never_shows_a_hundred_percent() {
        insta::assert_snapshot!(line(&create(3_000, Some(2_000), 60), 70), @"create   99 %  ▕███████████████████▊▏  3.00 kB  3,210 files  0:00 left");
    }

    #[test]
    fn a_line_fits_its_terminal_whatever_stands_in_it() {
        for columns in 0..150 {
            let mut progress = create(1, Some(2), 60);
            progress.item = "\u{1b}[31m/ä/".repeat(30);
            let line = line(&progress, columns);
            assert!(line.chars().count() <= columns, "{columns} {line}");
            assert!(!line.contains('\u{1b}'));
        }
    }

    #[test]
    fn amounts_have_three_digits() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (9_999, "10.0 kB"),
            (123_456, "123 kB"),
            (999_999, "1.00 MB"),
            (14_100_000, "14.1 MB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(bytes(count), text, "{count}");
        }
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(clock(Duration::from_secs(3725)), "1:02:05");
        assert_eq!(span(Duration::from_secs(3 * 86400 + 5)), "3 days");
    }
}
