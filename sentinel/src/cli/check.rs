//! `sentinel check`.

use super::Global;
use super::exit::Failure;
use super::output::Format;
use crate::config::Mode;
use serde_json::json;

/// Reads the configuration and says what it found; opens and binds nothing else.
pub(super) fn run(global: &Global) -> Result<(), Failure> {
    let files = global.files();
    let (config, _) = global.load_with_origins(&files)?;
    let output = global.output();
    if output.format() == Format::Json {
        output.json(&json!({ "ok": true, "files": files, "problems": [] }));
        return Ok(());
    }
    let mode = match config.mode {
        Mode::Simulation => "simulation",
        Mode::Production => "production",
    };
    let from = match files.as_slice() {
        [] => "built-in defaults".to_owned(),
        files => files
            .iter()
            .map(|file| file.display().to_string())
            .collect::<Vec<_>>()
            .join(", "),
    };
    output.line(&format!("{from}: ok, mode {mode}"));
    Ok(())
}
