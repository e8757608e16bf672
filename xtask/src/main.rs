//! The work around `cargo build`.
fn main() {}
