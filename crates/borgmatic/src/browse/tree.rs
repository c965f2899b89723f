//! The files of an archive as a tree, made of Borg's listing.
//!
//! Archives hold paths in the order of the walk, and not every directory on the way: those that lack
//! are made up. Names may be any bytes; what is no text is only shown differently.

use std::collections::HashMap;

/// What Borg is asked to print for each item; fields and items end with NUL bytes.
pub const FORMAT: &str =
    "{mode}{NUL}{size}{NUL}{isomtime}{NUL}{user}{NUL}{bpath}{NUL}{linktarget}{NUL}";

/// Fields of an item in the listing.
const FIELDS: usize = 6;

/// The place of an entry in its tree; the top is 0.
pub type Place = usize;

/// A file, directory or something else in an archive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its name in its directory.
    pub name: Vec<u8>,
    /// Its type and permissions as `ls` prints them; empty when only its name is known.
    pub mode: String,
    /// Bytes.
    pub size: u64,
    /// When it was changed, local time to the second.
    pub time: String,
    /// Its owner.
    pub user: String,
    /// Where a symlink leads.
    pub target: String,
    /// The directory that it is in.
    pub parent: Place,
    /// What is in it, by name.
    pub children: Vec<Place>,
}

impl Entry {
    /// Whether something may be in it.
    pub fn is_directory(&self) -> bool {
        self.mode.is_empty() || self.mode.starts_with('d')
    }

    /// Whether it has content of its own.
    pub fn is_file(&self) -> bool {
        self.mode.starts_with('-')
    }
}

/// The files of an archive.
#[derive(Debug, Default)]
pub struct Tree {
    entries: Vec<Entry>,
}

impl Tree {
    /// Reads a listing in [`FORMAT`].
    pub fn read(listing: &[u8]) -> Self {
        let mut tree = Self {
            entries: vec![Entry::default()],
        };
        let mut directories = HashMap::new();
        let fields: Vec<&[u8]> = listing.split(|byte| *byte == 0).collect();
        for item in fields.chunks_exact(FIELDS) {
            if let [mode, size, time, user, path, target] = item {
                let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
                let entry = Entry {
                    mode: text(mode),
                    size: text(size).parse().unwrap_or_default(),
                    time: text(time)
                        .chars()
                        .take(19)
                        .collect::<String>()
                        .replace('T', " "),
                    user: text(user),
                    target: text(target),
                    ..Entry::default()
                };
                tree.add(path, entry, &mut directories);
            }
        }
        tree.sort();
        tree
    }

    fn add<'p>(&mut self, path: &'p [u8], entry: Entry, places: &mut HashMap<&'p [u8], Place>) {
        let (directory, name) = split(path);
        let parent = self.directory(directory, places);
        if let Some(known) = places
            .get(path)
            .and_then(|place| self.entries.get_mut(*place))
        {
            // A directory that was made up before it came, or an item that is there twice.
            let (name, children) = (known.name.clone(), std::mem::take(&mut known.children));
            *known = Entry {
                name,
                parent,
                children,
                ..entry
            };
            return;
        }
        let is_directory = entry.is_directory();
        let place = self.push(parent, name, entry);
        if is_directory {
            places.insert(path, place);
        }
    }

    /// The place of a directory, which is made up if it is not there.
    fn directory<'p>(&mut self, path: &'p [u8], places: &mut HashMap<&'p [u8], Place>) -> Place {
        // Down from the first directory that is known.
        let mut missing = Vec::new();
        let mut above = path;
        let mut place = loop {
            match places.get(above) {
                Some(place) => break *place,
                None if above.is_empty() => break 0,
                None => missing.push(above),
            }
            above = split(above).0;
        };
        for path in missing.into_iter().rev() {
            place = self.push(place, split(path).1, Entry::default());
            places.insert(path, place);
        }
        place
    }

    fn push(&mut self, parent: Place, name: &[u8], entry: Entry) -> Place {
        let place = self.entries.len();
        self.entries.push(Entry {
            name: name.to_vec(),
            parent,
            ..entry
        });
        if let Some(parent) = self.entries.get_mut(parent) {
            parent.children.push(place);
        }
        place
    }

    /// Directories first, then by name.
    fn sort(&mut self) {
        for place in 0..self.entries.len() {
            let mut children = match self.entries.get_mut(place) {
                Some(entry) => std::mem::take(&mut entry.children),
                None => continue,
            };
            children.sort_by(|a, b| {
                let key = |place: &Place| {
                    let entry = self.get(*place);
                    (!entry.is_directory(), entry.name.as_slice())
                };
                key(a).cmp(&key(b))
            });
            if let Some(entry) = self.entries.get_mut(place) {
                entry.children = children;
            }
        }
    }

    /// The entry at a place.
    pub fn get(&self, place: Place) -> &Entry {
        static NOTHING: Entry = Entry {
            name: Vec::new(),
            mode: String::new(),
            size: 0,
            time: String::new(),
            user: String::new(),
            target: String::new(),
            parent: 0,
            children: Vec::new(),
        };
        self.entries.get(place).unwrap_or(&NOTHING)
    }

    /// The path of an entry, as the archive has it.
    pub fn path(&self, place: Place) -> Vec<u8> {
        let mut names = Vec::new();
        let mut place = place;
        while place != 0 {
            let entry = self.get(place);
            names.push(entry.name.as_slice());
            place = entry.parent;
        }
        names.reverse();
        names.join(&b'/')
    }

    /// How many entries the archive has, those made up included.
    pub fn len(&self) -> usize {
        self.entries.len().saturating_sub(1)
    }
}

/// The directory and the name of a path.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => {
            let (directory, rest) = path.split_at(at);
            (directory, rest.get(1..).unwrap_or_default())
        }
        None => (&[], path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(items: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (mode, path) in items {
            let before = format!("{mode}\0{}\02026-11-23T10:11:12.000001+01:00\0root\0", 7);
            bytes.extend(before.as_bytes());
            bytes.extend(*path);
            bytes.extend(b"\0\0");
        }
        bytes
    }

    fn names(tree: &Tree, place: Place) -> Vec<String> {
        let children = tree.get(place).children.iter();
        let name = |place: &Place| String::from_utf8_lossy(&tree.get(*place).name).into_owned();
        children.map(name).collect()
    }

    #[test]
    fn directories_that_are_not_in_the_archive_are_made_up() {
        let tree = Tree::read(&listing(&[
            ("-rw-r--r--", b"etc/a/config"),
            ("drwxr-xr-x", b"etc"),
            ("-rw-r--r--", b"etc/hosts"),
            ("lrwxrwxrwx", b"bin"),
        ]));
        assert_eq!(names(&tree, 0), ["etc", "bin"]);
        let etc = tree.get(0).children[0];
        assert_eq!(tree.get(etc).mode, "drwxr-xr-x");
        assert_eq!(names(&tree, etc), ["a", "hosts"]);
        let hosts = tree.get(etc).children[1];
        assert_eq!(tree.path(hosts), b"etc/hosts");
        assert_eq!(tree.get(hosts).time, "2026-11-23 10:11:12");
        assert_eq!(tree.len(), 5);
    }

    #[test]
    fn names_may_be_any_bytes_and_a_listing_may_be_cut() {
        let mut bytes = listing(&[("-rw-r--r--", b"a\xff\nb"), ("-rw-r--r--", b"c")]);
        bytes.truncate(bytes.len() - 3);
        let tree = Tree::read(&bytes);
        assert_eq!(tree.path(tree.get(0).children[0]), b"a\xff\nb");
        assert_eq!(tree.len(), 1);
        assert_eq!(Tree::read(b"").len(), 0);
    }
}
