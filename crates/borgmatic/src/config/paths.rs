//! Where configuration files are looked for, and what `~` stands for.

use std::path::{Path, PathBuf};

/// Environment variables, as the caller gives them.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Returns the places that are looked at when none is named, in order.
pub fn default_paths(variable: Variables<'_>) -> Vec<PathBuf> {
    let user = variable("XDG_CONFIG_HOME")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .unwrap_or_else(|| Path::new(&home(variable)).join(".config"));
    vec![
        PathBuf::from("/etc/borgmatic/config.yaml"),
        PathBuf::from("/etc/borgmatic.d"),
        user.join("borgmatic/config.yaml"),
        user.join("borgmatic.d"),
    ]
}

/// Returns the configuration files that `paths` lead to, absolute, in order.
///
/// A directory gives its `*.yaml` and `*.yml` files sorted by name. One of the `defaults` that
/// does not exist is left out; any other path stays, for the user to learn that it is missing.
pub fn collect(paths: &[PathBuf], defaults: &[PathBuf]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            files.extend(files_of_directory(path));
        } else if path.exists() || !defaults.contains(path) {
            files.push(absolute(path));
        }
    }
    files
}

fn files_of_directory(directory: &Path) -> Vec<PathBuf> {
    // A directory that may not be read counts as empty.
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            matches!(
                path.extension().and_then(|e| e.to_str()),
                Some("yaml" | "yml")
            )
        })
        .filter(|path| !path.is_dir())
        .map(|path| absolute(&path))
        .collect();
    files.sort();
    files
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Returns the home directory of the user.
pub fn home(variable: Variables<'_>) -> String {
    variable("HOME")
        .filter(|home| !home.is_empty())
        .unwrap_or_else(|| "/".to_owned())
}

/// Replaces a leading `~` by the home directory. `~user` stays as it is.
pub fn expand_home(path: &str, variable: Variables<'_>) -> String {
    match path.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
            format!("{}{rest}", home(variable).trim_end_matches('/'))
        }
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(name: &str) -> Option<String> {
        (name == "HOME").then(|| "/home/user".to_owned())
    }

    #[test]
    fn a_directory_gives_its_yaml_files_in_order() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["b.yaml", "a.yml", "c.txt", ".hidden"] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        std::fs::create_dir(directory.path().join("d.yaml")).unwrap();
        let files = collect(&[directory.path().to_owned()], &[]);
        let names: Vec<_> = files.iter().map(|file| file.file_name().unwrap()).collect();
        assert_eq!(names, ["a.yml", "b.yaml"]);
    }

    #[test]
    fn only_default_paths_may_be_missing() {
        let [there, not] = ["/nowhere/a.yaml", "/nowhere/b.yaml"].map(PathBuf::from);
        assert_eq!(collect(&[there.clone(), not.clone()], &[not]), [there]);
    }

    #[test]
    fn home_is_expanded_at_the_beginning_only() {
        assert_eq!(expand_home("~/x", &variables), "/home/user/x");
        assert_eq!(expand_home("~", &variables), "/home/user");
        assert_eq!(expand_home("/a/~", &variables), "/a/~");
        assert_eq!(expand_home("~other/x", &variables), "~other/x");
    }

    #[test]
    fn the_default_places_are_those_of_borgmatic() {
        let expected = [
            "/etc/borgmatic/config.yaml",
            "/etc/borgmatic.d",
            "/home/user/.config/borgmatic/config.yaml",
            "/home/user/.config/borgmatic.d",
        ];
        assert_eq!(default_paths(&variables), expected.map(PathBuf::from));
    }
}
