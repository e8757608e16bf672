//! From tables of labelled flows to a model, and what it is worth.
//!
//! In: tables (CSV, gzip or not) and a model's bytes, from files. Out: a model, figures, a card, pictures, each written
//! whole or not at all. Invariant: same tables, settings and seed, same bytes, on any number of cores; no group of rows
//! judges a part that it trained. Deliberately elsewhere: answering (`model`), making tables (`features`).

mod adapt;
pub mod calibrate;
pub mod card;
mod cart;
pub mod cross;
pub mod curves;
mod error;
pub mod evaluate;
pub mod file;
pub mod fit;
mod grow;
mod held;
mod kinds;
pub mod labels;
mod left_out;
pub mod metrics;
pub mod plot;
mod rng;
mod settings;
mod svm;
pub mod table;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod tree;
mod units;

pub use error::{TableError, TrainError};
pub use fit::train;
pub use labels::BENIGN;
pub use left_out::LeftOut;
pub use settings::Settings;
pub use table::{Fresh, Rows, Table};
