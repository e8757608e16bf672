//! What the kernel has of our table, by netlink(7): the program lists all sets to tell of one element, which takes seconds
//! where there are many, and rounds ends to seconds.
//!
//! Numbers are those of `include/uapi/linux/netfilter/nf_tables.h`.

use super::NftError;
use super::script::TABLE;
use crate::netlink::{ATTEMPTS, HEADER, attributes, half, refusal, request, word};
use ipnet::IpNet;
use nix::errno::Errno;
use nix::sys::socket::sockopt::{RcvBuf, ReceiveTimeout};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket};
use nix::sys::time::{TimeVal, TimeValLike};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

/// `struct nfgenmsg`.
const GENERIC: usize = 4;
const SUBSYSTEM: u16 = 10;
const GET_TABLE: u16 = 1;
const GET_RULE: u16 = 7;
const GET_SET: u16 = 10;
const GET_ELEMENT: u16 = 13;
const INET: u8 = 1;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// Set in a header of a dump that ran into a change.
const INTERRUPTED: u16 = 0x10;
const NESTED: u16 = 0x8000;
/// Largest datagram the kernel answers with.
const DATAGRAM: usize = 64 * 1024;
/// Bytes of one answer; beyond, the table is none that this program filled.
const ANSWER_MAX: usize = 512 << 20;
/// How long the kernel may take for a datagram, s.
const PATIENCE: i64 = 5;

/// One element of a set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    /// Its address, masked.
    pub(super) key: Vec<u8>,
    /// ms until it lapses; `None` for never.
    pub(super) left_ms: Option<u64>,
    /// Its comment, as it is.
    pub(super) comment: String,
    /// Packets it has counted.
    pub(super) packets: u64,
    /// Their bytes, from the network header on.
    pub(super) bytes: u64,
}

impl Element {
    /// What it stands for in a set of that length.
    pub(super) fn net(&self, len: u8) -> Option<IpNet> {
        let ip = match self.key.len() {
            4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(&self.key[..]).ok()?)),
            16 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(&self.key[..]).ok()?)),
            _ => return None,
        };
        IpNet::new(ip, len).ok()
    }
}

/// A connection to nf_tables, in the network namespace it was made in.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: OwnedFd,
}

impl Netlink {
    pub(super) fn open() -> Result<Self, NftError> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkNetFilter,
        )
        .map_err(said)?;
        setsockopt(&socket, ReceiveTimeout, &TimeVal::seconds(PATIENCE)).map_err(said)?;
        // A wish: the default serves as well, in more steps.
        let _ = setsockopt(&socket, RcvBuf, &(1 << 20));
        Ok(Self { socket })
    }

    /// The comment of our table; `None` where there is no such table.
    pub(super) fn table(&self) -> Result<Option<String>, NftError> {
        let answer = self.ask(GET_TABLE, &[attribute(1, TABLE_NAME)], false)?;
        let Some(messages) = answer else { return Ok(None) };
        // NFTA_TABLE_USERDATA, whose comment is of type 0.
        let found = messages
            .iter()
            .flat_map(|body| attributes(body, GENERIC))
            .find(|(kind, _)| *kind == 6);
        Ok(Some(found.map_or_else(String::new, |(_, data)| user_text(data))))
    }

    /// Names of our table's sets.
    pub(super) fn sets(&self) -> Result<Vec<String>, NftError> {
        let answer = self.ask(GET_SET, &[attribute(1, TABLE_NAME)], true)?;
        let name = |body: &Vec<u8>| {
            let all = attributes(body, GENERIC);
            let of = |wanted| all.iter().find(|(kind, _)| *kind == wanted).map(|(_, data)| text(data));
            (of(1).as_deref() == Some(TABLE)).then(|| of(2)).flatten()
        };
        Ok(answer.unwrap_or_default().iter().filter_map(name).collect())
    }

    /// Our table's rules as the kernel spells them, for comparing; empty where there are none.
    pub(super) fn rules(&self) -> Result<Vec<u8>, NftError> {
        let answer = self.ask(GET_RULE, &[attribute(1, TABLE_NAME)], true)?;
        let mut all = Vec::new();
        for body in answer.unwrap_or_default() {
            all.extend_from_slice(body.get(GENERIC..).unwrap_or_default());
        }
        Ok(all)
    }

    /// The element of a set that stands for `target`; `None` also where there is no such set.
    pub(super) fn element(&self, set: &str, target: IpNet) -> Result<Option<Element>, NftError> {
        let key = match target.network() {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let key = attribute(1 | NESTED, &attribute(1, &key));
        let element = attribute(1 | NESTED, &key);
        let wanted = [
            attribute(1, TABLE_NAME),
            attribute(2, &terminated(set)),
            attribute(3 | NESTED, &element),
        ];
        let answer = self.ask(GET_ELEMENT, &wanted, false)?;
        Ok(answer.and_then(|messages| messages.iter().flat_map(|body| elements(body)).next()))
    }

    /// All elements of a set; none also where there is no such set.
    pub(super) fn elements(&self, set: &str) -> Result<Vec<Element>, NftError> {
        let wanted = [attribute(1, TABLE_NAME), attribute(2, &terminated(set))];
        let answer = self.ask(GET_ELEMENT, &wanted, true)?;
        Ok(answer
            .unwrap_or_default()
            .iter()
            .flat_map(|body| elements(body))
            .collect())
    }

    /// One question; `None` for "there is no such thing". A dump that ran into a change is asked again.
    fn ask(&self, kind: u16, wanted: &[Vec<u8>], dump: bool) -> Result<Option<Vec<Vec<u8>>>, NftError> {
        for _ in 0..ATTEMPTS {
            match self.once(kind, wanted, dump) {
                Ok(None) => {}
                Ok(Some(messages)) => return Ok(Some(messages)),
                Err(Errno::ENOENT) => return Ok(None),
                // What is left of an answer would be taken for the next one's: a new socket has none.
                Err(Errno::EINTR | Errno::EAGAIN) if dump => {}
                Err(errno) => return Err(said(errno)),
            }
        }
        Err(NftError::Kernel {
            cause: "the table changed under every look at it".into(),
        })
    }

    /// `None` where a dump ran into a change.
    fn once(&self, kind: u16, wanted: &[Vec<u8>], dump: bool) -> Result<Option<Vec<Vec<u8>>>, Errno> {
        let body = [&[INET, 0, 0, 0][..], &wanted.concat()].concat();
        let flags = if dump { libc::NLM_F_DUMP } else { 0 };
        let request = request(SUBSYSTEM << 8 | kind, flags, &body);
        let fd = self.socket.as_raw_fd();
        // An answer to a question given up earlier is nobody's any more.
        let mut datagram = vec![0; DATAGRAM];
        while recv(fd, &mut datagram, MsgFlags::MSG_DONTWAIT).is_ok_and(|got| got > 0) {}
        send(fd, &request, MsgFlags::empty())?;
        let mut answer = Answer::default();
        loop {
            let got = recv(fd, &mut datagram, MsgFlags::empty())?;
            let over = answer.take(datagram.get(..got).unwrap_or_default())?;
            if over || !dump || got == 0 {
                return Ok((!answer.interrupted).then_some(answer.messages));
            }
            if answer.bytes > ANSWER_MAX {
                return Err(Errno::EFBIG);
            }
        }
    }
}

const TABLE_NAME: &[u8] = b"sentinel\0";
const _: () = assert!(TABLE_NAME.len() == TABLE.len() + 1);

/// An answer as it comes in.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) messages: Vec<Vec<u8>>,
    pub(super) interrupted: bool,
    bytes: usize,
}

impl Answer {
    /// Splits a datagram; true when it says that nothing follows.
    pub(super) fn take(&mut self, mut rest: &[u8]) -> Result<bool, Errno> {
        while let Some((header, _)) = rest.split_at_checked(HEADER) {
            let len = word(header, 0) as usize;
            let (kind, flags) = (half(header, 4), half(header, 6));
            self.interrupted |= flags & INTERRUPTED != 0;
            let body = rest.get(HEADER..len).unwrap_or_default();
            match kind {
                DONE | ERROR => {
                    let refused = |error: io::Error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
                    return refusal(body).map(|()| true).map_err(refused);
                }
                _ => {
                    self.bytes += body.len();
                    self.messages.push(body.to_vec());
                }
            }
            rest = rest.get(len.max(HEADER).next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(false)
    }
}

/// The elements in a message.
pub(super) fn elements(body: &[u8]) -> Vec<Element> {
    let list = attributes(body, GENERIC);
    let list = list
        .into_iter()
        .find(|(kind, _)| *kind == 3)
        .map_or(&[][..], |(_, data)| data);
    attributes(list, 0).into_iter().map(|(_, data)| element(data)).collect()
}

fn element(data: &[u8]) -> Element {
    let mut element = Element::default();
    for (kind, data) in attributes(data, 0) {
        match kind {
            // NFTA_SET_ELEM_KEY, which holds an NFTA_DATA_VALUE.
            1 => {
                element.key = attributes(data, 0)
                    .into_iter()
                    .next()
                    .map_or_else(Vec::new, |(_, key)| key.to_vec());
            }
            // NFTA_SET_ELEM_EXPIRATION.
            5 => element.left_ms = Some(long(data)),
            // NFTA_SET_ELEM_USERDATA.
            6 => element.comment = user_text(data),
            // NFTA_SET_ELEM_EXPR: one expression.
            7 => counter(data, &mut element),
            // NFTA_SET_ELEM_EXPRESSIONS: several.
            11 => attributes(data, 0)
                .into_iter()
                .for_each(|(_, one)| counter(one, &mut element)),
            _ => {}
        }
    }
    element
}

/// Notes what an expression has counted, where it is one that counts.
fn counter(data: &[u8], element: &mut Element) {
    let parts = attributes(data, 0);
    let of = |wanted| parts.iter().find(|(kind, _)| *kind == wanted).map(|(_, data)| *data);
    if of(1).map(text).as_deref() != Some("counter") {
        return;
    }
    for (kind, data) in of(2).map(|data| attributes(data, 0)).unwrap_or_default() {
        match kind {
            1 => element.bytes = long(data),
            2 => element.packets = long(data),
            _ => {}
        }
    }
}

/// The comment among what user space left with an object: type, length, text.
fn user_text(mut data: &[u8]) -> String {
    while let [kind, len, rest @ ..] = data {
        let Some((value, rest)) = rest.split_at_checked(usize::from(*len)) else {
            break;
        };
        if *kind == 0 {
            return text(value);
        }
        data = rest;
    }
    String::new()
}

fn attribute(kind: u16, data: &[u8]) -> Vec<u8> {
    let len = 4 + data.len();
    let mut out = Vec::with_capacity(len.next_multiple_of(4));
    out.extend((len as u16).to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend_from_slice(data);
    out.resize(len.next_multiple_of(4), 0);
    out
}

fn terminated(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

fn text(data: &[u8]) -> String {
    String::from_utf8_lossy(data.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

fn long(data: &[u8]) -> u64 {
    data.try_into().map_or(0, u64::from_be_bytes)
}

fn said(errno: Errno) -> NftError {
    NftError::Kernel {
        cause: errno.desc().to_owned(),
    }
}
