//! The traffic log: one row for each thing told of a flow, for spreadsheets, the dashboard and training.
//!
//! In: batches of rows of every analysis. Out: `traffic_log.csv` and older files beside it; their last rows.
//! Invariant: a file has one heading, its first line, and only rows that belong under it; a crash leaves at most one line
//! that is not complete, which is cut off before the next is written; no text in it is a formula; whoever tells is never
//! waited for, and what is lost on the way is counted by reason.
//! Deliberately elsewhere: the numbers (`features`), what the model says (`detect`), learning from the rows (`train`).

mod file;
mod names;
mod room;
mod row;
mod tail;
#[cfg(test)]
mod tests;

pub use room::{Deps, TrafficRoom, open};
pub use tail::{Tail, Wanted, tail};

use crate::config::TrafficLogConfig;
use crate::detect::Row;
use crate::files::rotating::LineError;
use crate::types::Clock;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Rows of one sensor, in the order in which they were told.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Who saw the flows.
    pub sensor: Arc<str>,
    /// How their clock stands to that on the wall.
    pub clock: Clock,
    /// What was told of them.
    pub rows: Vec<Row>,
}

/// The log, and rows on their way to it. The room lends it to a thread that may wait for the disk; whoever has all rows writes
/// them at once.
#[derive(Debug)]
pub struct Recorder {
    file: file::LogFile,
    pen: row::Pen,
    lines: VecDeque<file::Line>,
}

impl Recorder {
    /// Of rows of `host`.
    pub fn new(config: &TrafficLogConfig, host: &str) -> Self {
        Self {
            file: file::LogFile::new(config.clone()),
            pen: row::Pen::new(host.to_owned()),
            lines: VecDeque::new(),
        }
    }

    /// Appends batches, and what waited before them.
    ///
    /// # Errors
    /// [`LineError`] where it cannot be written; what was not waits for the next time.
    pub fn write(&mut self, batches: &[Batch]) -> Result<(), LineError> {
        for batch in batches {
            for row in &batch.rows {
                let (day, text) = self.pen.line(&batch.sensor, batch.clock, row);
                self.lines.push_back(file::Line { day, text });
            }
        }
        self.file.append(&mut self.lines)
    }
}

/// The way to the log, for each analysis; it never waits there (`try_send`).
pub type Sender = mpsc::Sender<Batch>;
