//! A list of captures, a line each, and packets flagged one by one.

use super::csv;
use super::error::{DatasetError, io};
use super::rule::Rule;
use super::table::Source;
use crate::sensor::pcap::{Capture, CaptureError};
use sentinel_common::addr::Addr;
use sentinel_common::packet::parse_ethernet;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path};

/// A line of a `labels.csv`.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) file: String,
    pub(super) rule: Rule,
    pub(super) family: String,
    pub(super) source: Source,
}

/// Two ends of a flow, smaller first, whoever opened it.
pub(super) type Ends = [(Addr, u16); 2];

/// Flagged packets of a capture: their ends, and when, ns.
pub(super) type Flagged = BTreeSet<(Ends, u64)>;

/// Reads a `labels.csv`: a header, then a capture a line; columns are found by name.
pub(super) fn list(path: &Path) -> Result<Vec<Listed>, DatasetError> {
    let text = fs::read_to_string(path).map_err(io(path))?;
    let fault = |line: usize, cause: String| DatasetError::Line {
        path: path.to_owned(),
        line: line + 1,
        cause,
    };
    let names = csv::values(text.lines().next().unwrap_or_default()).unwrap_or_default();
    let column = |name: &str| {
        let place = names.iter().position(|n| n == name);
        place.ok_or_else(|| fault(0, format!("no column `{name}`: the first line names them")))
    };
    let wanted = ["file", "label", "family", "attackers", "group", "origin"];
    let places: Vec<usize> = wanted.into_iter().map(column).collect::<Result<_, _>>()?;
    let mut all = Vec::new();
    for (number, line) in text.lines().enumerate().skip(1) {
        if line.trim().is_empty() {
            continue;
        }
        let values = csv::values(line).ok_or_else(|| fault(number, "a quote is not closed".into()))?;
        let value = |n: usize| {
            let value = values.get(places[n]).cloned();
            value.ok_or_else(|| fault(number, format!("no value for `{}`: the line is cut short", wanted[n])))
        };
        let (file, family) = (value(0)?, value(2)?);
        // A list is no way out of its directory.
        if Path::new(&file)
            .components()
            .any(|c| !matches!(c, Component::Normal(_)))
        {
            let cause = format!("`{file}` must lie under the list's directory, named without `..`");
            return Err(fault(number, cause));
        }
        let rule = Rule::parse(&value(1)?, &value(3)?).map_err(|cause| fault(number, cause))?;
        all.push(Listed {
            file,
            rule,
            family,
            source: Source {
                origin: value(5)?,
                group: value(4)?,
            },
        });
    }
    Ok(all)
}

/// The flagged packets of a capture, by the file beside it: `NUMBER;0` or `NUMBER;1`, from 1.
pub(super) fn flagged(file: &Path) -> Result<Flagged, CaptureError> {
    let beside = file.with_file_name(format!("{}_labeled.csv", name_of(file)));
    let text = fs::read_to_string(&beside).map_err(|source| CaptureError::Io { path: beside, source })?;
    let numbers: BTreeSet<u64> = text
        .lines()
        .filter_map(|line| line.split_once(';'))
        .filter(|(_, flag)| flag.trim() == "1")
        .filter_map(|(number, _)| number.trim().parse().ok())
        .collect();
    let mut flagged = Flagged::new();
    let mut capture = Capture::open(file)?;
    let mut number = 0;
    while let Some(Ok(frame)) = capture.next() {
        number += 1;
        if numbers.contains(&number)
            && let Ok(packet) = parse_ethernet(&frame.bytes)
        {
            let ends = ends((packet.src, packet.src_port), (packet.dst, packet.dst_port));
            flagged.insert((ends, frame.at_ns));
        }
    }
    Ok(flagged)
}

pub(super) fn ends(a: (Addr, u16), b: (Addr, u16)) -> Ends {
    if a <= b { [a, b] } else { [b, a] }
}

/// The name of a capture or log without its folder and endings.
pub(super) fn name_of(file: &Path) -> String {
    let name = file
        .file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    let known = [".pcapng", ".pcap", ".log", ".log.labeled", ".binetflow"];
    let name = known.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
    name.to_owned()
}
