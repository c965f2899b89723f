//! Archives that exist: their items, and what is done with whole archives.

pub mod items;
