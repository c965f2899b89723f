//! Where a client may go: what its paths mean, and which of them are allowed.
//!
//! Both sides of every comparison are resolved first, symlinks and `..` included, as far as they
//! exist. What is opened afterwards is the resolved path, not the one that the client sent.

use std::collections::{HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

/// More symlinks than this on one path go in circles.
const MAX_LINKS: usize = 64;

/// What `~` and relative paths of clients are relative to.
#[derive(Debug, Clone)]
pub struct Places {
    /// What `~/` stands for.
    pub base: PathBuf,
    /// What `~` alone stands for.
    pub home: PathBuf,
    /// Where relative paths begin.
    pub directory: PathBuf,
    /// Finds the home of a user.
    pub home_of: fn(&[u8]) -> Option<PathBuf>,
}

/// Paths and repositories that clients may use; all of them where nothing is named.
#[derive(Debug, Clone, Default)]
pub struct Restrictions {
    /// Only these directories and everything below.
    pub paths: Vec<PathBuf>,
    /// Only these repositories, not what is below.
    pub repositories: Vec<PathBuf>,
}

impl Places {
    /// Returns the path that a client means.
    pub fn resolve(&self, path: &[u8]) -> PathBuf {
        let joined = |base: &Path, rest: &[u8]| {
            // What is left begins without a slash, or else it stands for itself.
            base.join(OsStr::from_bytes(rest))
        };
        let meant = if let Some(rest) = path.strip_prefix(b"/~/") {
            joined(&self.base, rest)
        } else if let Some(rest) = path.strip_prefix(b"~/") {
            joined(&self.base, rest)
        } else if let Some(rest) = path.strip_prefix(b"/~").or(path.strip_prefix(b"~")) {
            self.of_user(rest)
        } else if let Some(rest) = path.strip_prefix(b"/./") {
            joined(&self.directory, rest)
        } else {
            joined(&self.directory, path)
        };
        self.real(&meant)
    }

    /// `~user/rest`, without the tilde; a user that does not exist stays as it is.
    fn of_user(&self, path: &[u8]) -> PathBuf {
        let end = path.iter().position(|byte| *byte == b'/');
        let (name, rest) = path
            .split_at_checked(end.unwrap_or(path.len()))
            .unwrap_or((path, b""));
        let home = match name {
            b"" => Some(self.home.clone()),
            name => (self.home_of)(name),
        };
        let mut whole = match home {
            Some(home) => home.into_os_string(),
            None => OsString::from_vec([b"~", name].concat()),
        };
        whole.push(OsStr::from_bytes(rest));
        self.directory.join(whole)
    }

    /// Resolves symlinks and `..`, as far as the path exists; what does not is taken by its text.
    pub fn real(&self, path: &Path) -> PathBuf {
        let whole = self.directory.join(path);
        let mut rest: VecDeque<OsString> = parts(&whole).collect();
        let mut real = PathBuf::from("/");
        let mut links: HashMap<PathBuf, usize> = HashMap::new();
        while let Some(part) = rest.pop_front() {
            if part == ".." {
                real.pop();
                continue;
            }
            let next = real.join(&part);
            let target = match std::fs::read_link(&next) {
                Ok(target) => target,
                Err(_) => {
                    real = next;
                    continue;
                }
            };
            let seen = links.entry(next.clone()).or_default();
            *seen += 1;
            if *seen > MAX_LINKS || links.len() > MAX_LINKS {
                // Opening it fails; nothing behind it is reached.
                real = next;
                rest.retain(|part| part != "..");
                real.extend(rest);
                return real;
            }
            if target.is_absolute() {
                real = PathBuf::from("/");
            }
            for part in parts(&target).collect::<Vec<_>>().into_iter().rev() {
                rest.push_front(part);
            }
        }
        real
    }
}

/// The names of a path, with `..`, without what changes nothing.
fn parts(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        _ => None,
    })
}

impl Restrictions {
    /// Tells whether a resolved path may be used.
    pub fn allow(&self, path: &Path, places: &Places) -> bool {
        // Compared by names, so that /foobar is not below /foo.
        let below = |allowed: &PathBuf| path.starts_with(places.real(allowed));
        let equal = |allowed: &PathBuf| path == places.real(allowed);
        (self.paths.is_empty() || self.paths.iter().any(below))
            && (self.repositories.is_empty() || self.repositories.iter().any(equal))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn places(directory: &Path) -> Places {
        Places {
            base: "/base".into(),
            home: "/home/me".into(),
            directory: directory.to_owned(),
            home_of: |name| (name == b"ann").then(|| "/home/ann".into()),
        }
    }

    #[test]
    fn paths_mean_what_they_mean_to_borg() {
        let places = places(Path::new("/cwd"));
        for (sent, meant) in [
            ("/abs/repo", "/abs/repo"),
            ("/~/repo", "/base/repo"),
            ("~/repo", "/base/repo"),
            ("/~ann/repo", "/home/ann/repo"),
            ("~ann", "/home/ann"),
            ("~", "/home/me"),
            ("/~", "/home/me"),
            ("~nobody-here/repo", "/cwd/~nobody-here/repo"),
            ("/./repo", "/cwd/repo"),
            ("/.//abs", "/abs"),
            ("repo/./x//y/", "/cwd/repo/x/y"),
            ("", "/cwd"),
            ("../../../x/..", "/"),
            ("/missing/../repo", "/repo"),
        ] {
            assert_eq!(places.resolve(sent.as_bytes()), Path::new(meant), "{sent}");
        }
    }

    #[test]
    fn symlinks_are_followed_on_both_sides_and_circles_end() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("allowed/repo")).unwrap();
        std::fs::create_dir(root.join("secret")).unwrap();
        symlink("../secret", root.join("allowed/way-out")).unwrap();
        symlink(root.join("allowed"), root.join("alias")).unwrap();
        symlink("b", root.join("a")).unwrap();
        symlink("a", root.join("b")).unwrap();
        let places = places(&root);
        assert_eq!(places.resolve(b"alias/repo"), root.join("allowed/repo"));
        assert_eq!(
            places.resolve(b"alias/../alias/new"),
            root.join("allowed/new")
        );
        assert!(places.resolve(b"a/x/../y").starts_with(&root));
        let rules = |paths: &[&str], repositories: &[&str]| Restrictions {
            paths: paths.iter().map(PathBuf::from).collect(),
            repositories: repositories.iter().map(PathBuf::from).collect(),
        };
        let allowed = |rules: &Restrictions, sent: &str| {
            rules.allow(&places.resolve(sent.as_bytes()), &places)
        };
        let paths = rules(&["alias"], &[]);
        for (sent, expected) in [
            ("allowed", true),
            ("allowed/repo/deep", true),
            ("alias/repo", true),
            ("allowed/./x", true),
            ("allowed-not", false),
            ("allowed/../secret", false),
            ("allowed/way-out", false),
            ("allowed/way-out/x", false),
            ("allowed/missing/../../secret", false),
            ("/", false),
            ("", false),
        ] {
            assert_eq!(allowed(&paths, sent), expected, "{sent}");
        }
        let repository = rules(&[], &["allowed/repo/"]);
        assert!(allowed(&repository, "alias//repo/"));
        assert!(!allowed(&repository, "allowed/repo/below"));
        assert!(!allowed(&repository, "allowed"));
        let both = rules(&["secret"], &["allowed/repo"]);
        assert!(!allowed(&both, "allowed/repo") && !allowed(&both, "secret"));
        assert!(allowed(&Restrictions::default(), "anything"));
        assert!(allowed(&rules(&["/"], &[]), "anything"));
    }
}
