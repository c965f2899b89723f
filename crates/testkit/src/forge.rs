//! Makes archives that no honest program would make, through real Borg's library.
//!
//! The repository is real and its checksums and MACs are right; only the items
//! are what the test says: paths that climb out, links to elsewhere, wrong sizes.

use std::path::Path;

use serde_json::{Value, json};

use crate::{Borg, Sandbox, Version};

const SCRIPT: &str = include_str!("forge.py");

/// A directory's mode bits.
pub const DIRECTORY: u32 = 0o040_755;
/// A regular file's mode bits.
pub const FILE: u32 = 0o100_644;
/// A symbolic link's mode bits.
pub const SYMLINK: u32 = 0o120_777;
/// A named pipe's mode bits.
pub const FIFO: u32 = 0o010_644;
/// A character device's mode bits.
pub const CHARACTER_DEVICE: u32 = 0o020_644;

/// Returns a directory item. Characters of names are bytes (latin-1).
pub fn directory(path: &str) -> Value {
    json!({"path": path, "mode": DIRECTORY})
}

/// Returns a regular file item.
pub fn file(path: &str, data: &str) -> Value {
    json!({"path": path, "mode": FILE, "data": data})
}

/// Returns a symbolic link item.
pub fn symlink(path: &str, target: &str) -> Value {
    json!({"path": path, "mode": SYMLINK, "source": target})
}

/// Returns a further name of a file that an earlier item of path `master` holds.
pub fn hardlink(path: &str, master: &str) -> Value {
    json!({"path": path, "mode": FILE, "source": master})
}

/// Adds archives of these items to a repository that real Borg knows.
pub fn archives(sandbox: &Sandbox, repository: &Path, archives: &[(&str, Vec<Value>)]) {
    let all: serde_json::Map<String, Value> = archives
        .iter()
        .map(|(name, items)| ((*name).to_owned(), Value::from(items.clone())))
        .collect();
    write(sandbox, &json!({"repository": repository, "archives": all}));
}

/// Adds values to the config in a repository's manifest, for example feature flags of the future.
pub fn manifest_config(sandbox: &Sandbox, repository: &Path, config: &Value) {
    write(
        sandbox,
        &json!({"repository": repository, "archives": {}, "manifest": config}),
    );
}

/// Takes the authentication of these archives away.
pub fn untagged(sandbox: &Sandbox, repository: &Path, archives: &[&str]) {
    write(
        sandbox,
        &json!({"repository": repository, "archives": {}, "untagged": archives}),
    );
}

/// Adds archives with the items of an archive without content, made at other times (in UTC, as
/// `2024-02-29T18:00:00.000000`): quicker than making each.
pub fn copies(sandbox: &Sandbox, repository: &Path, template: &str, copies: &[(String, String)]) {
    write(
        sandbox,
        &json!({"repository": repository, "archives": {}, "template": template, "copies": copies}),
    );
}

fn write(sandbox: &Sandbox, order: &Value) {
    let python = Borg::official(Version::V14).python();
    let run = sandbox
        .run_of(&python)
        .args(["-c", SCRIPT])
        .stdin(order.to_string().as_bytes());
    let _ = run.go().ok();
}
