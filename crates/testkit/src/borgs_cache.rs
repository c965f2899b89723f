//! What is in Borg's own cache of a repository, judged by real Borg's library.

use std::path::Path;

use serde_json::json;

use crate::{Borg, Sandbox, Version};

const SCRIPT: &str = include_str!("borgs_cache.py");

/// What official Borg makes of its cache.
#[derive(Debug)]
pub struct BorgsCache {
    /// It belongs to the manifest that the repository has.
    pub current: bool,
    /// How many chunks Borg counts when it reads all archives.
    pub chunks: u64,
    /// Chunks of which the cache says something else than that count.
    pub differences: Vec<String>,
}

impl BorgsCache {
    /// Reads the cache that the sandbox's home has of a repository, and counts anew.
    pub fn read(sandbox: &Sandbox, repository: &Path) -> Self {
        let python = Borg::official(Version::V14).python();
        let order = json!({ "repository": repository }).to_string();
        let run = sandbox.run_of(&python).args(["-c", SCRIPT]);
        let found = run.stdin(order.as_bytes()).go().ok().json();
        let differences = found["differences"].as_array().unwrap().iter();
        Self {
            current: found["current"].as_bool().unwrap(),
            chunks: found["chunks"].as_u64().unwrap(),
            differences: differences.map(ToString::to_string).collect(),
        }
    }

    /// Asserts that Borg would use it as it is, and that every count is right.
    #[track_caller]
    pub fn assert_right(&self, about: &str) {
        assert!(self.current, "after {about}: the cache is old");
        assert_eq!(self.differences, Vec::<String>::new(), "after {about}");
    }
}
