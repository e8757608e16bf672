//! One question to netlink(7) and its answer, synchronously: mostly to rtnetlink, for what is asked while attaching.

use crate::netlink::{ATTEMPTS, split};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Largest datagram the kernel answers with.
const DATAGRAM: usize = 64 * 1024;
/// Messages of one answer; a dump that is longer is refused.
const MESSAGES: usize = 65_536;

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

/// As [`exchange`], with another family of netlink(7). A dump that ran into a change is asked for again.
///
/// # Errors
/// As there.
pub(super) fn exchange_with(family: i32, request: &[u8], dump: bool) -> io::Result<Vec<Message>> {
    let mut answer = once(family, request, dump);
    for _ in 1..ATTEMPTS {
        match &answer {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => answer = once(family, request, dump),
            _ => break,
        }
    }
    answer
}

fn once(family: i32, request: &[u8], dump: bool) -> io::Result<Vec<Message>> {
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
        let datagram = datagram.get(..got as usize).unwrap_or_default();
        let done = split(datagram, |kind, body| messages.push((kind, body.to_vec())))?;
        if messages.len() > MESSAGES {
            return Err(io::Error::from_raw_os_error(libc::E2BIG));
        }
        if done || !dump || got == 0 {
            return Ok(messages);
        }
    }
}
