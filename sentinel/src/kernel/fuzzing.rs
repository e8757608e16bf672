//! For `fuzz`: what the kernel answers over netlink(7).

use super::netlink::take;

/// Splits a datagram.
pub fn netlink(datagram: &[u8]) {
    let mut messages = Vec::new();
    let _ = take(datagram, &mut messages);
    let held: usize = messages.iter().map(|(_, body)| body.len()).sum();
    assert!(held <= datagram.len(), "more than there was: {held}");
    for (_, body) in &messages {
        for skip in [0, 4, 12, 20] {
            crate::netlink::attributes(body, skip);
        }
    }
}
