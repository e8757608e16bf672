//! Why there is no model.

use super::left_out::LeftOut;
use crate::files::FileError;
use crate::model::{ArtefactError, Flaw};
use std::path::PathBuf;

/// What is wrong with a table. Lines count from 1, the heading among them.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The file cannot be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// Columns are missing.
    #[error(
        "{}:1: columns are missing: {}; make the table with `sentinel model features` of this version",
        path.display(), columns.join(", ")
    )]
    Columns {
        /// The file.
        path: PathBuf,
        /// Their names.
        columns: Vec<String>,
    },
    /// A column stands there twice.
    #[error("{}:1: column `{column}` stands there twice; keep one", path.display())]
    Twice {
        /// The file.
        path: PathBuf,
        /// Its name.
        column: String,
    },
    /// A line that does not fit.
    #[error("{}:{line}: {what}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: u64,
        /// What, and the mend.
        what: String,
    },
    /// A row of a capture that does not fit.
    #[error("{}: {what}", path.display())]
    Made {
        /// The file.
        path: PathBuf,
        /// What, and the mend.
        what: String,
    },
    /// Of another schema.
    #[error(
        "{}: its features are of schema {schema}, those of this version of schema {}; use the version that wrote it, or make \
         the table anew",
        path.display(), crate::features::VERSION
    )]
    Schema {
        /// The file.
        path: PathBuf,
        /// What it says.
        schema: String,
    },
    /// Rows, and none to learn from.
    #[error(
        "{}: none of its rows is of use: {left_out}; write 0 into `y` of benign flows and the kind of attack into `family` of \
         the others (docs/traffic-log.md)",
        path.display()
    )]
    NoneOfUse {
        /// The file.
        path: PathBuf,
        /// Why.
        left_out: LeftOut,
    },
    /// Nothing but a heading.
    #[error("{}: has no rows; make the table of a capture that holds flows", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// More than is taken.
    #[error("{}: has more than {limit} rows; sample it", path.display())]
    TooManyRows {
        /// The file.
        path: PathBuf,
        /// Most rows over all tables.
        limit: usize,
    },
}

/// Why a model cannot be made, judged or written.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A table.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A model.
    #[error("{}: {error}", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: ArtefactError,
    },
    /// What was made is unsound.
    #[error("the model made is refused: {0}")]
    Made(#[from] ArtefactError),
    /// A part that cannot be computed.
    #[error(transparent)]
    Flaw(#[from] Flaw),
    /// One kind of flows only.
    #[error(
        "all {rows} rows are {what}; training and evaluation need both benign flows and attacks: name more tables with --features, or captures with --pcap"
    )]
    OneClass {
        /// Rows there.
        rows: usize,
        /// What they all are.
        what: &'static str,
    },
    /// Too few.
    #[error("{have} rows of {what} are too few (at least {need}); name more tables, or captures with --pcap")]
    TooFew {
        /// Of what.
        what: String,
        /// Rows there.
        have: usize,
        /// Rows needed.
        need: usize,
    },
    /// A feature that would say who, not what.
    #[error("`{0}` would be trained on; a feature that identifies who it was is refused: take it out of the schema")]
    Identity(&'static str),
    /// A setting makes no sense.
    #[error("{0}")]
    Setting(String),
    /// The library refused.
    #[error("training failed: {0}; other tables or settings are needed")]
    Library(String),
    /// Writing or reading a file.
    #[error(transparent)]
    File(#[from] FileError),
}

impl TrainError {
    /// There is no benign flow to go by.
    pub(super) fn no_benign() -> Self {
        Self::TooFew {
            what: "benign flows".into(),
            have: 0,
            need: 1,
        }
    }
}
