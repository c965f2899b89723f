//! Which archives go, by their age.
//!
//! [`rules`] decides, as a pure function; deleting is done by others.

pub mod rules;
