//! How a row is written.

use super::csv::cell;
use super::error::{DatasetError, io as fault};
use super::sample::Sample;
use crate::features::{FEATURES, FeatureRecord};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Columns in front of the features: where the row is from, its label (`y`: 1 for an attack, empty where unknown), when
/// (unix seconds), who, and whether the flow has an earlier record (`cont`).
pub const HEAD: [&str; 12] = [
    "origin", "group", "family", "y", "t0", "t1", "src", "dst", "sport", "dport", "proto", "cont",
];

/// Where a row is from.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// Network, laboratory or collection.
    pub origin: String,
    /// Session, capture or host: what must never be split between training and judging.
    pub group: String,
}

/// A table on its way to a file. It replaces that file when it is complete, not before; given up, it leaves nothing.
///
/// Rows go to the disk as they come; with a bound to the rows of a group and family, those drawn so far are held in
/// memory instead.
pub struct Table {
    path: PathBuf,
    part: PathBuf,
    out: Option<Out>,
    sample: Option<Sample>,
    families: BTreeMap<String, (u64, u64)>,
    /// Why a row could not be written.
    fault: Option<io::Error>,
}

/// Where rows go.
enum Out {
    Plain(BufWriter<File>),
    Packed(GzEncoder<BufWriter<File>>),
}

impl Out {
    fn line(&mut self, line: &str) -> io::Result<()> {
        match self {
            Self::Plain(file) => writeln!(file, "{line}"),
            Self::Packed(file) => writeln!(file, "{line}"),
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Plain(mut file) => file.flush(),
            Self::Packed(file) => file.finish()?.flush(),
        }
    }
}

impl Table {
    /// A table for `path`, compressed where that ends in `.gz`; at most so many rows of each group and family.
    ///
    /// # Errors
    /// [`DatasetError::Io`] where no file can be made beside it.
    pub fn new(path: &Path, most: Option<usize>) -> Result<Self, DatasetError> {
        let mut part = path.to_owned().into_os_string();
        part.push(".part");
        let part = PathBuf::from(part);
        let file = BufWriter::new(File::create(&part).map_err(fault(&part))?);
        let mut out = if path.extension().is_some_and(|e| e == "gz") {
            Out::Packed(GzEncoder::new(file, Compression::default()))
        } else {
            Out::Plain(file)
        };
        let head = out.line(&heading());
        Ok(Self {
            path: path.to_owned(),
            part,
            out: Some(out),
            sample: most.map(Sample::new),
            families: BTreeMap::new(),
            fault: head.err(),
        })
    }

    /// Adds a row. A disk that is full is told at the end.
    pub(super) fn add(&mut self, source: &Source, label: Option<bool>, family: &str, record: &FeatureRecord) {
        let line = line(source, label, family, [record.start.0, record.end.0], record);
        if let Some(sample) = &mut self.sample {
            sample.add(&source.group, family, line);
            return;
        }
        self.put(&line);
        let counts = self.families.entry(family.to_owned()).or_default();
        *counts = (counts.0 + 1, counts.1 + 1);
    }

    /// Writes what is left and puts the file in its place. Gives rows that came and rows kept, by family.
    ///
    /// # Errors
    /// [`DatasetError::Io`].
    pub fn finish(mut self) -> Result<BTreeMap<String, (u64, u64)>, DatasetError> {
        if let Some(sample) = self.sample.take() {
            let (families, lines) = sample.finish();
            self.families = families;
            for line in &lines {
                self.put(line);
            }
        }
        let written = match (self.fault.take(), self.out.take()) {
            (Some(error), _) => Err(error),
            (None, Some(out)) => out.finish(),
            (None, None) => Ok(()),
        };
        written
            .and_then(|()| fs::rename(&self.part, &self.path))
            .map_err(fault(&self.path))?;
        Ok(std::mem::take(&mut self.families))
    }

    fn put(&mut self, line: &str) {
        if let (None, Some(out)) = (&self.fault, &mut self.out) {
            self.fault = out.line(line).err();
        }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // After a table that is complete there is none.
        let _ = fs::remove_file(&self.part);
    }
}

/// The columns' names, as the first line has them.
pub(crate) fn heading() -> String {
    let names = HEAD.into_iter().chain(FEATURES.iter().map(|feature| feature.name));
    names.collect::<Vec<_>>().join(",")
}

/// A row without its end of line. `span` is the flow's first and latest packet, ns since 1970.
pub(crate) fn line(
    source: &Source,
    label: Option<bool>,
    family: &str,
    span: [u64; 2],
    record: &FeatureRecord,
) -> String {
    let label = match label {
        Some(true) => "1",
        Some(false) => "0",
        None => "",
    };
    let time = |ns: u64| format!("{}.{:06}", ns / 1_000_000_000, ns % 1_000_000_000 / 1000);
    let mut line = format!(
        "{},{},{},{label},{},{},{},{},{},{},{},{}",
        cell(&source.origin),
        cell(&source.group),
        cell(family),
        time(span[0]),
        time(span[1]),
        record.source,
        record.target.ip,
        record.source_port,
        record.target.port,
        record.target.proto,
        u8::from(record.continued),
    );
    line.reserve(record.vector.0.len() * 8);
    for value in record.vector.0 {
        line.push(',');
        number(&mut line, value);
    }
    line
}

/// Appends the shortest text that reads back as the same number, as `Display` writes it and several times as fast: most of
/// them are whole.
fn number(line: &mut String, value: f64) {
    let size = value.abs();
    if size < 1e15 && value.fract() == 0.0 && !(value == 0.0 && value.is_sign_negative()) {
        line.push_str(itoa::Buffer::new().format(value as i64));
    } else if (1e-4..1e15).contains(&size) {
        line.push_str(ryu::Buffer::new().format_finite(value));
    } else {
        let _ = write!(line, "{value}");
    }
}

#[cfg(test)]
mod tests {
    use super::number;
    use proptest::prelude::*;

    fn written(value: f64) -> String {
        let mut text = String::new();
        number(&mut text, value);
        text
    }

    proptest! {
        #[test]
        fn a_number_is_written_as_shortly_as_display_does_and_read_as_the_same(value in prop_oneof![
            any::<f64>(), -1e6..1e6, 0.0..1.0, (-1_000_000_i32..1_000_000).prop_map(f64::from), (0_u64..u64::MAX).prop_map(|n| n as f64 / 1e3)
        ]) {
            let (text, display) = (written(value), value.to_string());
            // Halfway between two that are as short either is right.
            prop_assert_eq!(text.len(), display.len(), "{} {}", text, display);
            let read: f64 = text.parse().unwrap();
            prop_assert!(value.is_nan() || read.to_bits() == value.to_bits(), "{} {}", text, value);
        }
    }

    #[test]
    fn what_is_no_plain_number_too() {
        for value in [
            0.0,
            -0.0,
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MIN_POSITIVE,
            1e15,
            1e-5,
            0.1,
            1e300,
        ] {
            assert_eq!(written(value), value.to_string());
        }
    }
}
