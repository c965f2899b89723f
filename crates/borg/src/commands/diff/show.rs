//! One difference as a line of text or JSON.

use fastness_engine::archives::diff::{Content, Difference};
use fastness_engine::times::LocalTime;
use fastness_format::item::ItemRef;
use jiff::tz::TimeZone;

use crate::output::item_format::file_mode;
use crate::output::json::{Json, object};
use crate::output::text::{Units, replace_foreign};

/// A change of an item, told in both ways.
struct Change {
    json: Json,
    text: String,
}

/// The changes of a path.
pub struct Shown {
    changes: Vec<Change>,
    /// Bytes that came, for sorting.
    pub added: i128,
    /// Bytes that went, for sorting.
    pub removed: i128,
}

/// Kinds of items that are named when they come or go.
const KINDS: [(u32, &str); 5] = [
    (0o120_000, "link"),
    (0o040_000, "directory"),
    (0o060_000, "blkdev"),
    (0o020_000, "chrdev"),
    (0o010_000, "fifo"),
];

impl Shown {
    /// Finds out what there is to tell.
    pub fn new(difference: &Difference<'_>, content_only: bool, zone: &TimeZone) -> Self {
        let mut shown = Self {
            changes: Vec::new(),
            added: 0,
            removed: 0,
        };
        match (&difference.before, &difference.after) {
            (Some(before), Some(after)) => {
                shown.link(before, after);
                shown.content(difference.content);
                if !content_only {
                    shown.owner(before, after);
                    shown.mode(before, after);
                    shown.time("ctime", before.ctime, after.ctime, zone);
                    shown.time("mtime", before.mtime, after.mtime, zone);
                }
            }
            (None, Some(after)) => shown.presence("added", after),
            (Some(before), None) => shown.presence("removed", before),
            (None, None) => {}
        }
        shown
    }

    /// Returns the line for people.
    pub fn text(&self, difference: &Difference<'_>) -> String {
        let changes: Vec<&str> = self.changes.iter().map(|change| &*change.text).collect();
        let path = replace_foreign(difference.path);
        format!("{:<19} {path}\n", changes.join(" "))
    }

    /// Returns the line for programs.
    pub fn json(&self, difference: &Difference<'_>) -> String {
        let changes = self.changes.iter().map(|change| change.json.clone());
        let path = replace_foreign(difference.path).into_owned();
        let line = object([("changes", changes.collect()), ("path", path.into())]);
        line.to_line() + "\n"
    }

    fn presence(&mut self, what: &str, item: &ItemRef<'_>) {
        let kind = item.mode & 0o170_000;
        // Borg does not say anything of sockets and further names of files.
        if item.chunks.is_some() {
            let size = item.content_size();
            match what {
                "added" => self.added += i128::from(size),
                _ => self.removed += i128::from(size),
            }
            let width = 18 - what.len();
            self.changes.push(Change {
                json: object([("size", size.into()), ("type", what.into())]),
                text: format!("{what} {:>width$}", Units::Decimal.bytes(size)),
            });
        }
        if let Some((_, name)) = KINDS.iter().find(|(known, _)| *known == kind) {
            let text = format!("{what} {name}");
            self.changes.push(Change {
                json: object([("type", text.as_str().into())]),
                text,
            });
        }
    }

    fn link(&mut self, before: &ItemRef<'_>, after: &ItemRef<'_>) {
        let is_link = |item: &ItemRef<'_>| item.mode & 0o170_000 == 0o120_000;
        if is_link(before) && is_link(after) && before.source != after.source {
            self.changes.push(Change {
                json: object([("type", "changed link".into())]),
                text: "changed link".to_owned(),
            });
        }
    }

    fn content(&mut self, content: Content) {
        match content {
            Content::None => {}
            Content::Unmeasured => self.changes.push(Change {
                json: object([("type", "modified".into())]),
                text: "modified".to_owned(),
            }),
            Content::Chunks {
                added: 0,
                removed: 0,
            } => {}
            Content::Chunks { added, removed } => {
                self.added += i128::from(added);
                self.removed += i128::from(removed);
                self.changes.push(Change {
                    json: object([
                        ("added", added.into()),
                        ("removed", removed.into()),
                        ("type", "modified".into()),
                    ]),
                    text: format!("{:>9} {:>9}", signed('+', added), signed('-', removed)),
                });
            }
        }
    }

    fn owner(&mut self, before: &ItemRef<'_>, after: &ItemRef<'_>) {
        if (before.user, before.group) == (after.user, after.group) {
            return;
        }
        let json = |name: Option<&[u8]>| Json::from(name.map(<[u8]>::to_vec));
        let text = |name: Option<&[u8]>| match name {
            Some(name) => replace_foreign(name).into_owned(),
            None => "None".to_owned(),
        };
        self.changes.push(Change {
            json: object([
                ("new_group", json(after.group)),
                ("new_user", json(after.user)),
                ("old_group", json(before.group)),
                ("old_user", json(before.user)),
                ("type", "owner".into()),
            ]),
            text: format!(
                "[{}:{} -> {}:{}]",
                text(before.user),
                text(before.group),
                text(after.user),
                text(after.group)
            ),
        });
    }

    fn mode(&mut self, before: &ItemRef<'_>, after: &ItemRef<'_>) {
        if before.mode == after.mode {
            return;
        }
        let (old, new) = (file_mode(before.mode), file_mode(after.mode));
        self.changes.push(Change {
            text: format!("[{old} -> {new}]"),
            json: object([
                ("new_mode", new.into()),
                ("old_mode", old.into()),
                ("type", "mode".into()),
            ]),
        });
    }

    fn time(&mut self, name: &str, before: Option<i64>, after: Option<i64>, zone: &TimeZone) {
        let (Some(before), Some(after)) = (before, after) else {
            return;
        };
        if before == after {
            return;
        }
        let [old, new] = [before, after].map(|nanos| LocalTime::of_file(nanos, zone));
        self.changes.push(Change {
            json: Json::Map(vec![
                (format!("new_{name}"), new.iso().into()),
                (format!("old_{name}"), old.iso().into()),
                ("type".to_owned(), name.into()),
            ]),
            text: format!("[{name}: {} -> {}]", old.human(), new.human()),
        });
    }
}

/// A size with its sign and one digit after the point; nothing has no sign.
fn signed(sign: char, bytes: u64) -> String {
    let text = Units::Decimal.bytes_short(bytes);
    match bytes {
        0 => text,
        _ => format!("{sign}{text}"),
    }
}
