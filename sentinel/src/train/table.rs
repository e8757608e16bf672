//! Tables of labelled flows.
//!
//! CSV with a heading, gzip or not. Columns are found by name: every feature of the schema, `origin`, `group` (session,
//! capture or host: what must never be split), `family`, `y` (1 for attacks) and `t0` (unix seconds); `src`, where it is
//! there, only counts sources. A column `schema_N` (the traffic log has one) says of which schema the features are, and
//! `sensor` who measured them. Further columns are not read.
//!
//! A label may stand in `y`, in `family`, or in both. What has none is no row to learn from: it is left out and counted, or
//! taken for benign where whoever asks says so.

use super::error::TableError;
use super::labels::{self, BENIGN};
use super::left_out::{LeftOut, knows_flags};
use crate::features::{FEATURES, VERSION, Vector, WIDTH};
use crate::files::{Meter, Metered};
use crate::model::{MAX_VALUE, UNKNOWN};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Rows over all tables: a gigabyte and a half of vectors.
pub const MAX_ROWS: usize = 4_000_000;
/// A longer line is no row.
const MAX_LINE: u64 = 64 * 1024;
/// Columns that say who it was; they are read as such, never trained on.
pub const IDENTITY: &[&str] = &[
    "src", "dst", "sport", "dport", "origin", "group", "family", "y", "t0", "t1",
];

/// What is known of a row besides its vector. Names are indices into the table's lists.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// Where it came from.
    pub origin: u16,
    /// What must not be split.
    pub group: u32,
    /// Its label.
    pub family: u16,
    /// An attack.
    pub attack: bool,
    /// Start, unix seconds.
    pub t0: f64,
    /// Who opened it.
    pub source: u32,
}

/// Rows of one or more files, in order.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Names of origins.
    pub origins: Vec<String>,
    /// Names of groups.
    pub groups: Vec<String>,
    /// Labels.
    pub families: Vec<String>,
    /// One each.
    pub rows: Vec<Row>,
    /// One each.
    pub vectors: Vec<Vector>,
    /// What the files held besides.
    pub left_out: LeftOut,
}

/// Names to numbers, in order of first appearance.
#[derive(Default)]
struct Names {
    numbers: HashMap<String, usize>,
    names: Vec<String>,
}

impl Names {
    fn number(&mut self, name: &str) -> usize {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.names.len();
        self.numbers.insert(name.to_owned(), number);
        self.names.push(name.to_owned());
        number
    }
}

/// A table on its way: rows of files and rows that were made just now, in the order in which they come.
#[derive(Default)]
pub struct Rows {
    origins: Names,
    groups: Names,
    families: Names,
    sources: Names,
    table: Table,
    meter: Meter,
    /// What has no label is benign.
    all_benign: bool,
}

/// Where each column stands.
struct Columns {
    features: [usize; WIDTH],
    origin: usize,
    group: usize,
    family: usize,
    y: usize,
    t0: usize,
    source: Option<usize>,
    sensor: Option<usize>,
    /// Where each row says of which schema it is.
    schema: Option<usize>,
    count: usize,
}

impl Table {
    /// Reads files in order.
    ///
    /// # Errors
    /// The first thing wrong, with file, line and mend.
    pub fn read(paths: &[PathBuf]) -> Result<Self, TableError> {
        let mut rows = Rows::default();
        for path in paths {
            rows.file(path)?;
        }
        Ok(rows.finish())
    }

    /// The same from text, for tests and for callers that have no file.
    ///
    /// # Errors
    /// The first thing wrong.
    pub fn parse(name: &str, text: &str) -> Result<Self, TableError> {
        let mut rows = Rows::default();
        rows.read(Path::new(name), text.as_bytes())?;
        Ok(rows.finish())
    }

    /// Rows for which `keep` holds, by index.
    #[must_use]
    pub fn filtered(&self, keep: impl Fn(usize) -> bool) -> Self {
        let kept = |at: &usize| keep(*at);
        Self {
            origins: self.origins.clone(),
            groups: self.groups.clone(),
            families: self.families.clone(),
            rows: (0..self.rows.len()).filter(kept).map(|at| self.rows[at]).collect(),
            vectors: (0..self.rows.len()).filter(kept).map(|at| self.vectors[at]).collect(),
            left_out: self.left_out,
        }
    }

    /// Label of a row.
    pub fn label(&self, row: usize) -> &str {
        &self.families[usize::from(self.rows[row].family)]
    }

    /// Origin of a row.
    pub fn origin(&self, row: usize) -> &str {
        &self.origins[usize::from(self.rows[row].origin)]
    }

    /// SHA-256 over labels, groups and vectors of all rows, in order.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for (at, (row, vector)) in self.rows.iter().zip(&self.vectors).enumerate() {
            for text in [self.origin(at), &self.groups[row.group as usize], self.label(at)] {
                hash.update((text.len() as u64).to_le_bytes());
                hash.update(text);
            }
            hash.update([u8::from(row.attack)]);
            hash.update(row.t0.to_le_bytes());
            for value in vector.0 {
                hash.update(value.to_le_bytes());
            }
        }
        hash.finalize().into()
    }
}

/// A row that is made just now.
#[derive(Clone, Copy, Debug)]
pub struct Fresh<'a> {
    /// Where it came from.
    pub origin: &'a str,
    /// What must not be split.
    pub group: &'a str,
    /// Its label.
    pub family: &'a str,
    /// An attack.
    pub attack: bool,
    /// Start, ns since 1970.
    pub start_ns: u64,
    /// Who opened it.
    pub source: IpAddr,
    /// The numbers.
    pub vector: &'a Vector,
}

impl Rows {
    /// Has `meter` told of the bytes of files.
    #[must_use]
    pub fn with_meter(mut self, meter: Meter) -> Self {
        self.meter = meter;
        self
    }

    /// Takes what has no label for benign, as whoever asks says it is.
    #[must_use]
    pub fn all_benign(mut self) -> Self {
        self.all_benign = true;
        self
    }

    /// Adds the rows of a file, gzip or not.
    ///
    /// # Errors
    /// The first thing wrong, with file, line and mend.
    pub fn file(&mut self, path: &Path) -> Result<(), TableError> {
        let failed = |error| TableError::Read {
            path: path.into(),
            error,
        };
        let mut file = BufReader::new(Metered(File::open(path).map_err(failed)?, self.meter.clone()));
        let zipped = file.fill_buf().map_err(failed)?.starts_with(&[0x1f, 0x8b]);
        if zipped {
            self.read(path, BufReader::new(flate2::bufread::MultiGzDecoder::new(file)))
        } else {
            self.read(path, file)
        }
    }

    /// Adds a row as a file would have it, so that the table is the same by either way. `path` is what it was made of.
    ///
    /// # Errors
    /// The label is unknown, or there is no room for more.
    pub fn add(&mut self, path: &Path, row: &Fresh<'_>) -> Result<(), TableError> {
        self.make_room(path)?;
        let wrong = |what: String| TableError::Made {
            path: path.into(),
            what,
        };
        labels::check(row.family).map_err(wrong)?;
        // A table has microseconds.
        let t0 = (row.start_ns / 1000) as f64 / 1e6;
        let source = row.source.to_string();
        let named = [row.origin, row.group, row.family];
        self.push(named, row.attack, t0, Some(&source), row.vector)
            .map_err(wrong)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.table.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.table.rows.is_empty()
    }

    fn make_room(&self, path: &Path) -> Result<(), TableError> {
        if self.table.rows.len() < MAX_ROWS {
            return Ok(());
        }
        Err(TableError::TooManyRows {
            path: path.into(),
            limit: MAX_ROWS,
        })
    }

    /// The table.
    #[must_use]
    pub fn finish(self) -> Table {
        Table {
            origins: self.origins.names,
            groups: self.groups.names,
            families: self.families.names,
            ..self.table
        }
    }

    fn read(&mut self, path: &Path, mut text: impl BufRead) -> Result<(), TableError> {
        let failed = |error| TableError::Read {
            path: path.into(),
            error,
        };
        let before = self.table.rows.len();
        let left_before = self.table.left_out;
        let mut line = Vec::new();
        let mut columns: Option<Columns> = None;
        for number in 1.. {
            line.clear();
            let read = text
                .by_ref()
                .take(MAX_LINE + 1)
                .read_until(b'\n', &mut line)
                .map_err(failed)?;
            if read == 0 {
                break;
            }
            let wrong = |what: String| TableError::Line {
                path: path.into(),
                line: number,
                what,
            };
            if read as u64 > MAX_LINE {
                return Err(wrong(format!(
                    "is longer than {MAX_LINE} bytes; this is no feature table"
                )));
            }
            let text =
                std::str::from_utf8(&line).map_err(|_| wrong("is no UTF-8 text; this is no feature table".into()))?;
            let whole = text.ends_with('\n');
            let text = text.trim_end_matches(['\n', '\r']);
            if text.is_empty() {
                continue;
            }
            if !whole && columns.as_ref().is_some_and(|columns| columns.schema.is_some()) {
                // The traffic log, which is being written to.
                self.table.left_out.unfinished += 1;
                break;
            }
            let fields =
                split(text).ok_or_else(|| wrong("has a quote that does not end; write the table again".into()))?;
            let Some(columns) = &columns else {
                columns = Some(heading(path, &fields)?);
                continue;
            };
            if fields.len() != columns.count {
                return Err(wrong(format!(
                    "has {} fields, the heading has {}; the file is cut off or not this table: write it again",
                    fields.len(),
                    columns.count
                )));
            }
            self.make_room(path)?;
            self.row(columns, &fields).map_err(wrong)?;
        }
        if self.table.rows.len() > before {
            return Ok(());
        }
        let left_out = self.table.left_out.since(left_before);
        Err(if left_out.unlabelled + left_out.sensor > 0 {
            TableError::NoneOfUse {
                path: path.into(),
                left_out,
            }
        } else {
            TableError::Empty { path: path.into() }
        })
    }

    fn row(&mut self, columns: &Columns, fields: &[String]) -> Result<(), String> {
        if let Some(schema) = columns.schema.map(|at| fields[at].trim())
            && schema != VERSION.to_string()
        {
            return Err(format!(
                "is of schema `{schema}` under a heading of schema {VERSION}; keep rows of each schema in files of their own"
            ));
        }
        if columns.sensor.is_some_and(|at| !knows_flags(&fields[at])) {
            self.table.left_out.sensor += 1;
            return Ok(());
        }
        let family = fields[columns.family].trim();
        let Some((attack, family)) = label(fields[columns.y].trim(), family, self.all_benign)? else {
            self.table.left_out.unlabelled += 1;
            return Ok(());
        };
        let mut vector = Vector([0.0; WIDTH]);
        for (at, value) in vector.0.iter_mut().enumerate() {
            *value = finite(FEATURES[at].name, &fields[columns.features[at]])?;
        }
        let named = [&fields[columns.origin], &fields[columns.group], family];
        let source = columns.source.map(|at| fields[at].as_str());
        self.push(named, attack, finite("t0", &fields[columns.t0])?, source, &vector)
    }

    fn push(
        &mut self,
        [origin, group, family]: [&str; 3],
        attack: bool,
        t0: f64,
        source: Option<&str>,
        vector: &Vector,
    ) -> Result<(), String> {
        self.table.rows.push(Row {
            origin: u16::try_from(self.origins.number(origin)).map_err(|_| "names too many origins".to_owned())?,
            group: self.groups.number(group) as u32,
            family: self.families.number(family) as u16,
            attack,
            t0,
            source: source.map_or(0, |source| self.sources.number(source) as u32),
        });
        self.table.vectors.push(*vector);
        Ok(())
    }
}

/// Whether it is an attack and its label, from what stands in `y` and `family`; `None` where neither says anything.
fn label<'a>(y: &str, family: &'a str, all_benign: bool) -> Result<Option<(bool, &'a str)>, String> {
    // `sentinel model features` writes `unknown` where nothing is known.
    let named = !matches!(family, "" | UNKNOWN);
    let attack = match (y, named) {
        ("0", _) => false,
        ("1", true) => true,
        ("1", false) => {
            return Err(format!(
                "y is 1 and family is `{family}`; say in `family` which attack it is, such as `scan` or `brute_force`"
            ));
        }
        ("", true) => family != BENIGN,
        ("", false) if all_benign => false,
        ("", false) => return Ok(None),
        (other, _) => {
            return Err(format!(
                "y is `{other}`; 0 for benign flows, 1 for attacks, empty where it is not known"
            ));
        }
    };
    let family = if named { family } else { BENIGN };
    labels::check(family)?;
    if attack == (family == BENIGN) {
        return Err(format!(
            "family is `{family}` and y is {}; correct one of them",
            u8::from(attack)
        ));
    }
    Ok(Some((attack, family)))
}

fn finite(column: &str, field: &str) -> Result<f64, String> {
    let value: f64 = field
        .trim()
        .parse()
        .map_err(|_| format!("`{field}` in column `{column}` is no number; write the table again"))?;
    if !value.is_finite() {
        return Err(format!(
            "`{field}` in column `{column}` is not finite; leave the row out, or write the table again"
        ));
    }
    if value.abs() > MAX_VALUE {
        return Err(format!(
            "{value:e} in column `{column}` is beyond anything measured; write the table again"
        ));
    }
    Ok(value)
}

fn heading(path: &Path, fields: &[String]) -> Result<Columns, TableError> {
    let mut at = HashMap::new();
    for (number, field) in fields.iter().enumerate() {
        if at.insert(field.trim_start_matches('\u{feff}'), number).is_some() {
            return Err(TableError::Twice {
                path: path.into(),
                column: field.clone(),
            });
        }
    }
    let schema = at
        .iter()
        .find_map(|(name, place)| Some((name.strip_prefix("schema_")?, *place)));
    if let Some((schema, _)) = schema
        && schema != VERSION.to_string()
    {
        return Err(TableError::Schema {
            path: path.into(),
            schema: schema.chars().take(20).collect(),
        });
    }
    let schema = schema.map(|(_, place)| place);
    let mut missing = Vec::new();
    let mut find = |name: &str| {
        at.get(name).copied().unwrap_or_else(|| {
            missing.push(name.to_owned());
            0
        })
    };
    let columns = Columns {
        origin: find("origin"),
        group: find("group"),
        family: find("family"),
        y: find("y"),
        t0: find("t0"),
        features: std::array::from_fn(|feature| find(FEATURES[feature].name)),
        source: at.get("src").copied(),
        sensor: at.get("sensor").copied(),
        schema,
        count: fields.len(),
    };
    if missing.is_empty() {
        Ok(columns)
    } else {
        Err(TableError::Columns {
            path: path.into(),
            columns: missing,
        })
    }
}

/// Fields of a line (RFC 4180; a quoted field does not go over a line's end).
pub(super) fn split(line: &str) -> Option<Vec<String>> {
    if !line.contains('"') {
        return Some(line.split(',').map(str::to_owned).collect());
    }
    let mut fields = Vec::new();
    let mut field = String::new();
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    fields.push(field);
    (!quoted).then_some(fields)
}

#[cfg(test)]
mod tests;
