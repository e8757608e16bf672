//! rtnetlink(7): a question and its answer, and that something was announced.
//!
//! In: questions. Out: the messages of an answer, one by one. Invariant: one datagram is in memory at a time, however
//! long an answer (a router's table has a million routes) and however many announcements.

use crate::netlink::{request, split};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};
use std::io;
use std::time::Duration;

/// Largest datagram the kernel answers with.
const DATAGRAM: usize = 64 * 1024;
/// How long it may take for one.
const PATIENCE: Duration = Duration::from_secs(5);
/// Announcements taken at once; those beyond are heard the next time.
const AT_ONCE: usize = 4096;
/// `RTMGRP_LINK`, `_IPV4_IFADDR`, `_IPV4_ROUTE`, `_IPV6_IFADDR` and `_IPV6_ROUTE` (`linux/rtnetlink.h`).
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

fn open(groups: u32) -> io::Result<TokioSocket> {
    let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
    socket.socket_mut().bind(&SocketAddr::new(0, groups))?;
    Ok(socket)
}

/// Has the kernel list something: `kind` is `RTM_GET…`, `body` the fixed part of the question, and each message's body
/// goes to `each`.
///
/// # Errors
/// When there is no socket, the kernel refuses, or says nothing for five seconds.
pub(super) async fn dump(kind: u16, body: &[u8], mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let socket = open(0)?;
    socket.send(&request(kind, libc::NLM_F_DUMP, body)).await?;
    let mut datagram = Vec::with_capacity(DATAGRAM);
    loop {
        datagram.clear();
        tokio::time::timeout(PATIENCE, socket.recv(&mut datagram)).await??;
        if split(&datagram, |_, body| each(body))? {
            return Ok(());
        }
    }
}

/// Hears that links, addresses or routes changed.
pub(super) struct Announcements(TokioSocket);

impl Announcements {
    pub(super) fn open() -> io::Result<Self> {
        open(GROUPS).map(Self)
    }

    /// Waits for one.
    pub(super) async fn heard(&self) -> io::Result<()> {
        // What it says is asked for anew: it may be cut off, and where the buffer ran over nothing is lost.
        match self.0.recv(&mut &mut [0; 1][..]).await {
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(()),
            heard => heard,
        }
    }

    /// Those that came until now are known.
    pub(super) fn forget(&self) {
        let overrun = |error: &io::Error| error.raw_os_error() == Some(libc::ENOBUFS);
        for _ in 0..AT_ONCE {
            let taken = self.0.socket_ref().recv(&mut &mut [0; 1][..], libc::MSG_DONTWAIT);
            if taken.is_err_and(|error| !overrun(&error)) {
                break;
            }
        }
    }
}
