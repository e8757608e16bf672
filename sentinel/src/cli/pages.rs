//! A list, page after page, wherever the pages come from.

use super::exit::Failure;
use serde_json::Value;

/// Items asked for at once.
const PAGE: usize = 500;

/// Up to `limit` items (0: all). `page` is told how many are wanted and the cursor of the page before, and gives the
/// items and the next cursor.
///
/// # Errors
/// What `page` says.
pub(super) fn walk(
    limit: usize,
    mut page: impl FnMut(usize, Option<String>) -> Result<(Vec<Value>, Option<String>), Failure>,
) -> Result<Vec<Value>, Failure> {
    let mut items = Vec::new();
    let mut cursor = None;
    loop {
        let want = if limit == 0 {
            PAGE
        } else {
            PAGE.min(limit - items.len())
        };
        let (batch, next) = page(want, cursor)?;
        let empty = batch.is_empty();
        items.extend(batch);
        cursor = next;
        if cursor.is_none() || empty || (limit != 0 && items.len() >= limit) {
            return Ok(items);
        }
    }
}
