//! The parser against etherparse, which was written by others from the same standards.
//!
//! In: a frame. Out: whether both read it alike, or which reviewed reason there is that they do not. Invariant: where the two
//! may differ is the list of [`Reviewed`], and whatever the reason, both name the same source. Deliberately elsewhere: where
//! frames come from (`differential.rs`; `fuzz`, which uses this file as well).

use etherparse::{EtherType, LaxLinkExtSlice, LaxNetSlice, LaxSlicedPacket, TransportSlice};
use sentinel_common::packet::{PacketMeta, ParseError, parse_ethernet};
use std::net::IpAddr;

/// Differences looked at and found right on our side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reviewed {
    /// etherparse follows `MACsec`; its payload is not readable in general, so we call it another EtherType.
    Macsec,
    /// etherparse goes by the version nibble, we by the EtherType: where they disagree the stack drops.
    VersionAgainstEtherType,
    /// etherparse falls back to the frame's length; the stack drops a total length below the header.
    TotalLengthBelowHeader,
    /// We judge the source of a packet whose IPv4 options are cut short; etherparse gives up.
    OptionsCutShort,
    /// The stack drops IPv4-mapped addresses inside IPv6.
    MappedAddress,
    /// etherparse treats an authentication header in IPv4 as an extension, we as the protocol.
    AuthInIpv4,
    /// etherparse stops at hop-by-hop options that are not first, and at an authentication header of length zero.
    StrictChain,
    /// etherparse does not know mobility, HIP and shim6 headers.
    UnknownToEtherparse,
    /// etherparse follows chains of any length.
    DeepChain,
    /// etherparse reads on behind a later fragment's header, where there is payload.
    BehindLaterFragment,
    /// etherparse takes a payload length of zero for a jumbogram of the frame's length.
    ZeroPayloadLength,
    /// The frame ends before the packet: etherparse wants whole headers, we take what ports there are.
    FrameCutShort,
}

/// What both can say.
#[derive(Debug, PartialEq, Eq)]
struct Facts {
    src: IpAddr,
    dst: IpAddr,
    fragment: bool,
    proto: u8,
    ports: Option<(u16, u16)>,
    tcp: Option<(u8, u32, u32, u32)>,
}

fn ours(meta: &PacketMeta) -> Facts {
    let l4 = matches!(meta.proto, 6 | 17) && !meta.fragment && meta.src_port | meta.dst_port != 0;
    Facts {
        src: meta.src.into(),
        dst: meta.dst.into(),
        fragment: meta.fragment,
        proto: meta.proto,
        ports: l4.then_some((meta.src_port, meta.dst_port)),
        tcp: (l4 && meta.proto == 6).then_some((meta.tcp_flags, meta.tcp_seq, meta.tcp_ack, meta.payload_len)),
    }
}

fn theirs(packet: &LaxSlicedPacket<'_>) -> Option<Facts> {
    let (src, dst, payload) = match packet.net.as_ref()? {
        LaxNetSlice::Ipv4(ip) => (
            IpAddr::V4(ip.header().source_addr()),
            IpAddr::V4(ip.header().destination_addr()),
            ip.payload(),
        ),
        LaxNetSlice::Ipv6(ip) => (
            IpAddr::V6(ip.header().source_addr()),
            IpAddr::V6(ip.header().destination_addr()),
            ip.payload(),
        ),
        LaxNetSlice::Arp(_) => return None,
    };
    let (ports, tcp) = match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => (
            Some((tcp.source_port(), tcp.destination_port())),
            Some((
                tcp.slice()[13],
                tcp.sequence_number(),
                tcp.acknowledgment_number(),
                tcp.payload().len() as u32,
            )),
        ),
        Some(TransportSlice::Udp(udp)) => (Some((udp.source_port(), udp.destination_port())), None),
        _ => (None, None),
    };
    // A flow without ports looks like one whose ports are zero, on purpose.
    let ports = ports.filter(|(src, dst)| src | dst != 0);
    Some(Facts {
        src,
        dst,
        fragment: payload.fragmented,
        proto: payload.ip_number.0,
        ports,
        tcp: tcp.filter(|_| ports.is_some()),
    })
}

/// Which reviewed difference a frame may show, found from the frame itself.
fn reviewed(frame: &[u8], packet: &LaxSlicedPacket<'_>, meta: Result<&PacketMeta, ParseError>) -> Option<Reviewed> {
    if packet
        .link_exts
        .iter()
        .any(|ext| matches!(ext, LaxLinkExtSlice::Macsec(_)))
    {
        return Some(Reviewed::Macsec);
    }
    let mut at = 12;
    let mut ethertype = read16(frame, at)?;
    while matches!(ethertype, 0x8100 | 0x88a8 | 0x9100) {
        at += 4;
        ethertype = read16(frame, at)?;
    }
    if EtherType(ethertype) == EtherType::MACSEC {
        return Some(Reviewed::Macsec);
    }
    let ip = &frame[at + 2..];
    let version = ip.first()? >> 4;
    match (ethertype, version) {
        (0x0800, 4) => {
            let header = usize::from(ip[0] & 0xf) * 4;
            let total = usize::from(read16(ip, 2)?);
            if header >= 20 && total < header {
                return Some(Reviewed::TotalLengthBelowHeader);
            }
            if ip.len() < header {
                return Some(Reviewed::OptionsCutShort);
            }
            if ip[9] == 51 {
                return Some(Reviewed::AuthInIpv4);
            }
            (ip.len() < total).then_some(Reviewed::FrameCutShort)
        }
        (0x86dd, 6) => {
            let meta = match meta {
                Err(ParseError::Mapped) => return Some(Reviewed::MappedAddress),
                meta => meta.ok()?,
            };
            if meta.too_deep {
                return Some(Reviewed::DeepChain);
            }
            if read16(ip, 4)? == 0 {
                return Some(Reviewed::ZeroPayloadLength);
            }
            if meta.later_fragment {
                return Some(Reviewed::BehindLaterFragment);
            }
            if ip.len() < 40 + usize::from(read16(ip, 4)?) {
                return Some(Reviewed::FrameCutShort);
            }
            let chain = chain(ip);
            if chain.iter().any(|(kind, _)| matches!(kind, 135 | 139 | 140)) {
                return Some(Reviewed::UnknownToEtherparse);
            }
            let late_hop_by_hop = chain.iter().skip(1).any(|(kind, _)| *kind == 0);
            let empty_auth = chain.iter().any(|(kind, len)| *kind == 51 && *len == 0);
            (late_hop_by_hop || empty_auth).then_some(Reviewed::StrictChain)
        }
        (0x0800 | 0x86dd, _) => Some(Reviewed::VersionAgainstEtherType),
        _ => None,
    }
}

/// Kinds and length bytes of a chain of extension headers.
fn chain(ip: &[u8]) -> Vec<(u8, u8)> {
    let (mut next, mut at, mut out) = (ip[6], 40, Vec::new());
    while matches!(next, 0 | 43 | 44 | 51 | 60 | 135 | 139 | 140) {
        let Some(&[following, len]) = ip.get(at..at + 2) else {
            out.push((next, 1));
            break;
        };
        out.push((next, len));
        at += match next {
            44 => 8,
            51 => (usize::from(len) + 2) * 4,
            _ => (usize::from(len) + 1) * 8,
        };
        next = following;
    }
    out
}

fn read16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
}

/// `Ok(Some(_))` where a reviewed difference applies, `Ok(None)` where both say the same.
///
/// # Errors
/// What each says, where they differ and it is not known why.
pub(crate) fn compare(frame: &[u8]) -> Result<Option<Reviewed>, String> {
    let meta = parse_ethernet(&frame);
    let Ok(packet) = LaxSlicedPacket::from_ethernet(frame) else {
        return match meta {
            Ok(meta) => Err(format!("etherparse rejects the frame, we say {meta:?}")),
            Err(_) => Ok(None),
        };
    };
    let (ours, theirs) = (meta.as_ref().ok().map(ours), theirs(&packet));
    if ours == theirs {
        return Ok(None);
    }
    // A TCP header that contradicts itself has ports for us, since the source is judged by them all the same.
    if let (Some(ours), Some(theirs)) = (&ours, &theirs)
        && theirs.ports.is_none()
        && (ours.src, ours.dst, ours.proto, ours.fragment) == (theirs.src, theirs.dst, theirs.proto, theirs.fragment)
        && ours.tcp.is_some()
        && packet.stop_err.is_some()
    {
        return Ok(None);
    }
    let why = reviewed(frame, &packet, meta.as_ref().map_err(|error| *error));
    if why.is_none() {
        let stopped = &packet.stop_err;
        return Err(format!("{ours:?}\n{theirs:?}\n{stopped:?}\n{frame:02x?}"));
    }
    // Whatever the reason, we never name another source.
    if let (Some(ours), Some(theirs)) = (ours, theirs)
        && why != Some(Reviewed::VersionAgainstEtherType)
        && (ours.src, ours.dst) != (theirs.src, theirs.dst)
    {
        return Err(format!(
            "another source or destination: {ours:?}\n{theirs:?}\n{frame:02x?}"
        ));
    }
    Ok(why)
}
