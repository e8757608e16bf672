//! How messages of netlink(7) are written and read.
//!
//! In: bytes the kernel answered with. Out: messages, attributes and words. Invariant: pure, and what is cut short is no panic.
//! Deliberately elsewhere: what is asked, and of whom (`host`, `kernel`, `nft`).

use std::io;

/// Length of `struct nlmsghdr`.
pub const HEADER: usize = 16;

/// Times a dump is begun that runs into changes ([`io::ErrorKind::Interrupted`]): each is asked for anew.
pub const ATTEMPTS: usize = 8;

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
/// The kernel's, where that is its answer, also in the end of a dump; [`io::ErrorKind::Interrupted`] where a dump ran into a
/// change, and may be neither what was nor what is.
pub fn split(mut rest: &[u8], mut each: impl FnMut(u16, &[u8])) -> io::Result<bool> {
    while let Some((header, _)) = rest.split_at_checked(HEADER) {
        let (len, kind) = (word(header, 0) as usize, half(header, 4));
        let body = rest.get(HEADER..len).unwrap_or_default();
        if i32::from(half(header, 6)) & libc::NLM_F_DUMP_INTR != 0 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        match i32::from(kind) {
            libc::NLMSG_DONE => return refusal(body).map(|()| true),
            libc::NLMSG_ERROR => refusal(body)?,
            _ => each(kind, body),
        }
        rest = rest.get(len.max(HEADER).next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// What stands in an acknowledgement and in the end of a dump: 0, or an error, negative.
///
/// # Errors
/// That one.
pub fn refusal(body: &[u8]) -> io::Result<()> {
    match word(body, 0) as i32 {
        code if code < 0 => Err(io::Error::from_raw_os_error(code.wrapping_neg())),
        _ => Ok(()),
    }
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
        // A dump that fails says so in its end.
        for kind in [libc::NLMSG_ERROR, libc::NLMSG_DONE] {
            let refused = message(kind as u16, &(-libc::ENOMEM).to_ne_bytes());
            let error = split(&refused, |_, _| ()).expect_err("refused");
            assert_eq!(error.raw_os_error(), Some(libc::ENOMEM));
        }
        datagram[6] |= libc::NLM_F_DUMP_INTR as u8;
        let error = split(&datagram, |_, _| ()).expect_err("interrupted");
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
    }

    #[test]
    fn attributes_are_split_and_cut_ones_are_no_panic() {
        assert!(attributes(&[8, 0, 1, 0x80, 7, 0, 0, 0, 9, 0], 0) == [(1, &[7u8, 0, 0, 0][..])]);
        assert_eq!(attributes(&[0; 16], 0), []);
    }
}
