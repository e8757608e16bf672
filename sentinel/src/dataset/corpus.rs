//! From captures and their labels to a table.

use super::Labels;
use super::error::{DatasetError, io};
use super::list::{Flagged, Listed, ends, flagged, list, name_of};
use super::rule::Rule;
use super::session::Session;
use super::table::{Source, Table};
use crate::config::Config;
use crate::features::FeatureRecord;
use crate::files::Meter;
use crate::replay::{FeatureReplay, FeatureSummary};
use crate::sensor::pcap::{Capture, CaptureError};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Who takes in rows: where one is from, its label, its family, its record.
pub type Sink<'a> = &'a mut dyn FnMut(&Source, Option<bool>, &str, &FeatureRecord);

/// What became of the captures.
#[derive(Debug, Default, Serialize)]
pub struct Summary {
    /// Captures read to their end.
    pub captures: u64,
    /// Captures that broke off; what came before is in the table. Name and fault.
    pub broken: Vec<(String, String)>,
    /// Captures that gave nothing. Name and fault.
    pub unreadable: Vec<(String, String)>,
    /// Packets read.
    pub packets: u64,
    /// Packets that are no IP, or cut short, or contradict themselves.
    pub unread: u64,
    /// Packets stamped earlier than their predecessor.
    pub out_of_order: u64,
    /// Rows left out because no rule knows their label.
    pub unlabelled: u64,
    /// Rows whose windows may be short of something that had to make room.
    pub evictions: u64,
    /// Rows that came and rows kept, by family.
    pub families: BTreeMap<String, (u64, u64)>,
}

/// Makes a table of one capture.
///
/// # Errors
/// [`DatasetError`]. A capture that breaks off is none: what came before is written, and the summary says so.
pub fn capture(config: &Config, file: &Path, labels: &Labels, mut table: Table) -> Result<Summary, DatasetError> {
    let mut each = |source: &Source, label: Option<bool>, family: &str, record: &FeatureRecord| {
        table.add(source, label, family, record);
    };
    let mut summary = rows(config, file, labels, &mut each, &Meter::default())?;
    summary.families = table.finish()?;
    Ok(summary)
}

/// Hands over the rows of one capture, in order: where each is from, its label (none where nothing is known), its family,
/// its record. The meter is told of the capture's bytes.
///
/// # Errors
/// As [`capture`].
pub fn rows(
    config: &Config,
    file: &Path,
    labels: &Labels,
    each: Sink<'_>,
    meter: &Meter,
) -> Result<Summary, DatasetError> {
    let mut summary = Summary::default();
    let name = name_of(file);
    let source = Source {
        origin: name.clone(),
        group: name.clone(),
    };
    match labels {
        Labels::List(path) => {
            let mut listed = list(path)?.into_iter();
            let listed = listed.find(|l| name_of(Path::new(&l.file)) == name);
            let listed = listed.ok_or_else(|| DatasetError::NotListed {
                file: name,
                list: path.clone(),
            })?;
            by_rule(config, file, &listed, &mut summary, each, meter)
        }
        Labels::Session(session) => by_session(config, file, &source, session, &mut summary, each, meter),
        Labels::Benign => walk(config, file, &mut summary, meter, |record, _| {
            each(&source, Some(false), "benign", record);
        }),
        Labels::Unknown => walk(config, file, &mut summary, meter, |record, _| {
            each(&source, None, "unknown", record);
        }),
    }
    .map_err(|source| DatasetError::Capture {
        path: file.to_owned(),
        source,
    })?;
    Ok(summary)
}

/// Makes a table of a directory: of the captures on its `labels.csv`, or of a session, its captures beside
/// `attacks.jsonl`.
///
/// # Errors
/// [`DatasetError`]. A capture that cannot be read is none: it is counted and named in the summary.
pub fn directory(config: &Config, directory: &Path, mut table: Table) -> Result<Summary, DatasetError> {
    let mut summary = Summary::default();
    let mut each = |source: &Source, label: Option<bool>, family: &str, record: &FeatureRecord| {
        table.add(source, label, family, record);
    };
    let none = Meter::default();
    let labels = directory.join("labels.csv");
    let attacks = directory.join("attacks.jsonl");
    if labels.exists() {
        for listed in list(&labels)? {
            let file = directory.join(&listed.file);
            if let Err(error) = by_rule(config, &file, &listed, &mut summary, &mut each, &none) {
                summary.unreadable.push((listed.file, chain(&error)));
            }
        }
    } else if attacks.exists() {
        let session = Session::read(&attacks)?;
        for file in captures(directory)? {
            let name = name_of(&file);
            let source = Source {
                origin: name.clone(),
                group: name.clone(),
            };
            if let Err(error) = by_session(config, &file, &source, &session, &mut summary, &mut each, &none) {
                summary.unreadable.push((name, chain(&error)));
            }
        }
    } else {
        return Err(DatasetError::NoLabels {
            path: directory.to_owned(),
        });
    }
    summary.families = table.finish()?;
    Ok(summary)
}

fn by_session(
    config: &Config,
    file: &Path,
    source: &Source,
    session: &Session,
    summary: &mut Summary,
    each: Sink<'_>,
    meter: &Meter,
) -> Result<(), CaptureError> {
    walk(config, file, summary, meter, |record, summary| {
        match session.label(record) {
            Some((label, family)) => each(source, Some(label), family, record),
            None => summary.unlabelled += 1,
        }
    })
}

fn by_rule(
    config: &Config,
    file: &Path,
    listed: &Listed,
    summary: &mut Summary,
    each: Sink<'_>,
    meter: &Meter,
) -> Result<(), CaptureError> {
    let flagged = if listed.rule == Rule::Packets {
        flagged(file)?
    } else {
        Flagged::new()
    };
    walk(config, file, summary, meter, |record, summary| {
        let ends = ends(
            (record.source.into(), record.source_port),
            (record.target.ip.into(), record.target.port),
        );
        let hit = flagged
            .range((ends, record.start.0)..=(ends, record.end.0))
            .next()
            .is_some();
        match listed.rule.judge(record, hit) {
            Some(true) => each(&listed.source, Some(true), &listed.family, record),
            // The list's family is that of the attack, or the kind of a benign capture, which no model learns.
            Some(false) => each(&listed.source, Some(false), "benign", record),
            None => summary.unlabelled += 1,
        }
    })
}

/// Walks a capture and hands over its records.
fn walk(
    config: &Config,
    file: &Path,
    summary: &mut Summary,
    meter: &Meter,
    mut each: impl FnMut(&FeatureRecord, &mut Summary),
) -> Result<(), CaptureError> {
    let mut capture = Capture::open_metered(file, meter)?;
    let mut replay = FeatureReplay::new(config);
    let mut fault = None;
    while let Some(frame) = capture.next() {
        match frame {
            Ok(frame) => replay.frame(frame.at_ns, frame.bytes),
            Err(error) => fault = Some(error),
        }
        for record in replay.records().drain(..) {
            each(&record, summary);
        }
    }
    let FeatureSummary {
        packets,
        not_ip,
        unread,
        out_of_order,
        clock_steps,
        flow,
        features,
    } = replay.finish();
    for record in replay.records().drain(..) {
        each(&record, summary);
    }
    summary.packets += packets;
    summary.unread += not_ip + unread;
    summary.out_of_order += out_of_order + clock_steps;
    summary.evictions += flow.flows + features.total();
    match fault {
        None => summary.captures += 1,
        Some(error) => summary.broken.push((name_of(file), chain(&error))),
    }
    Ok(())
}

/// Captures in a directory, by name.
fn captures(directory: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(io(directory))? {
        let path = entry.map_err(io(directory))?.path();
        let name = path
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        if [".pcap", ".pcapng", ".pcap.gz", ".pcapng.gz"]
            .iter()
            .any(|end| name.ends_with(end))
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
