//! One question to netlink(7) and its answer, synchronously: mostly to rtnetlink, for what is asked while attaching.

use crate::netlink::{half, word};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Length of `struct nlmsghdr`.
pub(super) const HEADER: usize = size_of::<libc::nlmsghdr>();
/// Largest datagram the kernel answers with.
const DATAGRAM: usize = 64 * 1024;
/// Messages of one answer; a dump that is longer is cut.
const MESSAGES: usize = 4096;

/// A message of an answer: its type, and what follows its header.
pub(super) type Message = (u16, Vec<u8>);

/// Sends a request (header included) and returns the messages of the answer: all of a dump, else those of the first
/// datagram. An acknowledgement is no message.
///
/// # Errors
/// The kernel's, also where it is the answer.
pub(super) fn exchange(request: &[u8], dump: bool) -> io::Result<Vec<Message>> {
    exchange_with(libc::NETLINK_ROUTE, request, dump)
}

/// As [`exchange`], with another family of netlink(7).
///
/// # Errors
/// As there.
pub(super) fn exchange_with(family: i32, request: &[u8], dump: bool) -> io::Result<Vec<Message>> {
    // SAFETY: a plain socket call; the descriptor is ours from here on.
    let socket = unsafe {
        let fd = libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, family);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(fd)
    };
    // SAFETY: the buffer is valid for its length until the call returns.
    let sent = unsafe { libc::send(socket.as_raw_fd(), request.as_ptr().cast(), request.len(), 0) };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut messages = Vec::new();
    let mut datagram = vec![0u8; DATAGRAM];
    loop {
        // SAFETY: as above.
        let got = unsafe { libc::recv(socket.as_raw_fd(), datagram.as_mut_ptr().cast(), datagram.len(), 0) };
        if got < 0 {
            return Err(io::Error::last_os_error());
        }
        let done = take(datagram.get(..got as usize).unwrap_or_default(), &mut messages)?;
        if done || !dump || got == 0 || messages.len() >= MESSAGES {
            return Ok(messages);
        }
    }
}

/// Splits a datagram; true when it says that nothing follows.
pub(super) fn take(mut rest: &[u8], messages: &mut Vec<Message>) -> io::Result<bool> {
    while let Some((header, _)) = rest.split_at_checked(HEADER) {
        let (len, kind) = (word(header, 0) as usize, half(header, 4));
        let body = rest.get(HEADER..len).unwrap_or_default();
        match i32::from(kind) {
            libc::NLMSG_DONE => return Ok(true),
            libc::NLMSG_ERROR => match (word(body, 0) as i32).wrapping_neg() {
                0 => {}
                code => return Err(io::Error::from_raw_os_error(code)),
            },
            _ => messages.push((kind, body.to_vec())),
        }
        rest = rest.get(len.max(HEADER).next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message of that type.
    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut out = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        out.extend(kind.to_ne_bytes());
        out.extend([0; 10]);
        out.extend(body);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    #[test]
    fn answers_are_split_and_cut_ones_are_no_panic() {
        let mut datagram = message(16, &[1, 2, 3]);
        datagram.extend(message(16, &[4]));
        datagram.extend(message(libc::NLMSG_DONE as u16, &[0; 4]));
        for len in 0..=datagram.len() {
            let mut got = Vec::new();
            let done = take(&datagram[..len], &mut got).expect("no error in it");
            assert_eq!(done, len >= 40 + HEADER, "{len}");
            if done {
                assert_eq!(got, [(16, vec![1, 2, 3]), (16, vec![4])]);
            }
        }
        let refused = message(libc::NLMSG_ERROR as u16, &(-libc::EPERM).to_ne_bytes());
        let error = take(&refused, &mut Vec::new()).expect_err("refused");
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    }
}
