//! Databases of tests.

use super::{Store, StoreError, Writer};
use std::path::Path;
use std::time::Duration;

/// Opens a database that may be in use a moment longer: its lock goes with the writer's thread, and with whatever process
/// another test was starting at that moment.
pub(crate) fn opened(path: &Path) -> (Store, Writer) {
    for _ in 0..250 {
        match Store::open(path) {
            Err(StoreError::InUse { .. }) => std::thread::sleep(Duration::from_millis(20)),
            opened => return opened.expect("it opens"),
        }
    }
    panic!("{} stays in use", path.display());
}
