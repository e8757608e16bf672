//! The clsact queueing discipline, which tc programs hang from before Linux 6.6.

use super::interface;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Adds it; false where it is there already.
///
/// # Errors
/// The kernel's.
pub(super) fn add(interface: &str) -> io::Result<bool> {
    match request(
        interface,
        libc::RTM_NEWQDISC,
        (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16,
    ) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes it.
///
/// # Errors
/// The kernel's.
pub(super) fn remove(interface: &str) -> io::Result<()> {
    request(interface, libc::RTM_DELQDISC, 0)
}

/// `struct tcmsg` of `linux/rtnetlink.h`, behind its netlink header, followed by one attribute.
#[repr(C)]
struct Message {
    header: libc::nlmsghdr,
    family: u8,
    pad1: u8,
    pad2: u16,
    ifindex: i32,
    handle: u32,
    parent: u32,
    info: u32,
    kind: libc::nlattr,
    name: [u8; 8],
}

/// `TC_H_CLSACT`.
const PARENT: u32 = 0xffff_fff1;
/// `TC_H_MAKE(TC_H_CLSACT, 0)`.
const HANDLE: u32 = 0xffff_0000;
/// `TCA_KIND`.
const TCA_KIND: u16 = 1;

fn request(interface: &str, kind: u16, flags: u16) -> io::Result<()> {
    let ifindex = interface::index(interface).map_err(io::Error::other)?;
    let message = Message {
        header: libc::nlmsghdr {
            nlmsg_len: size_of::<Message>() as u32,
            nlmsg_type: kind,
            nlmsg_flags: (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16 | flags,
            nlmsg_seq: 1,
            nlmsg_pid: 0,
        },
        family: 0,
        pad1: 0,
        pad2: 0,
        ifindex: ifindex as i32,
        handle: HANDLE,
        parent: PARENT,
        info: 0,
        kind: libc::nlattr {
            nla_len: 4 + 7,
            nla_type: TCA_KIND,
        },
        name: *b"clsact\0\0",
    };
    let mut answer = [0u8; 1024];
    // SAFETY: plain socket calls on a descriptor of our own, with buffers that outlive them.
    let got = unsafe {
        let fd = libc::socket(
            libc::AF_NETLINK,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC,
            libc::NETLINK_ROUTE,
        );
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let socket = OwnedFd::from_raw_fd(fd);
        let sent = libc::send(socket.as_raw_fd(), (&raw const message).cast(), size_of::<Message>(), 0);
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        libc::recv(socket.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), 0)
    };
    if got < 0 {
        return Err(io::Error::last_os_error());
    }
    // An acknowledgement is a header and an error number, zero for none.
    let code = answer
        .get(size_of::<libc::nlmsghdr>()..size_of::<libc::nlmsghdr>() + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(libc::EPROTO, |bytes| -i32::from_ne_bytes(bytes));
    if code == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(code))
    }
}
