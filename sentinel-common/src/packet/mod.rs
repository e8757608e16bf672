//! The packet parser: one for the kernel, for replay and for the fuzzers.
//!
//! In: a [`PacketView`] of an Ethernet frame. Out: [`PacketMeta`] or a [`ParseError`].
//! Invariant: never reads outside the view, walks a bounded number of headers, allocates nothing.

mod icmp;
mod parse;
pub use icmp::{ports as icmp_ports, two_way as icmp_two_way};
pub use parse::{parse_ethernet, parse_ethernet_into};

use crate::addr::Addr;

/// TCP flag FIN (RFC 9293, 3.1).
pub const TCP_FIN: u8 = 0x01;
/// TCP flag SYN.
pub const TCP_SYN: u8 = 0x02;
/// TCP flag RST.
pub const TCP_RST: u8 = 0x04;
/// TCP flag PSH.
pub const TCP_PSH: u8 = 0x08;
/// TCP flag ACK.
pub const TCP_ACK: u8 = 0x10;
/// TCP flag URG.
pub const TCP_URG: u8 = 0x20;

/// What detection needs to know of one packet. Host byte order, except addresses.
///
/// Laid out as C does, because tests read the kernel's own.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketMeta {
    /// Source.
    pub src: Addr,
    /// Destination.
    pub dst: Addr,
    /// TCP/UDP source port; type for ICMP (see [`icmp_two_way`]); 0 for other protocols, for later fragments and for an L4 header cut short.
    pub src_port: u16,
    /// TCP/UDP destination port; the answer's type, or the code, for ICMP; 0 likewise.
    pub dst_port: u16,
    /// IP protocol number after extension headers.
    pub proto: u8,
    /// TCP flags byte; 0 when not TCP.
    pub tcp_flags: u8,
    /// 4 or 6.
    pub ip_version: u8,
    /// Any fragment of a fragmented packet (an IPv6 atomic fragment, RFC 6946, is none).
    pub fragment: bool,
    /// A fragment after the first: it carries no L4 header.
    pub later_fragment: bool,
    /// The chain of IPv6 extension headers is longer than the walk follows: `proto` is that of the first header
    /// not read, and there are no ports. The source is known, and is judged: a long chain hides nobody.
    pub too_deep: bool,
    /// Packets this frame will leave as, where segmentation is left to the card; 0 and 1 both mean one.
    /// Never set by the parser.
    pub segments: u32,
    /// TCP sequence number.
    pub tcp_seq: u32,
    /// TCP acknowledgement number.
    pub tcp_ack: u32,
    /// L3 length: IPv4 total length, or IPv6 payload length + 40; bytes.
    pub l3_len: u32,
    /// L4 payload by the headers' own account; bytes.
    pub payload_len: u32,
    /// Where the IP header starts, bytes from the start of the frame.
    pub l3_offset: u16,
    /// Where the TCP or UDP header starts; 0 where its ports could not be read.
    pub l4_offset: u16,
}

impl PacketMeta {
    /// Nothing read yet.
    pub const EMPTY: Self = Self {
        src: Addr([0; 16]),
        dst: Addr([0; 16]),
        src_port: 0,
        dst_port: 0,
        proto: 0,
        tcp_flags: 0,
        ip_version: 0,
        fragment: false,
        later_fragment: false,
        too_deep: false,
        segments: 0,
        tcp_seq: 0,
        tcp_ack: 0,
        l3_len: 0,
        payload_len: 0,
        l3_offset: 0,
        l4_offset: 0,
    };
}

/// Why a frame yielded no [`PacketMeta`]. Such frames are counted, and pass unless they hide their source
/// ([`ParseError::hides_source`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// The EtherType is not IPv4 or IPv6.
    NotIp,
    /// The frame ends inside a header it announced.
    Truncated,
    /// A header contradicts itself (version nibble, IHL below 5, total length below the header). Linux drops such.
    Malformed,
    /// More VLAN tags than the walk follows.
    TooDeep,
    /// An IPv6 header carries an IPv4-mapped address, which is not to be seen on a wire (RFC 4291, 2.5.5.2) and would
    /// pass itself off as an IPv4 one. Linux takes it.
    Mapped,
}

impl ParseError {
    /// Whether Linux would take the frame in though no source can be read from it: priority tags (VLAN 0) are unwrapped
    /// however many there are. No honest sender makes such frames, so an enforcing gate drops them.
    #[inline(always)]
    #[must_use]
    pub const fn hides_source(self) -> bool {
        matches!(self, Self::TooDeep | Self::Mapped)
    }
}

/// Bounded reads from a packet. Offsets are from the start of the Ethernet header and always even, and those of more
/// than two bytes are two more than a multiple of four, which is what `NET_IP_ALIGN` aligns where it matters.
pub trait PacketView {
    /// One byte.
    fn u8(&self, offset: usize) -> Option<u8>;
    /// Two bytes, network order, as a host integer.
    fn u16(&self, offset: usize) -> Option<u16>;
    /// Four bytes, network order, as a host integer.
    fn u32(&self, offset: usize) -> Option<u32>;
    /// Four bytes as they stand.
    fn octets4(&self, offset: usize) -> Option<[u8; 4]>;
    /// `N` words of four bytes as they stand; all of them or none. The parser reads headers with it: one bound to check
    /// for the whole of it, and four bytes by one load where the view can.
    #[inline(always)]
    fn quads<const N: usize>(&self, offset: usize) -> Option<[u32; N]> {
        let mut quads = [0; N];
        for (index, quad) in quads.iter_mut().enumerate() {
            *quad = u32::from_ne_bytes(self.octets4(offset.checked_add(4 * index)?)?);
        }
        Some(quads)
    }
}

impl PacketView for &[u8] {
    fn u8(&self, offset: usize) -> Option<u8> {
        self.get(offset).copied()
    }

    fn u16(&self, offset: usize) -> Option<u16> {
        self.get(offset..offset.checked_add(2)?)?
            .try_into()
            .ok()
            .map(u16::from_be_bytes)
    }

    fn u32(&self, offset: usize) -> Option<u32> {
        self.octets4(offset).map(u32::from_be_bytes)
    }

    fn octets4(&self, offset: usize) -> Option<[u8; 4]> {
        self.get(offset..offset.checked_add(4)?)?.try_into().ok()
    }
}
