//! The `terrane` binary: server and command line.
fn main() {}
