//! How messages of netlink(7) are read.
//!
//! In: bytes the kernel answered with. Out: attributes and words. Invariant: pure, and what is cut short is no panic.
//! Deliberately elsewhere: what is asked, and of whom (`kernel`, `nft`).

/// The attributes behind `skip` bytes of a fixed header: their types, without flags, and contents.
pub fn attributes(body: &[u8], skip: usize) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    let mut rest = body.get(skip..).unwrap_or_default();
    while rest.len() >= 4 {
        let len = usize::from(half(rest, 0));
        if len < 4 {
            break;
        }
        found.push((half(rest, 2) & 0x3fff, rest.get(4..len).unwrap_or_default()));
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// A 32-bit word in host order; 0 where there is none.
pub fn word(bytes: &[u8], at: usize) -> u32 {
    let four = bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    four.map_or(0, u32::from_ne_bytes)
}

/// A 16-bit word in host order; 0 where there is none.
pub fn half(bytes: &[u8], at: usize) -> u16 {
    let two = bytes.get(at..at + 2).and_then(|bytes| bytes.try_into().ok());
    two.map_or(0, u16::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_split_and_cut_ones_are_no_panic() {
        assert!(attributes(&[8, 0, 1, 0x80, 7, 0, 0, 0, 9, 0], 0) == [(1, &[7u8, 0, 0, 0][..])]);
        assert_eq!(attributes(&[0; 16], 0), []);
    }
}
