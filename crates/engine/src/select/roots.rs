//! Under which path something is stored.
//!
//! Stored paths are relative and never climb: leading `/` and `..` are left out. A `/./` in a path
//! given by the user (the "slashdot hack") has everything left of it stripped from stored paths;
//! patterns see the whole path all the same.

use fastness_format::location::normalize_path;

/// A path to archive: where to read, and what to strip from stored paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// The path without `.`, `..` and doubled slashes.
    pub path: Vec<u8>,
    /// What stored paths lose, with its `/` at the end; none without a `/./`.
    pub strip_prefix: Option<Vec<u8>>,
}

impl Root {
    /// Reads a path as the user gives it.
    pub fn new(path: &[u8]) -> Self {
        let slashdot = path.windows(3).position(|part| part == b"/./");
        let prefix = slashdot.and_then(|at| path.get(..at));
        Self {
            path: normalize_path(path),
            strip_prefix: prefix.filter(|prefix| !prefix.is_empty()).map(|prefix| {
                let mut prefix = normalize_path(prefix);
                prefix.push(b'/');
                prefix
            }),
        }
    }

    /// Returns the path to store for something at or below this root; nothing is stored for
    /// directories that lead to the place the `/./` points to.
    pub fn stored_path(&self, path: &[u8]) -> Option<Vec<u8>> {
        let Some(prefix) = &self.strip_prefix else {
            return Some(safe_path(path).to_vec());
        };
        if let Some(rest) = path.strip_prefix(prefix.as_slice()) {
            return Some(safe_path(rest).to_vec());
        }
        match prefix.strip_prefix(path) {
            Some(b"/") => Some(b".".to_vec()),
            Some([b'/', ..]) => None,
            _ => Some(safe_path(path).to_vec()),
        }
    }
}

/// Returns a path without its leading `/` and `../`; nothing left is `.`.
pub fn safe_path(path: &[u8]) -> &[u8] {
    let mut rest = path;
    loop {
        rest = match rest {
            [b'/', after @ ..] | [b'.', b'.', b'/', after @ ..] => after,
            [] => return b".",
            _ => return rest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(root: &str, path: &str) -> Option<String> {
        let stored = Root::new(root.as_bytes()).stored_path(path.as_bytes())?;
        Some(String::from_utf8(stored).unwrap())
    }

    #[test]
    fn stored_paths_are_relative() {
        for (path, safe) in [
            ("/a/b", "a/b"),
            ("../../a", "a"),
            ("//../a/../b", "a/../b"),
            ("/", "."),
            ("..", ".."),
            ("../", "."),
            ("a", "a"),
            ("..a", "..a"),
        ] {
            let made = safe_path(path.as_bytes());
            assert_eq!(String::from_utf8_lossy(made), safe, "{path}");
        }
    }

    #[test]
    fn slashdot_strips_what_is_left_of_it() {
        let root = Root::new(b"/this/gets//stripped/./this/is/kept/");
        assert_eq!(root.path, b"/this/gets/stripped/this/is/kept");
        let prefix = root.strip_prefix.as_deref();
        assert_eq!(prefix, Some(&b"/this/gets/stripped/"[..]));
        let path = "/this/gets/stripped/this/is/kept/x";
        let root = "/this/gets/stripped/./this/is/kept";
        assert_eq!(stored(root, path).as_deref(), Some("this/is/kept/x"));
        assert_eq!(stored(root, "/this/gets"), None);
        assert_eq!(stored("a/./", "a").as_deref(), Some("."));
        assert_eq!(stored("a/./", "a/b").as_deref(), Some("b"));
    }

    #[test]
    fn without_something_left_of_it_slashdot_does_nothing() {
        assert_eq!(Root::new(b"/./a/b").strip_prefix, None);
        assert_eq!(Root::new(b"./a/b").strip_prefix, None);
        assert_eq!(stored("/a/b", "/a/b/c").as_deref(), Some("a/b/c"));
    }
}
