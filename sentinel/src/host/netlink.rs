//! What is asked of rtnetlink(7): addresses, routes, links; and the lists of name servers.
//!
//! Numbers are those of `linux/if_addr.h`, `linux/if_link.h` and `linux/rtnetlink.h`.

use super::facts::{HostFacts, resolvers};
use super::rtnetlink::dump;
use crate::netlink::{ATTEMPTS, attributes, half, word};
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::net::IpAddr;

/// Where name servers are configured, `resolv.conf(5)`. The first names a stub on loopback where systemd-resolved or
/// NetworkManager's dnsmasq is used; the servers it asks, whose answers come in, are in the others.
const RESOLV_CONFS: [&str; 3] = [
    "/etc/resolv.conf",
    "/run/systemd/resolve/resolv.conf",
    "/run/NetworkManager/no-stub-resolv.conf",
];

/// Lengths of `struct ifaddrmsg`, `struct rtmsg`, `struct ifinfomsg` and `struct rtnexthop`.
const IFADDRMSG: usize = 8;
const RTMSG: usize = 12;
const IFINFOMSG: usize = 16;
const RTNEXTHOP: usize = 8;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFLA_IFNAME: u16 = 3;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_MULTIPATH: u16 = 9;
/// A gateway of the other family: its family, and its address.
const RTA_VIA: u16 = 18;

/// Why the host's facts could not be read.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// Who is logged in cannot be read, or there is no thread for it.
    #[error("cannot read who is logged in: {0}")]
    Sessions(#[source] io::Error),
    /// Nobody hears what changes.
    #[error("changes of the network are not heard: {0}")]
    Announcements(#[source] io::Error),
    /// The kernel refused to list something, or said nothing.
    #[error("netlink refused to list {what}: {cause}")]
    Dump {
        /// `addresses`, `routes` or `links`.
        what: &'static str,
        /// The kernel's words.
        cause: io::Error,
    },
    /// The list of name servers is there but cannot be read.
    #[error("{path} cannot be read: {source}")]
    Resolvers {
        /// The file.
        path: &'static str,
        /// The system's words.
        source: io::Error,
    },
}

/// Reads everything, again where a list changed while it was read.
pub(super) async fn read() -> Result<HostFacts, HostError> {
    let mut facts = once().await;
    for _ in 1..ATTEMPTS {
        match &facts {
            Err(HostError::Dump { cause, .. }) if cause.kind() == ErrorKind::Interrupted => facts = once().await,
            _ => break,
        }
    }
    facts
}

async fn once() -> Result<HostFacts, HostError> {
    let mut facts = HostFacts::default();
    let failed = |what| move |cause| HostError::Dump { what, cause };

    dump(libc::RTM_GETADDR, &[0; IFADDRMSG], |body| address(body, &mut facts))
        .await
        .map_err(failed("addresses"))?;

    let mut default_index = None;
    for family in [libc::AF_INET, libc::AF_INET6] {
        let mut question = [0; RTMSG];
        question[0] = family as u8;
        dump(libc::RTM_GETROUTE, &question, |body| {
            let mut found = Hops::default();
            hops(attributes(body, RTMSG), &mut found);
            facts.gateways.extend(found.gateways);
            // `rtm_dst_len`
            if body.get(1) == Some(&0) && default_index.is_none() {
                default_index = found.interface;
            }
        })
        .await
        .map_err(failed("routes"))?;
    }

    dump(libc::RTM_GETLINK, &[0; IFINFOMSG], |body| {
        let index = word(body, 4);
        let attributes = attributes(body, IFINFOMSG);
        let name = attributes.iter().find(|(kind, _)| *kind == IFLA_IFNAME);
        if let Some((_, name)) = name {
            let name = String::from_utf8_lossy(name).trim_end_matches('\0').to_owned();
            if Some(index) == default_index {
                facts.default_interface = Some(name.clone());
            }
            facts.links.insert(index, name);
        }
    })
    .await
    .map_err(failed("links"))?;

    for path in RESOLV_CONFS {
        facts.resolvers.extend(configured(path, std::fs::read_to_string(path))?);
    }
    Ok(facts)
}

/// A host without the file has no resolvers to protect; one whose file cannot be read may well have some.
fn configured(path: &'static str, file: io::Result<String>) -> Result<BTreeSet<IpAddr>, HostError> {
    match file {
        Ok(text) => Ok(resolvers(&text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(source) => Err(HostError::Resolvers { path, source }),
    }
}

/// 4 or 16 bytes of an address.
fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// A `struct ifaddrmsg` and its attributes: on a link between two, one names the own address, the other the peer's.
fn address(body: &[u8], facts: &mut HostFacts) {
    let length = body.get(1).copied().unwrap_or(u8::MAX);
    for (kind, value) in attributes(body, IFADDRMSG) {
        let address = ip(value).filter(|_| matches!(kind, IFA_ADDRESS | IFA_LOCAL));
        facts.addresses.extend(address);
        if kind == IFA_ADDRESS {
            let net = address.and_then(|ip| IpNet::new(ip, length).ok());
            facts.networks.extend(net.map(|net| net.trunc()));
        }
    }
}

/// Where a route leads.
#[derive(Debug, Default, PartialEq, Eq)]
struct Hops {
    gateways: Vec<IpAddr>,
    /// Index of the first interface.
    interface: Option<u32>,
}

fn hops(attributes: Vec<(u16, &[u8])>, found: &mut Hops) {
    for (kind, value) in attributes {
        match kind {
            RTA_OIF => found.interface = found.interface.or(Some(word(value, 0))),
            RTA_GATEWAY => found.gateways.extend(ip(value)),
            RTA_VIA => found.gateways.extend(value.get(2..).and_then(ip)),
            RTA_MULTIPATH => multipath(value, found),
            _ => {}
        }
    }
}

/// `struct rtnexthop` after `struct rtnexthop`, each with attributes of its own.
fn multipath(mut rest: &[u8], found: &mut Hops) {
    while rest.len() >= RTNEXTHOP {
        let length = usize::from(half(rest, 0)).max(RTNEXTHOP);
        let one = rest.get(..length).unwrap_or(rest);
        found.interface = found.interface.or(Some(word(one, 4)));
        hops(attributes(one, RTNEXTHOP), found);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One attribute.
    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = (4 + value.len() as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn read(attributes: &[Vec<u8>]) -> (Vec<String>, Option<u32>) {
        let mut found = Hops::default();
        hops(crate::netlink::attributes(&attributes.concat(), 0), &mut found);
        let gateways = found.gateways.iter().map(ToString::to_string).collect();
        (gateways, found.interface)
    }

    #[test]
    fn a_route_leads_by_one_gateway_by_several_or_by_one_of_the_other_family() {
        let v6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
        let plain = [
            attribute(RTA_GATEWAY, &[192, 0, 2, 1]),
            attribute(RTA_OIF, &7u32.to_ne_bytes()),
        ];
        assert_eq!(read(&plain), (vec!["192.0.2.1".to_owned()], Some(7)));
        let via = attribute(RTA_VIA, &[&[10, 0][..], &v6].concat());
        assert_eq!(read(std::slice::from_ref(&via)), (vec!["2001:db8::9".to_owned()], None));

        let hop = |index: u32, inner: &[u8]| {
            let mut bytes = ((RTNEXTHOP + inner.len()) as u16).to_ne_bytes().to_vec();
            bytes.extend([0, 0]);
            bytes.extend(index.to_ne_bytes());
            bytes.extend(inner);
            bytes
        };
        let several = [hop(3, &attribute(RTA_GATEWAY, &[192, 0, 2, 2])), hop(4, &via)].concat();
        let both = (vec!["192.0.2.2".to_owned(), "2001:db8::9".to_owned()], Some(3));
        assert_eq!(read(&[attribute(RTA_MULTIPATH, &several)]), both);
        // Cut anywhere, and with lengths that are none, it ends.
        for end in 0..several.len() {
            read(&[attribute(RTA_MULTIPATH, &several[..end])]);
        }
        assert_eq!(read(&[attribute(RTA_MULTIPATH, &[0; 64])]).0, Vec::<String>::new());
    }

    #[test]
    fn the_peer_of_a_link_between_two_is_an_address_like_ours() {
        let mut facts = HostFacts::default();
        let body = [
            vec![2, 32, 0, 0, 1, 0, 0, 0],
            attribute(IFA_ADDRESS, &[192, 0, 2, 2]),
            attribute(IFA_LOCAL, &[192, 0, 2, 1]),
            attribute(IFLA_IFNAME, b"ppp0\0"),
        ];
        address(&body.concat(), &mut facts);
        let addresses: Vec<String> = facts.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["192.0.2.1", "192.0.2.2"]);
        assert_eq!(facts.networks.len(), 1);
    }

    #[test]
    fn a_resolver_list_that_cannot_be_read_is_no_empty_list() {
        let read = |kind: ErrorKind| configured("resolv.conf", Err(kind.into()));
        assert!(read(ErrorKind::NotFound).is_ok_and(|found| found.is_empty()));
        for kind in [
            ErrorKind::PermissionDenied,
            ErrorKind::InvalidData,
            ErrorKind::Interrupted,
        ] {
            assert!(matches!(read(kind), Err(HostError::Resolvers { .. })), "{kind}");
        }
    }
}
