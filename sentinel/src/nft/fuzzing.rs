//! For `fuzz`: elements as the kernel tells them, whose comments anybody may have written who may write the table.

use super::netlink::{Answer, elements};
use super::plan::terms;

/// Reads a datagram of elements.
pub fn answer(datagram: &[u8]) {
    let mut answer = Answer::default();
    let _ = answer.take(datagram);
    let held: usize = answer.messages.iter().map(Vec::len).sum();
    assert!(held <= datagram.len(), "more than there was: {held}");
    for element in answer.messages.iter().flat_map(|body| elements(body)) {
        for len in [0, 24, 32, 128, 255] {
            element.net(len);
            terms(&element.comment, len);
        }
    }
}
