//! The clsact queueing discipline, which tc programs hang from before Linux 6.6.

use super::interface;
use super::netlink::exchange;
use std::io;

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
        let answer = exchange(message.bytes(), true)?;
        if answer.iter().any(|(kind, _)| *kind == libc::RTM_NEWTFILTER) {
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

    fn bytes(&self) -> &[u8] {
        let len = (self.header.nlmsg_len as usize).min(size_of::<Self>());
        // SAFETY: integers without padding between them, `len` of which are asked for.
        unsafe { std::slice::from_raw_parts(std::ptr::from_ref(self).cast(), len) }
    }
}

fn request(interface: &str, kind: u16, flags: u16) -> io::Result<()> {
    let message = Message::new(interface, kind, libc::NLM_F_ACK as u16 | flags, HANDLE, CLSACT)?;
    exchange(message.bytes(), false).map(drop)
}
