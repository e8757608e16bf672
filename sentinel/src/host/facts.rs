//! Facts about the host and what follows from them.

use crate::types::Protected;
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What was found; ordered, so that two readings compare.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// Every address of every interface.
    pub addresses: BTreeSet<IpAddr>,
    /// What is on the link of an interface of ours, by its addresses and their prefixes.
    pub networks: BTreeSet<IpNet>,
    /// Next hops of every route.
    pub gateways: BTreeSet<IpAddr>,
    /// Name servers of `/etc/resolv.conf`, and those behind a local stub resolver that is named there.
    pub resolvers: BTreeSet<IpAddr>,
    /// Peers of the SSH sessions the agent was started from.
    pub operators: BTreeSet<IpAddr>,
    /// Peers of SSH sessions that stand, or stood a moment ago.
    pub sessions: BTreeSet<IpAddr>,
    /// Servers that the agent itself talks to, and what for.
    pub endpoints: BTreeMap<IpAddr, String>,
    /// Names of all interfaces, by index.
    pub links: BTreeMap<u32, String>,
    /// Interface of the default route, IPv4 first.
    pub default_interface: Option<String>,
}

/// The name servers of a `resolv.conf(5)` text; scopes (`%eth0`) are cut, what is no address is ignored.
pub(super) fn resolvers(text: &str) -> BTreeSet<IpAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("nameserver")).then(|| words.next()).flatten()
        })
        .filter_map(|word| word.split('%').next()?.parse().ok())
        .collect()
}

/// What must never be touched on this host: its own addresses, its gateways and resolvers, whoever started us over SSH or
/// is logged in, the servers we ask, and the configured allowlist. What no host may be without is [`crate::decide::Guards`]' own.
pub fn protected(facts: &HostFacts, allowlist: &[IpNet]) -> Vec<Protected> {
    let entry = |target: IpNet, guard: &str, reason: &str| Protected {
        target,
        guard: guard.to_owned(),
        reason: reason.to_owned(),
    };
    let own = facts
        .addresses
        .iter()
        .map(|ip| entry(IpNet::from(*ip), "own_address", "this host's own address"));
    let gateways = facts
        .gateways
        .iter()
        .map(|ip| entry(IpNet::from(*ip), "gateway", "a gateway of this host"));
    let resolvers = facts
        .resolvers
        .iter()
        .map(|ip| entry(IpNet::from(*ip), "resolver", "a name server of this host"));
    let operators = facts.operators.iter().map(|ip| {
        let reason = "the peer of the SSH session Sentinel was started from";
        entry(IpNet::from(*ip), "operator_session", reason)
    });
    let sessions = facts.sessions.difference(&facts.operators).map(|ip| {
        let reason = "the peer of an SSH session on this host";
        entry(IpNet::from(*ip), "operator_session", reason)
    });
    let endpoints = facts.endpoints.iter().map(|(ip, what)| {
        let reason = format!("this host asks it: {what}");
        entry(IpNet::from(*ip), "endpoint", &reason)
    });
    let listed = allowlist
        .iter()
        .map(|net| entry(net.trunc(), "allowlist", "listed in `allowlist` of the configuration"));
    own.chain(gateways)
        .chain(resolvers)
        .chain(operators)
        .chain(sessions)
        .chain(endpoints)
        .chain(listed)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_is_read_like_resolvers_read_it() {
        let text =
            "# nameserver 192.0.2.9\nnameserver 192.0.2.1\n nameserver  fe80::1%eth0 \noptions edns0\nnameserver x\n";
        let want: BTreeSet<IpAddr> = ["192.0.2.1", "fe80::1"]
            .iter()
            .map(|ip| ip.parse().expect("an address"))
            .collect();
        assert_eq!(resolvers(text), want);
    }

    #[test]
    fn every_fact_is_protected_under_its_own_name() {
        let ip: IpAddr = "198.51.100.4".parse().expect("an address");
        let facts = HostFacts {
            addresses: [ip].into(),
            gateways: [ip].into(),
            resolvers: [ip].into(),
            operators: [ip].into(),
            sessions: [ip, "198.51.100.5".parse().expect("an address")].into(),
            endpoints: [(ip, "intel source x".to_owned())].into(),
            ..HostFacts::default()
        };
        let guards: Vec<String> = protected(&facts, &["203.0.113.7/24".parse().expect("a prefix")])
            .into_iter()
            .map(|p| p.guard)
            .collect();
        assert_eq!(
            guards,
            [
                "own_address",
                "gateway",
                "resolver",
                "operator_session",
                "operator_session",
                "endpoint",
                "allowlist"
            ]
        );
    }
}
