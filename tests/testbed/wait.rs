//! Waiting for what must come, with a deadline.

use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// How often is looked.
const LOOK: Duration = Duration::from_millis(10);

/// Looks until `probe` finds something.
///
/// # Errors
/// When it did not within `deadline`; `what` says what was awaited.
pub fn until<T>(what: &str, deadline: Duration, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = probe()? {
            return Ok(found);
        }
        if crate::interrupt::wanted() {
            bail!("interrupted");
        }
        if start.elapsed() > deadline {
            bail!("waited {:.1} s in vain: {what}", deadline.as_secs_f64());
        }
        std::thread::sleep(LOOK);
    }
}
