//! For `fuzz`: settings as a stranger may write them. No file that they name is read.

use super::dump::effective;
use super::load::{ENV_PREFIX, Reader};
use std::path::Path;

/// Reads a settings file and the environment (lines of `NAME=VALUE` behind a line of `%%`), and shows what came out.
pub fn settings(text: &str) {
    let (file, env) = text.split_once("\n%%\n").unwrap_or((text, ""));
    let mut reader = Reader::default();
    reader.text(Path::new("settings.yml"), file);
    for (name, value) in env.lines().filter_map(|line| line.split_once('=')) {
        if name.starts_with(ENV_PREFIX) {
            reader.variable(name, value);
        }
    }
    match reader.finish() {
        Ok(config) => drop(effective(&config)),
        Err(problems) => {
            assert!(!problems.is_empty(), "refused for nothing");
            for problem in problems {
                let steers = |c: char| c.is_control() && c != '\n';
                assert!(!problem.to_string().contains(steers), "{problem:?}");
            }
        }
    }
}
