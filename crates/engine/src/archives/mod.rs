//! Archives that exist: their items, and what is done with whole archives.

pub mod delete;
pub mod diff;
pub mod info;
pub mod items;
pub mod references;
pub mod rename;

#[cfg(test)]
mod tests;
