//! Questions to rtnetlink(7): addresses, routes, links.

use super::facts::{HostFacts, resolvers};
use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteVia};
use rtnetlink::{Handle, RouteMessageBuilder};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where name servers are configured, `resolv.conf(5)`. The first names a stub on loopback where systemd-resolved or
/// NetworkManager's dnsmasq is used; the servers it asks, whose answers come in, are in the others.
const RESOLV_CONFS: [&str; 3] = [
    "/etc/resolv.conf",
    "/run/systemd/resolve/resolv.conf",
    "/run/NetworkManager/no-stub-resolv.conf",
];

/// Why the host's facts could not be read.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// No netlink socket.
    #[error("cannot open a netlink socket: {0}")]
    Socket(#[from] std::io::Error),
    /// The kernel refused a dump.
    #[error("netlink refused to list {what}: {cause}")]
    Dump {
        /// `addresses`, `routes` or `links`.
        what: &'static str,
        /// The kernel's words.
        cause: rtnetlink::Error,
    },
    /// The list of name servers is there but cannot be read.
    #[error("{path} cannot be read: {source}")]
    Resolvers {
        /// The file.
        path: &'static str,
        /// The system's words.
        source: std::io::Error,
    },
    /// The connection to the kernel ended.
    #[error("the netlink connection closed")]
    Closed,
}

/// Reads everything once.
pub(super) async fn read(handle: &Handle) -> Result<HostFacts, HostError> {
    let mut facts = HostFacts::default();
    let dump = |what| move |cause| HostError::Dump { what, cause };

    let mut addresses = handle.address().get().execute();
    while let Some(message) = addresses.try_next().await.map_err(dump("addresses"))? {
        facts
            .addresses
            .extend(message.attributes.iter().filter_map(|attribute| match attribute {
                AddressAttribute::Address(ip) | AddressAttribute::Local(ip) => Some(*ip),
                _ => None,
            }));
        let length = message.header.prefix_len;
        facts
            .networks
            .extend(message.attributes.iter().filter_map(|attribute| match attribute {
                AddressAttribute::Address(ip) => Some(IpNet::new(*ip, length).ok()?.trunc()),
                _ => None,
            }));
    }

    let mut default_index = None;
    let families = [
        RouteMessageBuilder::<Ipv4Addr>::new().build(),
        RouteMessageBuilder::<Ipv6Addr>::new().build(),
    ];
    for family in families {
        let mut routes = handle.route().get(family).execute();
        while let Some(route) = routes.try_next().await.map_err(dump("routes"))? {
            facts.gateways.extend(gateways(&route));
            if route.header.destination_prefix_length == 0 && default_index.is_none() {
                default_index = output_interface(&route);
            }
        }
    }

    let mut links = handle.link().get().execute();
    while let Some(link) = links.try_next().await.map_err(dump("links"))? {
        let name = link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.clone()),
            _ => None,
        });
        if Some(link.header.index) == default_index {
            facts.default_interface.clone_from(&name);
        }
        facts.links.extend(name.map(|name| (link.header.index, name)));
    }

    for path in RESOLV_CONFS {
        facts.resolvers.extend(configured(path, std::fs::read_to_string(path))?);
    }
    Ok(facts)
}

/// A host without the file has no resolvers to protect; one whose file cannot be read may well have some.
fn configured(path: &'static str, file: std::io::Result<String>) -> Result<BTreeSet<IpAddr>, HostError> {
    match file {
        Ok(text) => Ok(resolvers(&text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(source) => Err(HostError::Resolvers { path, source }),
    }
}

fn gateways(route: &RouteMessage) -> Vec<IpAddr> {
    let mut found = Vec::new();
    collect_gateways(&route.attributes, &mut found);
    found
}

fn collect_gateways(attributes: &[RouteAttribute], found: &mut Vec<IpAddr>) {
    for attribute in attributes {
        match attribute {
            RouteAttribute::Gateway(RouteAddress::Inet(ip)) | RouteAttribute::Via(RouteVia::Inet(ip)) => {
                found.push(IpAddr::V4(*ip));
            }
            RouteAttribute::Gateway(RouteAddress::Inet6(ip)) | RouteAttribute::Via(RouteVia::Inet6(ip)) => {
                found.push(IpAddr::V6(*ip));
            }
            RouteAttribute::MultiPath(hops) => hops.iter().for_each(|hop| collect_gateways(&hop.attributes, found)),
            _ => {}
        }
    }
}

fn output_interface(route: &RouteMessage) -> Option<u32> {
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        RouteAttribute::MultiPath(hops) => hops.first().map(|hop| hop.interface_index),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
