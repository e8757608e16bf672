//! What is wrong with the configuration, where, and how to mend it.

use serde::{Serialize, Serializer};
use std::fmt;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Nobody wrote it down: the built-in default.
    Default,
    /// A file as a whole, such as one that cannot be read.
    File(PathBuf),
    /// A place in a file; both numbers count from 1.
    Line {
        /// The file as it was named on the command line.
        file: PathBuf,
        /// Line.
        line: usize,
        /// Column, in characters.
        column: usize,
    },
    /// An environment variable, by name.
    Env(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("built-in default"),
            Self::File(file) => write!(f, "{}", file.display()),
            Self::Line { file, line, column } => write!(f, "{}:{line}:{column}", file.display()),
            // Whoever starts us may have it from somebody else.
            Self::Env(name) => write!(f, "environment variable {}", name.escape_debug()),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// Dotted key, such as `detect.port_scan.ports`; empty when the file as a whole is meant.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub mend: String,
}

impl Problem {
    /// What is wrong with the settings as a whole.
    pub fn of_file(file: Option<&PathBuf>, message: String) -> Self {
        Self {
            place: Place::File(file.cloned().unwrap_or_default()),
            key: String::new(),
            message,
            mend: "run `sentinel check`".to_owned(),
        }
    }

    /// The file, where there is one.
    pub fn file(&self) -> Option<&PathBuf> {
        match &self.place {
            Place::File(file) | Place::Line { file, .. } => Some(file),
            Place::Default | Place::Env(_) => None,
        }
    }

    /// The line, counted from 1, where there is one.
    pub fn line(&self) -> Option<usize> {
        match self.place {
            Place::Line { line, .. } => Some(line),
            _ => None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "`{}`: ", self.key)?;
        }
        write!(f, "{}; {}", self.message, self.mend)
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let variable = match &self.place {
            Place::Env(name) => Some(name),
            _ => None,
        };
        let mut out = serializer.serialize_struct("Problem", 6)?;
        out.serialize_field("file", &self.file())?;
        out.serialize_field("line", &self.line())?;
        out.serialize_field("variable", &variable)?;
        out.serialize_field("key", &self.key)?;
        out.serialize_field("message", &self.message)?;
        out.serialize_field("mend", &self.mend)?;
        out.end()
    }
}
