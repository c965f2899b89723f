//! The order of differences: `--sort-by`.

use std::cmp::Ordering;

use fastness_engine::archives::diff::Difference;
use fastness_format::item::ItemRef;

use super::show::Shown;
use crate::output::text::replace_foreign;

/// What can be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Path,
    SizeAdded,
    SizeRemoved,
    SizeDiff,
    Size,
    User,
    Group,
    Uid,
    Gid,
    Ctime,
    Mtime,
    CtimeDiff,
    MtimeDiff,
}

const FIELDS: [(&str, Field); 13] = [
    ("path", Field::Path),
    ("size_added", Field::SizeAdded),
    ("size_removed", Field::SizeRemoved),
    ("size_diff", Field::SizeDiff),
    ("size", Field::Size),
    ("user", Field::User),
    ("group", Field::Group),
    ("uid", Field::Uid),
    ("gid", Field::Gid),
    ("ctime", Field::Ctime),
    ("mtime", Field::Mtime),
    ("ctime_diff", Field::CtimeDiff),
    ("mtime_diff", Field::MtimeDiff),
];

/// Fields to sort by, the first one matters most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order(Vec<Rule>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule {
    field: Field,
    greatest_first: bool,
}

/// What a difference is sorted by.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// A text.
    Text(String),
    /// A number.
    Number(i128),
}

/// Reads the value of `--sort-by`.
pub fn parse(text: &str) -> Result<Order, String> {
    let parts = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    let rule = |part: &str| {
        let name = part.strip_prefix(['<', '>']).unwrap_or(part);
        let field = FIELDS.iter().find(|(known, _)| *known == name);
        let (_, field) = field.ok_or_else(|| format!("unsupported sort field: {name}"))?;
        Ok::<_, String>(Rule {
            field: *field,
            greatest_first: part.starts_with('>'),
        })
    };
    let rules = parts.map(rule).collect::<Result<Vec<Rule>, String>>()?;
    match rules.is_empty() {
        true => Err("unsupported sort field: empty spec".to_owned()),
        false => Ok(Order(rules)),
    }
}

impl Order {
    /// The order of paths.
    pub fn by_path() -> Self {
        Self(vec![Rule {
            field: Field::Path,
            greatest_first: false,
        }])
    }

    /// Returns what a difference is sorted by.
    pub fn keys(&self, difference: &Difference<'_>, shown: &Shown) -> Vec<Key> {
        let key = |rule: &Rule| rule.field.key(difference, shown);
        self.0.iter().map(key).collect()
    }

    /// Compares two differences by their keys.
    pub fn compare(&self, one: &[Key], other: &[Key]) -> Ordering {
        let mut ordering = Ordering::Equal;
        for ((rule, one), other) in self.0.iter().zip(one).zip(other) {
            ordering = ordering.then_with(|| match rule.greatest_first {
                true => other.cmp(one),
                false => one.cmp(other),
            });
        }
        ordering
    }
}

impl Field {
    fn key(self, difference: &Difference<'_>, shown: &Shown) -> Key {
        // What is gone has no attributes.
        let after = difference.after.as_ref();
        let name =
            |name: Option<&[u8]>| Key::Text(replace_foreign(name.unwrap_or_default()).into_owned());
        let id = |id: Option<u32>| Key::Number(id.map_or(-1, i128::from));
        let time = |time: Option<i64>| i128::from(time.unwrap_or(0));
        let ctime = |item: Option<&ItemRef<'_>>| time(item.and_then(|item| item.ctime));
        let mtime = |item: Option<&ItemRef<'_>>| time(item.and_then(|item| item.mtime));
        let before = difference.before.as_ref();
        match self {
            Self::Path => Key::Text(replace_foreign(difference.path).into_owned()),
            Self::SizeAdded => Key::Number(shown.added),
            Self::SizeRemoved => Key::Number(shown.removed),
            Self::SizeDiff => Key::Number(shown.added - shown.removed),
            Self::Size => Key::Number(after.map_or(0, size)),
            Self::User => name(after.and_then(|item| item.user)),
            Self::Group => name(after.and_then(|item| item.group)),
            Self::Uid => id(after.and_then(|item| item.uid)),
            Self::Gid => id(after.and_then(|item| item.gid)),
            Self::Ctime => Key::Number(ctime(after)),
            Self::Mtime => Key::Number(mtime(after)),
            Self::CtimeDiff => Key::Number(ctime(after) - ctime(before)),
            Self::MtimeDiff => Key::Number(mtime(after) - mtime(before)),
        }
    }
}

/// The length of the content, or of the target of a symbolic link.
fn size(item: &ItemRef<'_>) -> i128 {
    match (item.mode & 0o170_000, item.size, item.source) {
        (0o120_000, None, Some(target)) => target.len() as i128,
        _ => item.content_size().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_known_by_name_with_a_direction_in_front() {
        let order = parse(" >size_diff, path").unwrap();
        assert_eq!(order.0.len(), 2);
        assert!(order.0.first().unwrap().greatest_first);
        assert_eq!(
            parse("nothing").unwrap_err(),
            "unsupported sort field: nothing"
        );
        assert_eq!(
            parse(" , ").unwrap_err(),
            "unsupported sort field: empty spec"
        );
    }

    #[test]
    fn the_first_field_matters_most() {
        let order = parse(">size,path").unwrap();
        let keys = |size, path: &str| [Key::Number(size), Key::Text(path.to_owned())];
        assert_eq!(order.compare(&keys(2, "b"), &keys(1, "a")), Ordering::Less);
        assert_eq!(
            order.compare(&keys(1, "b"), &keys(1, "a")),
            Ordering::Greater
        );
    }
}
