//! Captures whose attacks are known: tables of labelled flows, and what the house makes of them.
//!
//! In: captures, and what is known of them: a list of captures with a rule for each (`labels.csv`), or a session with its
//! attacks (`attacks.jsonl`); logs of flows with labels of their own. Out: CSV, a row per feature record, the columns of
//! [`HEAD`] and then those of the schema; or the same rows, one by one.
//! Invariant: the vectors are those that are served live; the same files give the same bytes; a row whose label no rule
//! gives is left out and counted, never guessed. Deliberately elsewhere: the features (`features`), how a capture is
//! walked (`replay`), what is learnt from a table (`model`).

mod corpus;
mod csv;
mod error;
mod events;
mod list;
mod logged;
mod rule;
mod sample;
mod session;
mod table;
mod truth;

pub use corpus::{Sink, Summary, capture, directory, rows};
pub(crate) use csv::{cell, values};
pub use error::DatasetError;
pub use events::{EventFigures, FamilyFigures, watch};
pub use logged::log;
pub use rule::Rule;
pub use session::Session;
pub use table::{HEAD, Source, Table};
pub(crate) use table::{heading, line};
pub use truth::{Event, Truth};

/// How the flows of a capture get their labels.
#[derive(Clone, Debug)]
pub enum Labels {
    /// All are benign, as far as whoever asks says.
    Benign,
    /// Nothing is known: rows have an empty `y` and the family `unknown`. A log of flows may say it itself.
    Unknown,
    /// By the attacks that are known, and the hosts that are.
    Session(Session),
    /// By the capture's row in a `labels.csv`.
    List(std::path::PathBuf),
}
