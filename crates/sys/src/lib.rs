//! The operating system as Fastness uses it: the only crate that may hold `unsafe` code.
