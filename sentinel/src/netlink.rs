//! How messages of netlink(7) are written and read.
//!
//! In: bytes the kernel answered with. Out: messages, attributes and words. Invariant: pure, and what is cut short is no panic.
//! Deliberately elsewhere: what is asked, and of whom (`kernel`, `nft`).

use std::io;

/// Length of `struct nlmsghdr`.
pub const HEADER: usize = 16;

/// A question of a type, with flags beside `NLM_F_REQUEST`, and what follows its header.
pub fn request(kind: u16, flags: i32, body: &[u8]) -> Vec<u8> {
    let mut bytes = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(((libc::NLM_F_REQUEST | flags) as u16).to_ne_bytes());
    // Sequence number and port: of one question at a time there is one answer.
    bytes.extend([0; 8]);
    bytes.extend(body);
    bytes
}

/// Splits a datagram into messages: the type of each, and what follows its header. True when it says that nothing
/// follows. An acknowledgement is no message.
///
/// # Errors
/// The kernel's, where that is its answer.
pub fn split(mut rest: &[u8], mut each: impl FnMut(u16, &[u8])) -> io::Result<bool> {
    while let Some((header, _)) = rest.split_at_checked(HEADER) {
        let (len, kind) = (word(header, 0) as usize, half(header, 4));
        let body = rest.get(HEADER..len).unwrap_or_default();
        match i32::from(kind) {
            libc::NLMSG_DONE => return Ok(true),
            libc::NLMSG_ERROR => match (word(body, 0) as i32).wrapping_neg() {
                0 => {}
                code => return Err(io::Error::from_raw_os_error(code)),
            },
            _ => each(kind, body),
        }
        rest = rest.get(len.max(HEADER).next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

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

    /// A message of that type.
    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = request(kind, 0, body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn answers_are_split_and_cut_ones_are_no_panic() {
        let mut datagram = message(16, &[1, 2, 3]);
        datagram.extend(message(16, &[4]));
        datagram.extend(message(libc::NLMSG_DONE as u16, &[0; 4]));
        for len in 0..=datagram.len() {
            let mut got = Vec::new();
            let done = split(&datagram[..len], |kind, body| got.push((kind, body.to_vec())));
            let done = done.expect("no error in it");
            assert_eq!(done, len >= 40 + HEADER, "{len}");
            if done {
                assert_eq!(got, [(16, vec![1, 2, 3]), (16, vec![4])]);
            }
        }
        let refused = message(libc::NLMSG_ERROR as u16, &(-libc::EPERM).to_ne_bytes());
        let error = split(&refused, |_, _| ()).expect_err("refused");
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    }

    #[test]
    fn attributes_are_split_and_cut_ones_are_no_panic() {
        assert!(attributes(&[8, 0, 1, 0x80, 7, 0, 0, 0, 9, 0], 0) == [(1, &[7u8, 0, 0, 0][..])]);
        assert_eq!(attributes(&[0; 16], 0), []);
    }
}
