//! How far long work has come: one line on standard error, where that is a terminal, and nothing anywhere else.
//!
//! The line goes when the work is over, however it ends. Nothing of the terminal is changed for it, so that Ctrl-C leaves
//! nothing to put right.

use super::output::escape_line;
use crate::files::Meter;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

/// How often the line is drawn anew where nothing moves.
const TICK: Duration = Duration::from_millis(250);

/// The line; dropped, it is gone.
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Files that are read: their bytes, where all of them are plain files.
    pub(super) fn reading<'p>(what: &str, files: impl IntoIterator<Item = &'p Path>) -> Self {
        let size = |path: &Path| {
            let data = std::fs::metadata(path).ok()?;
            data.is_file().then_some(data.len())
        };
        let total = files
            .into_iter()
            .map(size)
            .sum::<Option<u64>>()
            .filter(|total| *total > 0);
        let known = "{msg} [{wide_bar}] {bytes} of {total_bytes}, {binary_bytes_per_sec}, {eta} left";
        let unknown = "{spinner} {msg} {bytes}, {binary_bytes_per_sec}, {elapsed}";
        Self::drawn(what, total, if total.is_some() { known } else { unknown })
    }

    /// So many pieces of work.
    pub(super) fn pieces(what: &str, unit: &str, total: Option<u64>) -> Self {
        let total = total.filter(|total| *total > 0);
        let template = if total.is_some() {
            format!("{{msg}} [{{wide_bar}}] {{pos}} of {{len}} {unit}, {{per_sec}}, {{eta}} left")
        } else {
            format!("{{spinner}} {{msg}} {{pos}} {unit}, {{per_sec}}, {{elapsed}}")
        };
        Self::drawn(what, total, &template)
    }

    /// Something that does not say how far it is.
    pub(super) fn waiting(what: &str) -> Self {
        Self::drawn(what, None, "{spinner} {msg}, {elapsed}")
    }

    fn drawn(what: &str, total: Option<u64>, template: &str) -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        if dumb || !std::io::stderr().is_terminal() {
            return Self(ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden()));
        }
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        // A template that is wrong is the plain bar.
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style.progress_chars("##-").tick_chars("-\\|/-"));
        bar.set_message(escape_line(what));
        bar.enable_steady_tick(TICK);
        Self(bar)
    }

    /// Where the work tells how far it is.
    pub(super) fn meter(&self) -> Meter {
        if self.0.is_hidden() {
            return Meter::default();
        }
        let bar = self.0.clone();
        Meter::new(move |more| bar.inc(more))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
