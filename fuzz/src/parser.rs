//! Frames: the parser that the kernel programs and the agent share, against etherparse.

use crate::{Target, files, oracle};

/// The target.
pub const TARGET: Target = Target {
    name: "parser",
    run,
    seeds,
};

fn run(frame: &[u8]) {
    if let Err(differ) = oracle::compare(frame) {
        panic!("{differ}");
    }
}

/// The frames that once told the kernel and user space apart, or might.
fn seeds() -> Vec<Vec<u8>> {
    files("tests/fixtures/fuzz", ".hex")
        .into_iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .map(|text| {
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            let digits: Vec<char> = lines.flat_map(str::chars).filter(char::is_ascii_hexdigit).collect();
            let byte = |pair: &[char]| {
                pair.iter()
                    .fold(0, |sum, digit| sum * 16 + digit.to_digit(16).unwrap_or(0))
            };
            digits.chunks_exact(2).map(|pair| byte(pair) as u8).collect()
        })
        .collect()
}
