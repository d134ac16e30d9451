//! Tasks around the workspace.
fn main() {}
