//! Rows of tables and of captures, for whoever learns from them.

use crate::cli::Global;
use crate::cli::exit::Failure;
use crate::cli::output::Output;
use crate::cli::progress::Progress;
use crate::dataset::{self, DatasetError, Labels, Session, Summary};
use crate::train::{BENIGN, Fresh, LeftOut, Rows, Table, TableError, labels};
use std::path::{Path, PathBuf};

/// A capture and its attacks; without any all of it is benign.
pub(super) type Captured<'a> = (&'a Path, Option<&'a Path>);

/// Captures with the truths that belong to them, in order.
///
/// # Errors
/// There is not one for each.
pub(super) fn pairs<'a>(captures: &'a [PathBuf], truths: &'a [PathBuf]) -> Result<Vec<Captured<'a>>, Failure> {
    if captures.len() != truths.len() {
        return Err(Failure::Usage(format!(
            "{} captures and {} truths: each --pcap takes a --truth behind it (an empty file where all is benign)",
            captures.len(),
            truths.len()
        )));
    }
    let pair = |(capture, truth): (&'a PathBuf, &'a PathBuf)| (capture.as_path(), Some(truth.as_path()));
    Ok(captures.iter().zip(truths).map(pair).collect())
}

/// The rows of tables, and then those of captures. A capture gives the rows that `sentinel model features` would write
/// and `--features` would read back, to the bit. With `all_benign` a table's row without a label is benign.
///
/// # Errors
/// The first thing wrong; a capture that breaks off, or has no flow, and a truth that is about another capture among them.
pub(super) fn gather(
    global: &Global,
    tables: &[PathBuf],
    captures: &[Captured<'_>],
    all_benign: bool,
) -> Result<Table, Failure> {
    let files = tables.iter().map(PathBuf::as_path);
    let progress = Progress::reading("Reading", files.chain(captures.iter().map(|(path, _)| *path)));
    let meter = progress.meter();
    let mut rows = Rows::default().with_meter(meter.clone());
    if all_benign {
        rows = rows.all_benign();
    }
    for path in tables {
        rows.file(path)?;
    }
    if captures.is_empty() {
        return Ok(rows.finish());
    }
    let config = global.load()?;
    for (path, truth) in captures {
        let session = truth.map(Session::read).transpose()?;
        if let (Some(session), Some(truth)) = (&session, truth) {
            for (number, event) in session.truth().events.iter().enumerate() {
                labels::check(&event.family)
                    .map_err(|what| anyhow::anyhow!("{}: attack {}: {what}", truth.display(), number + 1))?;
            }
        }
        let attacks = session.as_ref().map_or(0, |session| session.truth().events.len());
        let labels = session.map_or(Labels::Benign, Labels::Session);
        let (mut found, before) = (false, rows.len());
        let mut wrong: Option<TableError> = None;
        let summary = dataset::rows(
            &config,
            path,
            &labels,
            &mut |source, label, family, record| {
                let (Some(attack), None) = (label, &wrong) else {
                    return;
                };
                found |= attack;
                let row = Fresh {
                    origin: &source.origin,
                    group: &source.group,
                    family: if attack { family } else { BENIGN },
                    attack,
                    start_ns: record.start.0,
                    source: record.source,
                    vector: &record.vector,
                };
                wrong = rows.add(path, &row).err();
            },
            &meter,
        )?;
        if let Some(error) = wrong {
            return Err(error.into());
        }
        sound(path, &summary, rows.len() - before)?;
        if let Some(truth) = truth.filter(|_| attacks > 0 && !found) {
            return Err(DatasetError::Elsewhere {
                path: path.to_path_buf(),
                truth: truth.to_owned(),
                attacks,
            }
            .into());
        }
    }
    Ok(rows.finish())
}

/// Whether a capture is whole and holds something.
fn sound(path: &Path, summary: &Summary, rows: usize) -> Result<(), DatasetError> {
    if let Some((_, fault)) = summary.broken.first() {
        return Err(DatasetError::Broken {
            path: path.to_owned(),
            fault: fault.clone(),
        });
    }
    if rows > 0 {
        return Ok(());
    }
    Err(DatasetError::NoFlows {
        path: path.to_owned(),
        packets: summary.packets,
        unread: summary.unread,
        unlabelled: summary.unlabelled,
    })
}

/// Says which rows of the files were not taken.
pub(super) fn tell(output: &Output, left_out: &LeftOut) {
    if *left_out != LeftOut::default() {
        output.line(&format!("Rows left out: {left_out}."));
    }
}
