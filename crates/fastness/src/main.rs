//! The `fastness` binary: picks the persona by the name it is called under.

fn main() {}
