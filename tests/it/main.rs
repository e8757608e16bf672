//! Tests that face real things.
fn main() {}
