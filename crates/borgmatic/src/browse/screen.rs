//! Draws the model: a title, the lines of the page, and what can be done.

use unicode_width::UnicodeWidthStr;

use super::model::{Model, Page};
use super::tree::{Entry, Place, Tree};

/// Lines around the page.
const AROUND: usize = 3;

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// As it is.
    Plain,
    /// A directory.
    Bold,
    /// Where one is.
    Reversed,
    /// Of less interest.
    Dim,
}

/// A line of the screen.
pub type Row = (String, Look);

/// How many lines of a page fit.
pub fn page_height(rows: u16) -> usize {
    usize::from(rows).saturating_sub(AROUND).max(1)
}

/// All lines of the screen, each as wide as it.
pub fn rows(model: &Model, width: u16, height: u16) -> Vec<Row> {
    let (width, height) = (usize::from(width), page_height(height));
    let filled = |text: String, look| (columns(text, "", width), look);
    let mut rows = vec![filled(format!(" {}", model.title()), Look::Reversed)];
    rows.extend(page(model, width, height));
    rows.resize_with(height + 1, || filled(String::new(), Look::Plain));
    rows.push(filled(last_line(model), Look::Plain));
    rows.push(filled(keys_of(model).to_owned(), Look::Dim));
    rows
}

fn page(model: &Model, width: usize, height: usize) -> Vec<Row> {
    let Some(layer) = model.layers.last() else {
        return Vec::new();
    };
    let shown = layer.top..(layer.top + height).min(model.lines());
    if shown.is_empty() && model.waiting.is_none() {
        return vec![(columns("  (nothing here)".to_owned(), "", width), Look::Dim)];
    }
    let row = |row: usize| {
        let (text, look) = match &layer.page {
            Page::Repositories => (pair(model.repositories.get(row), width), Look::Plain),
            Page::Archives(archives) => (pair(archives.get(row), width), Look::Plain),
            Page::Directory(tree, place) => entry(model, tree, *place, row, width),
            Page::Content(_, lines) => {
                let line = lines.get(row).cloned().unwrap_or_default();
                return (columns(line, "", width), Look::Plain);
            }
        };
        match row == layer.line {
            true => (text, Look::Reversed),
            false => (text, look),
        }
    };
    shown.map(row).collect()
}

/// A name, and something about it at the right.
fn pair(texts: Option<&[String; 2]>, width: usize) -> String {
    let [name, about] = texts.cloned().unwrap_or_default();
    let left = format!(" {name}");
    columns(left, &format!("{about} "), width)
}

/// Two texts at both sides of a line, the left one cut if need be.
fn columns(left: String, right: &str, width: usize) -> String {
    let room = width.saturating_sub(right.width());
    let left = cut(left, room);
    let gap = room.saturating_sub(left.width());
    format!("{left}{}{right}", " ".repeat(gap))
}

/// A text that takes no more room than this.
fn cut(text: String, room: usize) -> String {
    if text.width() <= room {
        return text;
    }
    let mut kept = String::new();
    for c in text.chars() {
        kept.push(c);
        if kept.width() >= room {
            kept.pop();
            break;
        }
    }
    kept.push('…');
    kept
}

fn entry(model: &Model, tree: &Tree, place: Place, row: usize, width: usize) -> Row {
    let Some(child) = tree.get(place).children.get(row) else {
        return (String::new(), Look::Plain);
    };
    let entry = tree.get(*child);
    let name: String = String::from_utf8_lossy(&entry.name)
        .chars()
        .map(|c| if c.is_control() { '�' } else { c })
        .collect();
    let mark = if model.marked.contains(child) {
        '*'
    } else {
        ' '
    };
    let name = match (entry.is_directory(), entry.target.is_empty()) {
        (true, _) => format!("{mark}{name}/"),
        (false, true) => format!("{mark}{name}"),
        (false, false) => format!("{mark}{name} → {}", entry.target),
    };
    let look = match entry.is_directory() {
        true => Look::Bold,
        false => Look::Plain,
    };
    (columns(name, &about(entry), width), look)
}

/// Mode, owner, size and time.
fn about(entry: &Entry) -> String {
    let size = match entry.is_file() {
        true => size(entry.size),
        false => String::new(),
    };
    let user = cut(entry.user.clone(), 8);
    format!("{:10} {user:8} {size:>8}  {:19} ", entry.mode, entry.time)
}

/// Bytes, in few characters.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut rest = bytes;
    let mut below = 0;
    let mut unit = 0;
    while rest >= 1000 && unit + 1 < UNITS.len() {
        below = rest % 1000 / 100;
        rest /= 1000;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    match unit {
        0 => format!("{rest} {name}"),
        _ => format!("{rest}.{below} {name}"),
    }
}

fn last_line(model: &Model) -> String {
    if let Some(typed) = &model.typed {
        let what = match model.marked.len() {
            0 => "this".to_owned(),
            count => format!("{count} marked"),
        };
        return format!(" Extract {what} to which directory? {typed}_");
    }
    match model.waiting {
        Some(what) => format!(" {what} …"),
        None => format!(" {}", model.message),
    }
}

fn keys_of(model: &Model) -> &'static str {
    if model.typed.is_some() {
        return " enter extract   esc never mind";
    }
    match model.layers.last().map(|layer| &layer.page) {
        Some(Page::Directory(..)) => " ↑↓ move  → open  ← back  space mark  x extract  q leave",
        Some(Page::Content(..)) => " ↑↓ move  ← back  q leave",
        _ => " ↑↓ move  → open  ← back  q leave",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::browse::model::{Key, News};

    fn shown(model: &Model) -> String {
        let rows = rows(model, 80, 8);
        assert!(rows.iter().all(|(text, _)| text.width() == 80), "{rows:?}");
        let line = |(text, look): &Row| {
            let mark = match look {
                Look::Reversed => ">",
                Look::Bold => "+",
                Look::Dim => "-",
                Look::Plain => " ",
            };
            format!("{mark}|{text}|\n")
        };
        rows.iter().map(line).collect()
    }

    #[test]
    fn a_directory_shows_what_is_in_it_on_eighty_columns() {
        let mut model = Model::new(vec![["nas".into(), "ssh://nas/./server".into()]]);
        model.height = page_height(8);
        let _ = model.key(Key::Enter);
        model.take(News::Archives(vec![[
            "monday".into(),
            "2026-11-23 10:00:00".into(),
        ]]));
        let _ = model.key(Key::Enter);
        let time = "2026-11-23T10:11:12.000000+01:00";
        let listing = format!(
            "drwxr-xr-x\00\0{time}\0root\0etc\0\0-rw-r--r--\01234567\0{time}\0a-long-user-name\0notes 日本\0\0lrwxrwxrwx\00\0{time}\0root\0link\0notes\0"
        );
        model.take(News::Files(Tree::read(listing.as_bytes())));
        let _ = model.key(Key::Down);
        let _ = model.key(Key::Char(' '));
        insta::assert_snapshot!(shown(&model), @r"
        >| nas  monday  /                                                                 |
        +| etc/                         drwxr-xr-x root               2026-11-23 10:11:12 |
         |*link → notes                 lrwxrwxrwx root               2026-11-23 10:11:12 |
        >| notes 日本                   -rw-r--r-- a-long-…   1.2 MB  2026-11-23 10:11:12 |
         |                                                                                |
         |                                                                                |
         | 3 files and directories                                                        |
        -| ↑↓ move  → open  ← back  space mark  x extract  q leave                        |
        ");
    }

    #[test]
    fn sizes_are_short() {
        let shown = [0, 999, 1000, 1_250_000, u64::MAX].map(size);
        assert_eq!(shown, ["0 B", "999 B", "1.0 kB", "1.2 MB", "18446.7 PB"]);
    }
}
