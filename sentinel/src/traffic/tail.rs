//! The last rows, read from the end of the file and of those before it.

use super::file::LONGEST;
use super::names;
use super::row::{self, FRONT};
use crate::dataset::{HEAD, values};
use crate::features::schema::index_of;
use crate::types::{Timestamp, TrafficLevel, TrafficRow};
use ipnet::IpNet;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// So many rows in a row that are too old, and what is before them is too.
const OLD: usize = 1000;
/// Bytes read for one answer at most: some ten thousand rows.
const BUDGET: u64 = 4 << 20;
/// Bytes read at once.
const BLOCK: u64 = 256 * 1024;

/// Which rows are asked for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// How many at most.
    pub limit: usize,
    /// With an end at this address or within this prefix.
    pub ip: Option<IpNet>,
    /// That reached one of these; all where it is empty.
    pub levels: Vec<TrafficLevel>,
    /// That this sensor told of.
    pub sensor: Option<String>,
    /// Told at or after this.
    pub since: Option<Timestamp>,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tail {
    /// The latest first.
    pub items: Vec<TrafficRow>,
    /// Rows that were looked at.
    pub looked_at: u64,
    /// Lines that are no rows.
    pub unreadable: u64,
    /// The oldest row that was looked at.
    pub reaches: Option<Timestamp>,
    /// Everything that is there was looked at, or all that was asked for found.
    pub complete: bool,
}

/// The last rows of the log at `path` that are wanted, the latest first. Reads four MiB at most, and blocks as long.
///
/// # Errors
/// What the system says, with the path in front.
pub fn tail(path: &Path, wanted: &Wanted) -> io::Result<Tail> {
    let named = |path: &Path, error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let mut look = Look {
        wanted,
        heading: format!("{}\n", row::heading()),
        budget: BUDGET,
        found: Tail::default(),
        seen: Vec::new(),
        old: 0,
        over: false,
    };
    // Listed after the log was read: what is moved aside in between is known again, and nothing is missed.
    look.path(path).map_err(|error| named(path, error))?;
    if !look.is_over() {
        let older = match names::all(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            older => older.map_err(|error| named(path, error))?,
        };
        for older in older.iter().rev() {
            if look.is_over() {
                break;
            }
            look.path(&older.path).map_err(|error| named(&older.path, error))?;
        }
    }
    look.found.complete = look.over || look.budget > 0;
    Ok(look.found)
}

struct Look<'a> {
    wanted: &'a Wanted,
    heading: String,
    budget: u64,
    found: Tail,
    /// Files that were read.
    seen: Vec<(u64, u64)>,
    /// Rows in a row that are older than wanted.
    old: usize,
    /// Nothing older is wanted.
    over: bool,
}

impl Look<'_> {
    fn is_over(&self) -> bool {
        self.over || self.budget == 0
    }

    /// One file, if it is there.
    fn path(&mut self, path: &Path) -> io::Result<()> {
        match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            file => self.file(&file?),
        }
    }

    fn file(&mut self, file: &File) -> io::Result<()> {
        let metadata = file.metadata()?;
        let identity = (metadata.dev(), metadata.ino());
        let start = self.heading.len() as u64;
        if self.seen.contains(&identity) || !metadata.is_file() || metadata.len() < start {
            return Ok(());
        }
        self.seen.push(identity);
        let mut first = vec![0; self.heading.len()];
        file.read_exact_at(&mut first, 0)?;
        if first != self.heading.as_bytes() {
            // Another schema has other columns.
            return Ok(());
        }
        let mut end = metadata.len();
        // What stands before the first end of line of the block behind.
        let mut carried: Vec<u8> = Vec::new();
        let mut last = true;
        while end > start && !self.is_over() {
            let size = BLOCK.min(end - start).min(self.budget);
            self.budget -= size;
            let mut block = vec![0; usize::try_from(size).unwrap_or_default()];
            end -= size;
            match file.read_exact_at(&mut block, end) {
                // Somebody cut it meanwhile.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                other => other?,
            }
            block.extend_from_slice(&carried);
            if std::mem::take(&mut last) {
                // A line that is being written is none yet.
                let whole = block.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                block.truncate(whole);
            }
            let from = if end == start {
                0
            } else {
                block
                    .iter()
                    .position(|byte| *byte == b'\n')
                    .map_or(block.len(), |at| at + 1)
            };
            self.lines(&block[from..]);
            block.truncate(from);
            carried = block;
            if carried.len() as u64 > LONGEST + BLOCK {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whole lines, the last first.
    fn lines(&mut self, block: &[u8]) {
        for line in block.rsplit(|byte| *byte == b'\n') {
            if line.is_empty() {
                continue;
            }
            if self.over {
                return;
            }
            match std::str::from_utf8(line).ok().and_then(parse) {
                Some(row) => self.row(row),
                None => self.found.unreadable += 1,
            }
        }
    }

    fn row(&mut self, row: TrafficRow) {
        let wanted = self.wanted;
        if wanted.since.is_some_and(|since| row.at < since) {
            // A sensor that was cut off tells of earlier times after later ones.
            self.old += 1;
            self.over = self.old >= OLD;
            return;
        }
        self.old = 0;
        self.found.looked_at += 1;
        self.found.reaches = Some(row.at);
        let by_level = wanted.levels.is_empty() || row.level.is_some_and(|level| wanted.levels.contains(&level));
        let by_sensor = wanted.sensor.as_ref().is_none_or(|sensor| *sensor == row.sensor);
        let by_ip = wanted
            .ip
            .is_none_or(|net| net.contains(&row.source) || net.contains(&row.destination));
        if by_level && by_sensor && by_ip {
            self.found.items.push(row);
            self.over = self.found.items.len() >= wanted.limit;
        }
    }
}

/// A line under our heading.
fn parse(line: &str) -> Option<TrafficRow> {
    let cells = values(line)?;
    let head = |name: &str| HEAD.iter().position(|known| *known == name).map(|at| FRONT + at);
    let feature = |name: &str| index_of(name).map(|at| FRONT + HEAD.len() + at);
    let cell = |at: Option<usize>| at.and_then(|at| cells.get(at)).map(String::as_str);
    let number = |name: &str| -> Option<f64> {
        let number: f64 = cell(feature(name))?.parse().ok()?;
        (number.is_finite() && number >= 0.0).then_some(number)
    };
    let (received, mean) = (number("r_n")?, number("r_lmean")?);
    Some(TrafficRow {
        at: cell(Some(1))?.parse().ok()?,
        sensor: cell(Some(2))?.to_owned(),
        source: cell(head("src"))?.parse().ok()?,
        source_port: cell(head("sport"))?.parse().ok()?,
        destination: cell(head("dst"))?.parse().ok()?,
        destination_port: cell(head("dport"))?.parse().ok()?,
        proto: cell(head("proto"))?.parse().ok()?,
        first_seen: seconds(cell(head("t0"))?)?,
        last_seen: seconds(cell(head("t1"))?)?,
        continued: cell(head("cont"))? == "1",
        packets_sent: number("f_n")? as u64,
        bytes_sent: number("f_b")? as u64,
        packets_received: received as u64,
        bytes_received: (received * mean).round() as u64,
        score: match cell(Some(3))? {
            "" => None,
            text => Some(text.parse().ok().filter(|score: &f64| score.is_finite())?),
        },
        level: match cell(Some(4))? {
            "" => None,
            "benign" => Some(TrafficLevel::Benign),
            "suspicious" => Some(TrafficLevel::Suspicious),
            "flag" => Some(TrafficLevel::Flag),
            _ => return None,
        },
    })
}

/// Unix seconds with six decimals.
fn seconds(text: &str) -> Option<Timestamp> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let (whole, micros): (i64, i64) = (whole.parse().ok()?, format!("{part:0<6}").get(..6)?.parse().ok()?);
    let ns = whole
        .checked_mul(1_000_000_000)?
        .checked_add(micros.checked_mul(1000)?)?;
    Some(Timestamp(ns))
}
