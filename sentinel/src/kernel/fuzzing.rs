//! For `fuzz`: what the kernel answers over netlink(7).

use crate::netlink::{attributes, split};

/// Splits a datagram.
pub fn netlink(datagram: &[u8]) {
    let mut messages = Vec::new();
    let _ = split(datagram, |_, body| messages.push(body.to_vec()));
    let held: usize = messages.iter().map(Vec::len).sum();
    assert!(held <= datagram.len(), "more than there was: {held}");
    for body in &messages {
        for skip in [0, 4, 12, 20] {
            attributes(body, skip);
        }
    }
}
