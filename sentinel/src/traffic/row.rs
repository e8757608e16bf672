//! How a row is written: what a table for training has, with who saw it and what the model said in front.

use super::names::{self, Day};
use crate::dataset::{self, Source};
use crate::detect::{Row, Said};
use crate::features::VERSION;
use crate::model::Level;
use crate::types::{Clock, TrafficLevel};

/// Columns in front of a table's. The first is named `schema_N` and says N again in each row, so that rows of another
/// schema are known wherever they were copied to.
pub(super) const FRONT: usize = 5;

/// The first line of every file.
pub(super) fn heading() -> String {
    format!("schema_{VERSION},at,sensor,score,level,{}", dataset::heading())
}

/// Writes rows of one host.
#[derive(Debug)]
pub(super) struct Pen {
    source: Source,
    host: String,
    day: Option<Day>,
}

impl Pen {
    /// Rows are of the origin `host`; those of a day are a group, which training does not split.
    pub(super) fn new(host: String) -> Self {
        Self {
            source: Source {
                origin: host.clone(),
                group: String::new(),
            },
            host,
            day: None,
        }
    }

    /// A row without its end of line, and the UTC day that it is of.
    pub(super) fn line(&mut self, sensor: &str, clock: Clock, row: &Row) -> (Day, String) {
        let record = &row.record;
        let at = clock.wall(record.at);
        let day = names::day_of(at.0);
        if self.day != Some(day) {
            self.day = Some(day);
            self.source.group = format!("{}/{}", self.host, names::date(day));
        }
        let (score, level) = said(row.said);
        let span = [record.start, record.end].map(|end| clock.wall(end).0.max(0) as u64);
        // The label is for whoever looks through the rows.
        let rest = dataset::line(&self.source, None, "", span, record);
        let sensor = dataset::cell(sensor);
        (day, format!("{VERSION},{at},{sensor},{score},{level},{rest}"))
    }
}

fn said(said: Option<Said>) -> (String, &'static str) {
    let Some(said) = said else {
        return (String::new(), "");
    };
    let level = said.level.map(|level| match level {
        Level::Benign => TrafficLevel::Benign,
        Level::Suspicious => TrafficLevel::Suspicious,
        Level::Flag => TrafficLevel::Flag,
    });
    let score = (said.score * 1e6).round() / 1e6;
    (score.to_string(), level.map_or("", TrafficLevel::as_str))
}
