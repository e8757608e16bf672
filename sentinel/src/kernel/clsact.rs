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

/// Removes it, unless a filter still hangs from it.
///
/// # Errors
/// The kernel's.
pub(super) fn remove(interface: &str) -> io::Result<()> {
    if filters(interface)? {
        return Ok(());
    }
    request(interface, libc::RTM_DELQDISC, 0)
}

/// Whether any filter hangs from it, in either direction.
fn filters(interface: &str) -> io::Result<bool> {
    for parent in [INGRESS, EGRESS] {
        let message = Message::new(interface, libc::RTM_GETTFILTER, libc::NLM_F_DUMP as u16, 0, parent)?;
        let answer = talk(&message)?;
        // A dump with nothing in it begins with its end.
        if answer
            .first()
            .is_some_and(|header| header.nlmsg_type == libc::RTM_NEWTFILTER)
        {
            return Ok(true);
        }
    }
    Ok(false)
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
const CLSACT: u32 = 0xffff_fff1;
/// `TC_H_MAKE(TC_H_CLSACT, 0)`.
const HANDLE: u32 = 0xffff_0000;
/// `TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS)`.
const INGRESS: u32 = 0xffff_fff2;
/// `TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS)`.
const EGRESS: u32 = 0xffff_fff3;
/// `TCA_KIND`.
const TCA_KIND: u16 = 1;

impl Message {
    fn new(interface: &str, kind: u16, flags: u16, handle: u32, parent: u32) -> io::Result<Self> {
        let ifindex = interface::index(interface).map_err(io::Error::other)?;
        // A request for filters carries no kind: it asks for all.
        let whole = size_of::<Self>() as u32;
        let len = if kind == libc::RTM_GETTFILTER {
            whole - 12
        } else {
            whole
        };
        Ok(Self {
            header: libc::nlmsghdr {
                nlmsg_len: len,
                nlmsg_type: kind,
                nlmsg_flags: libc::NLM_F_REQUEST as u16 | flags,
                nlmsg_seq: 1,
                nlmsg_pid: 0,
            },
            family: 0,
            pad1: 0,
            pad2: 0,
            ifindex: ifindex as i32,
            handle,
            parent,
            info: 0,
            kind: libc::nlattr {
                nla_len: 4 + 7,
                nla_type: TCA_KIND,
            },
            name: *b"clsact\0\0",
        })
    }
}

fn request(interface: &str, kind: u16, flags: u16) -> io::Result<()> {
    let message = Message::new(interface, kind, libc::NLM_F_ACK as u16 | flags, HANDLE, CLSACT)?;
    talk(&message).map(drop)
}

/// Sends a request and returns the headers of the first datagram of the answer.
///
/// # Errors
/// The kernel's, also where it is the answer.
fn talk(message: &Message) -> io::Result<Vec<libc::nlmsghdr>> {
    const HEADER: usize = size_of::<libc::nlmsghdr>();
    let mut answer = vec![0u8; 32 * 1024];
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
        let sent = libc::send(
            socket.as_raw_fd(),
            std::ptr::from_ref(message).cast(),
            message.header.nlmsg_len as usize,
            0,
        );
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        libc::recv(socket.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), 0)
    };
    if got < 0 {
        return Err(io::Error::last_os_error());
    }
    answer.truncate(got as usize);
    let mut headers = Vec::new();
    let mut rest = answer.as_slice();
    while rest.len() >= HEADER {
        // SAFETY: there are enough bytes, the read is unaligned, and any bytes are a header.
        let header = unsafe { rest.as_ptr().cast::<libc::nlmsghdr>().read_unaligned() };
        if i32::from(header.nlmsg_type) == libc::NLMSG_ERROR {
            // An acknowledgement is an error number of zero.
            let code = rest.get(HEADER..HEADER + 4).and_then(|bytes| bytes.try_into().ok());
            match code.map_or(libc::EPROTO, |bytes| -i32::from_ne_bytes(bytes)) {
                0 => {}
                code => return Err(io::Error::from_raw_os_error(code)),
            }
        }
        headers.push(header);
        let step = (header.nlmsg_len as usize).max(HEADER).next_multiple_of(4);
        rest = rest.get(step..).unwrap_or_default();
    }
    Ok(headers)
}
