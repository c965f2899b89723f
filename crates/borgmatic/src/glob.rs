//! Shell globs, as Python's `glob` and `fnmatch` understand them.
//!
//! `*`, `?` and `[...]` match within one component of a path; a component that begins with a
//! dot must be asked for with a dot. Results are sorted, so that a plan is the same each time.

use std::path::Path;

/// Tells whether a text has any glob character.
pub fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Tells whether the whole text matches; `/` and leading dots are not special here.
pub fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    matches_from(&pattern, &text)
}

/// Matching with one point of return: the last star decides, so the time is bounded by the
/// product of the lengths.
fn matches_from(pattern: &[char], text: &[char]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(c) = text.get(t) {
        let step = match pattern.get(p) {
            Some('*') => {
                star = Some((p + 1, t));
                p += 1;
                continue;
            }
            Some('?') => Some(1),
            Some('[') => set(pattern.get(p..).unwrap_or_default(), *c),
            Some(literal) if literal == c => Some(1),
            _ => None,
        };
        match (step, star) {
            (Some(length), _) => {
                p += length;
                t += 1;
            }
            (None, Some((after, from))) => {
                star = Some((after, from + 1));
                (p, t) = (after, from + 1);
            }
            (None, None) => return false,
        }
    }
    pattern.iter().skip(p).all(|c| *c == '*')
}

/// Matches one character against `[...]`; returns the length of the set when it fits. A bracket
/// that is never closed is a plain character.
fn set(pattern: &[char], c: char) -> Option<usize> {
    let negated = pattern.get(1) == Some(&'!');
    let start = 1 + usize::from(negated);
    let end = pattern
        .iter()
        .enumerate()
        .skip(start + 1)
        .find(|(_, c)| **c == ']')
        .map(|(index, _)| index);
    let Some(end) = end else {
        return (c == '[').then_some(1);
    };
    let members = pattern.get(start..end).unwrap_or_default();
    let mut found = false;
    let mut index = 0;
    while let Some(first) = members.get(index) {
        match (members.get(index + 1), members.get(index + 2)) {
            (Some('-'), Some(last)) => {
                found |= (*first..=*last).contains(&c);
                index += 3;
            }
            _ => {
                found |= *first == c;
                index += 1;
            }
        }
    }
    (found != negated).then_some(end + 1)
}

/// Returns the existing paths that a glob stands for, sorted; relative ones as they are written.
pub fn expand(pattern: &str) -> Vec<String> {
    let mut found = match pattern.starts_with('/') {
        true => vec!["/".to_owned()],
        false => vec![String::new()],
    };
    let trailing = pattern.ends_with('/');
    let components: Vec<&str> = pattern.split('/').filter(|part| !part.is_empty()).collect();
    for (index, component) in components.iter().enumerate() {
        let last = index + 1 == components.len();
        found = found
            .iter()
            .flat_map(|base| step(base, component, !last || trailing))
            .collect();
    }
    if trailing {
        found.iter_mut().for_each(|path| path.push('/'));
    }
    found.sort();
    found
}

/// The paths one component further down.
fn step(base: &str, component: &str, directory: bool) -> Vec<String> {
    let join = |name: &str| match base {
        "" => name.to_owned(),
        base if base.ends_with('/') => format!("{base}{name}"),
        base => format!("{base}/{name}"),
    };
    let exists = |path: &str| match directory {
        true => Path::new(path).is_dir(),
        false => Path::new(path).symlink_metadata().is_ok(),
    };
    if !is_glob(component) {
        let path = join(component);
        return if exists(&path) {
            vec![path]
        } else {
            Vec::new()
        };
    }
    let listed = std::fs::read_dir(if base.is_empty() { "." } else { base });
    listed
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| component.starts_with('.') || !name.starts_with('.'))
        .filter(|name| matches(component, name))
        .map(|name| join(&name))
        .filter(|path| exists(path))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_in_fnmatch() {
        for (pattern, text) in [
            ("*", ""),
            ("*.log", "a.log"),
            ("a?c", "abc"),
            ("[a-c]x", "bx"),
            ("[!a-c]x", "dx"),
            ("[]]x", "]x"),
            ("[x", "[x"),
            ("*a*b*c", "xaybzc"),
            ("a*/b", "a/x/b"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("?", ""), ("*.log", "a.txt"), ("[a-c]", "d"), ("ab", "abc")] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_do_not_take_forever() {
        assert!(!matches(&"*a".repeat(40), &"a".repeat(39)));
    }

    #[test]
    fn paths_are_expanded_component_by_component() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().to_str().unwrap();
        for path in ["a/one.log", "b/two.log", "b/.hidden.log", "c.txt"] {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let names = |pattern: &str| -> Vec<String> {
            expand(&format!("{root}/{pattern}"))
                .iter()
                .map(|path| path.strip_prefix(&format!("{root}/")).unwrap().to_owned())
                .collect()
        };
        assert_eq!(names("*/*.log"), ["a/one.log", "b/two.log"]);
        assert_eq!(names("*"), ["a", "b", "c.txt"]);
        assert_eq!(names("*/"), ["a/", "b/"]);
        assert_eq!(names("b/.*"), ["b/.hidden.log"]);
        assert!(names("nothing*").is_empty());
    }
}
