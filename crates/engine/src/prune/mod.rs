//! Which archives go, by their age, and what that gives back.
//!
//! [`rules`] decides, as a pure function; deleting is done by others. [`space`] looks ahead.

pub mod rules;
pub mod space;
