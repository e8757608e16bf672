//! What is wrong with files of labels, captures and tables.

use crate::sensor::flowlog::FlowLogError;
use crate::sensor::pcap::CaptureError;
use std::io;
use std::path::{Path, PathBuf};

/// Why there is no table.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// A file cannot be read or written.
    #[error("cannot use {} (check the path, its permissions and the room on the disk)", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// A capture cannot be read at all.
    #[error("{} gives no flows", path.display())]
    Capture {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: CaptureError,
    },
    /// A log of flows cannot be read.
    #[error(transparent)]
    Log(#[from] FlowLogError),
    /// A log calls flows an attack, and not which.
    #[error(
        "{} has attacks of no kind that we know (`{label}`); say what they are with --attack-family, such as scan or c2",
        path.display()
    )]
    Kind {
        /// Which file.
        path: PathBuf,
        /// Its words.
        label: String,
    },
    /// A capture breaks off, and half of it is not what was meant.
    #[error("{} breaks off: {fault}. Nothing of it is used", path.display())]
    Broken {
        /// Which file.
        path: PathBuf,
        /// Where, and the mend.
        fault: String,
    },
    /// A capture without a flow.
    #[error("{} holds no flow that counts ({packets} packets, {unread} of them no IP or cut short, {unlabelled} rows without \
         a label); capture for longer, or with a longer snap length", path.display())]
    NoFlows {
        /// Which file.
        path: PathBuf,
        /// Packets in it.
        packets: u64,
        /// Not IP, or cut short.
        unread: u64,
        /// Rows that no rule knows.
        unlabelled: u64,
    },
    /// A truth that is about something else.
    #[error(
        "none of the {attacks} attacks of {} has a flow in {}; is it the truth of this capture, with its clock, in unix \
         seconds?",
        truth.display(), path.display()
    )]
    Elsewhere {
        /// Which capture.
        path: PathBuf,
        /// Its truth.
        truth: PathBuf,
        /// How many it has.
        attacks: usize,
    },
    /// A line of a file of labels says nothing we know.
    #[error("{}:{line}: {cause}", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What is wrong, and the mend.
        cause: String,
    },
    /// There is nothing to make a table of.
    #[error(
        "{} has neither a labels.csv (file,label,family,attackers,group,origin) nor an attacks.jsonl beside captures; \
         name a directory that has",
        path.display()
    )]
    NoLabels {
        /// Which directory.
        path: PathBuf,
    },
    /// A capture is not on the list.
    #[error("{} is on no line of {}; add one, or give --truth or --benign", file, list.display())]
    NotListed {
        /// Its name.
        file: String,
        /// The list.
        list: PathBuf,
    },
}

/// Names the file that a failure of the system is about.
pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> DatasetError {
    let path = path.to_owned();
    move |source| DatasetError::Io { path, source }
}
