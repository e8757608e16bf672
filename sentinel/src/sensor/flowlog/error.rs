//! What is wrong with a log of flows.

use std::io;
use std::path::PathBuf;

/// Why a log of flows cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FlowLogError {
    /// The file cannot be opened or read.
    #[error("cannot read {} (check the path and its permissions)", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// It cannot be read to its end.
    #[error("{} breaks off at line {line} (cut short, or damaged where it was compressed? fetch it again)", path.display())]
    Broken {
        /// Which file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// The system's words.
        source: io::Error,
    },
    /// There is nothing in it.
    #[error("{} has no flows in it: it is empty, or nothing but comments", path.display())]
    Empty {
        /// Which file.
        path: PathBuf,
    },
    /// It begins like something else.
    #[error(
        "{} is no log of flows that we read: it begins with `{begins}`; give Zeek's conn.log with its lines of `#`, or as \
         JSON, or what `ra -u -n -Z b -c ,` of Argus writes, with its line of names", path.display()
    )]
    Format {
        /// Which file.
        path: PathBuf,
        /// Its first characters.
        begins: String,
    },
    /// A column is missing.
    #[error("{} has no column `{name}`; {mend}", path.display())]
    Column {
        /// Which file.
        path: PathBuf,
        /// The column.
        name: &'static str,
        /// How to have it.
        mend: &'static str,
    },
    /// Without flags nobody knows an attempt from a connection.
    #[error("{} tells of no TCP flags (State is `FIN` and the like); have ra write them: -Z b", path.display())]
    Flags {
        /// Which file.
        path: PathBuf,
    },
    /// A line says nothing we know.
    #[error("{}:{line}: {cause}", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What is wrong.
        cause: String,
    },
    /// It would not fit into memory.
    #[error("{} has more than {most} flows; split it, by the day for example", path.display())]
    TooLong {
        /// Which file.
        path: PathBuf,
        /// As many are read.
        most: usize,
    },
}
