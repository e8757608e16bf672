//! Frames that once told the kernel and user space apart, or might: kept, and run first.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/fuzz")
}

/// The frames kept, by file. A file holds hexadecimal digits; lines that begin with `#` say what it is.
pub(super) fn frames() -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "hex"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder().display());
    files
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let digits: String = text
                .lines()
                .filter(|line| !line.starts_with('#'))
                .flat_map(str::chars)
                .filter(|c| !c.is_whitespace())
                .collect();
            let bytes = (0..digits.len() / 2).map(|n| u8::from_str_radix(&digits[2 * n..2 * n + 2], 16));
            let frame = bytes
                .collect::<Result<_, _>>()
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (path, frame)
        })
        .collect()
}

pub(super) fn hex(frame: &[u8]) -> String {
    frame.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// Keeps a frame, where the folder can be written to.
pub(super) fn keep(frame: &[u8], seed: u64, why: &str) -> PathBuf {
    let hex = hex(frame);
    let sum = frame.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let path = folder().join(format!("{sum:016x}.hex"));
    if let Err(error) = std::fs::write(&path, format!("# seed {seed}\n# {why}\n{hex}\n")) {
        println!("cannot keep the frame in {}: {error}", path.display());
    }
    path
}

/// The frame with everything left out, or set to zero, that the difference does not hang on.
pub(super) fn minimised(frame: &[u8], mut differs: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
    let mut best = frame.to_vec();
    for step in [256, 64, 16, 4, 1] {
        while best.len() >= 14 + step && differs(&best[..best.len() - step]) {
            best.truncate(best.len() - step);
        }
    }
    for at in 0..best.len() {
        let mut zeroed = best.clone();
        zeroed[at] = 0;
        if zeroed != best && differs(&zeroed) {
            best = zeroed;
        }
    }
    best
}

#[test]
fn a_frame_is_made_as_small_as_it_goes() {
    let frame: Vec<u8> = (0..=255).collect();
    let small = minimised(&frame, |frame| frame.get(40) == Some(&40) && frame.len() >= 30);
    assert_eq!((small.len(), small.iter().filter(|byte| **byte != 0).count()), (41, 1));
    assert_eq!(small[40], 40);
}
