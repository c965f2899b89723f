//! Transactional object stores in the BorgBackup 1.x repository layout.
