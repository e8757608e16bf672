//! The walk: Ethernet, VLAN tags, IPv4 or IPv6 with extension headers, TCP/UDP/ICMP.

use super::icmp;
use super::{PacketMeta, PacketView, ParseError};
use crate::addr::Addr;
use crate::flow::{PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP};
use core::ops::ControlFlow;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;
const ETHERTYPE_QINQ_OLD: u16 = 0x9100;
/// VLAN tags followed (802.1ad allows two; a third is seen in the wild only as evasion).
const MAX_VLAN_TAGS: usize = 3;
/// IPv6 extension headers followed.
const MAX_EXTENSION_HEADERS: usize = 8;

/// Parses an Ethernet frame.
///
/// # Errors
/// [`ParseError`] where no IP header could be read in full; a truncated L4 header is no error (ports stay 0),
/// since the source is known and can be judged.
pub fn parse_ethernet<V: PacketView>(view: &V) -> Result<PacketMeta, ParseError> {
    let mut meta = PacketMeta::default();
    parse_ethernet_into(view, &mut meta)?;
    Ok(meta)
}

/// As [`parse_ethernet`], into a record the caller holds and has defaulted: the kernel's stack has no room for copies.
///
/// # Errors
/// As [`parse_ethernet`]; `meta` then holds nothing of use.
#[inline(always)]
pub fn parse_ethernet_into<V: PacketView>(view: &V, meta: &mut PacketMeta) -> Result<(), ParseError> {
    let mut offset = 12;
    let mut tags = 0;
    loop {
        let ethertype = view.u16(offset).ok_or(ParseError::Truncated)?;
        offset += 2;
        match ethertype {
            ETHERTYPE_IPV4 => return ipv4(view, offset, meta),
            ETHERTYPE_IPV6 => return ipv6(view, offset, meta),
            ETHERTYPE_VLAN | ETHERTYPE_QINQ | ETHERTYPE_QINQ_OLD => {
                if tags == MAX_VLAN_TAGS {
                    return Err(ParseError::TooDeep);
                }
                tags += 1;
                offset += 2;
            }
            _ => return Err(ParseError::NotIp),
        }
    }
}

/// IPv4, RFC 791.
#[inline(always)]
fn ipv4<V: PacketView>(view: &V, l3: usize, meta: &mut PacketMeta) -> Result<(), ParseError> {
    let [first, second, third, src, dst] = view.quads::<5>(l3).ok_or(ParseError::Truncated)?;
    let (first, second, third) = (u32::from_be(first), u32::from_be(second), u32::from_be(third));
    if first >> 28 != 4 {
        return Err(ParseError::Malformed);
    }
    let header_len = (first >> 24 & 0xf) * 4;
    let total_len = first & 0xffff;
    if header_len < 20 || total_len < header_len {
        return Err(ParseError::Malformed);
    }
    meta.src = Addr::v4_word(src);
    meta.dst = Addr::v4_word(dst);
    meta.proto = (third >> 16) as u8;
    meta.ip_version = 4;
    meta.l3_offset = l3 as u16;
    // More-fragments bit or a non-zero offset.
    meta.fragment = second & 0x3fff != 0;
    meta.later_fragment = second & 0x1fff != 0;
    meta.l3_len = total_len;
    transport(view, l3 + header_len as usize, total_len - header_len, meta);
    Ok(())
}

/// IPv6, RFC 8200, with a bounded walk over extension headers.
#[inline(always)]
fn ipv6<V: PacketView>(view: &V, l3: usize, meta: &mut PacketMeta) -> Result<(), ParseError> {
    let [first, second, s0, s1, s2, s3, d0, d1, d2, d3] = view.quads::<10>(l3).ok_or(ParseError::Truncated)?;
    if u32::from_be(first) >> 28 != 6 {
        return Err(ParseError::Malformed);
    }
    let (src, dst) = (Addr::from_words([s0, s1, s2, s3]), Addr::from_words([d0, d1, d2, d3]));
    if src.is_v4() || dst.is_v4() {
        return Err(ParseError::Mapped);
    }
    let payload_len = u32::from_be(second) >> 16;
    meta.src = src;
    meta.dst = dst;
    meta.proto = (u32::from_be(second) >> 8) as u8;
    meta.ip_version = 6;
    meta.l3_offset = l3 as u16;
    meta.l3_len = payload_len + 40;
    let mut chain = Chain {
        view,
        meta,
        start: l3 + 40,
        offset: l3 + 40,
        payload_len: payload_len as usize,
    };
    if chain.walk() {
        let (offset, extensions) = (chain.offset, (chain.offset - chain.start) as u32);
        transport(view, offset, payload_len.saturating_sub(extensions), chain.meta);
    }
    Ok(())
}

/// A walk over extension headers.
struct Chain<'a, V> {
    view: &'a V,
    meta: &'a mut PacketMeta,
    /// Where the first one starts.
    start: usize,
    /// Where the next one does.
    offset: usize,
    payload_len: usize,
}

impl<V: PacketView> Chain<'_, V> {
    /// Walks to what the extensions carry; false where that cannot be reached.
    ///
    /// Written out, not a loop: Linux 5.10 and 6.1 refuse a loop whose end runs on into its beginning without a jump,
    /// and where the compiler lays one out that way is not for this code to say.
    #[inline(always)]
    fn walk(&mut self) -> bool {
        const { assert!(MAX_EXTENSION_HEADERS == 8) };
        if let ControlFlow::Break(reached) = self.eight() {
            return reached;
        }
        self.meta.too_deep = self.stands_at_extension();
        !self.meta.too_deep
    }

    #[inline(always)]
    fn eight(&mut self) -> ControlFlow<bool> {
        self.four()?;
        self.four()
    }

    #[inline(always)]
    fn four(&mut self) -> ControlFlow<bool> {
        self.one()?;
        self.one()?;
        self.one()?;
        self.one()
    }

    #[inline(always)]
    const fn stands_at_extension(&self) -> bool {
        is_extension(self.meta.proto) && !self.meta.later_fragment
    }

    /// Steps over one extension header. Ends with true where there is none, with false where it is cut short, by the frame or by the packet's
    /// own length: then the protocol of the missing header stands, and the source is still judged. What lies behind
    /// the packet is padding, not its header.
    #[inline(always)]
    fn one(&mut self) -> ControlFlow<bool> {
        if !self.stands_at_extension() {
            return ControlFlow::Break(true);
        }
        let walked = self.offset - self.start;
        if walked + MIN_EXTENSION_LEN > self.payload_len {
            return ControlFlow::Break(false);
        }
        let Some(word) = self.view.u16(self.offset) else {
            return ControlFlow::Break(false);
        };
        let len = match self.meta.proto {
            EXT_FRAGMENT => MIN_EXTENSION_LEN,
            EXT_AUTH => (usize::from(word & 0xff) + 2) * 4,
            _ => (usize::from(word & 0xff) + 1) * 8,
        };
        if walked + len > self.payload_len {
            return ControlFlow::Break(false);
        }
        if self.meta.proto == EXT_FRAGMENT {
            let Some(fragment_word) = self.view.u16(self.offset + 2) else {
                return ControlFlow::Break(false);
            };
            self.meta.fragment |= fragment_word & 0xfff9 != 0;
            self.meta.later_fragment = fragment_word & 0xfff8 != 0;
        }
        self.offset += len;
        self.meta.proto = (word >> 8) as u8;
        ControlFlow::Continue(())
    }
}

const EXT_FRAGMENT: u8 = 44;
/// Every extension header is at least this long, bytes.
const MIN_EXTENSION_LEN: usize = 8;
const EXT_AUTH: u8 = 51;

/// Hop-by-hop, routing, fragment, authentication, destination options, mobility, HIP, shim6 (IANA registry).
#[inline(always)]
const fn is_extension(proto: u8) -> bool {
    matches!(proto, 0 | 43 | EXT_FRAGMENT | EXT_AUTH | 60 | 135 | 139 | 140)
}

/// Ports, flags and payload length; `l4_len` is what the IP header leaves for L4. A header that does not fit into
/// that has no ports, whatever follows it in the frame.
#[inline(always)]
fn transport<V: PacketView>(view: &V, l4: usize, l4_len: u32, meta: &mut PacketMeta) {
    meta.payload_len = l4_len;
    if meta.later_fragment {
        return;
    }
    match meta.proto {
        PROTO_TCP if l4_len >= 20 => {
            let Some([ports, seq, ack, control]) = view.quads::<4>(l4) else {
                return;
            };
            let control = u32::from_be(control) >> 16;
            let header_len = (control >> 12) * 4;
            meta.l4_offset = l4 as u16;
            set_ports(meta, ports);
            meta.tcp_seq = u32::from_be(seq);
            meta.tcp_ack = u32::from_be(ack);
            meta.tcp_flags = (control & 0xff) as u8;
            meta.payload_len = l4_len.saturating_sub(header_len);
        }
        PROTO_UDP if l4_len >= 8 => {
            let Some([ports]) = view.quads::<1>(l4) else {
                return;
            };
            meta.l4_offset = l4 as u16;
            set_ports(meta, ports);
            meta.payload_len = l4_len - 8;
        }
        PROTO_ICMP | PROTO_ICMPV6 if l4_len >= 8 => {
            let Some(kind_code) = view.u16(l4) else {
                return;
            };
            (meta.src_port, meta.dst_port) = icmp::ports(meta.proto, (kind_code >> 8) as u8, kind_code as u8);
            meta.payload_len = l4_len - 8;
        }
        _ => {}
    }
}

#[inline(always)]
const fn set_ports(meta: &mut PacketMeta, ports: u32) {
    let ports = u32::from_be(ports);
    meta.src_port = (ports >> 16) as u16;
    meta.dst_port = ports as u16;
}
