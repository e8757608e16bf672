//! What is never touched, and which guard says so.

use crate::types::{Protected, Veto, canonical};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Refuses every target that overlaps what is protected.
///
/// Beside what it is given it protects, always: unspecified, loopback, link-local and multicast addresses and the limited
/// broadcast (RFC 6890). IPv4-mapped IPv6 targets are judged as IPv4.
#[derive(Clone, Debug)]
pub struct Guards {
    protected: Vec<Protected>,
}

impl Guards {
    /// Guards for what is given, and for what no host may be without.
    pub fn new(protected: Vec<Protected>) -> Self {
        let mut all = builtin();
        all.extend(protected.into_iter().map(|p| Protected {
            target: canonical(p.target),
            ..p
        }));
        Self { protected: all }
    }

    /// Guards for exactly these: those of another judge.
    pub(super) const fn given(protected: Vec<Protected>) -> Self {
        Self { protected }
    }

    /// Everything protected, the built-in first.
    pub fn protected(&self) -> &[Protected] {
        &self.protected
    }

    /// Whether a target may be touched.
    ///
    /// # Errors
    /// A [`Veto`] naming the first guard whose prefix overlaps the target, wider or narrower.
    pub fn check(&self, target: IpNet) -> Result<(), Veto> {
        let target = canonical(target);
        match self.protected.iter().find(|p| overlap(&p.target, &target)) {
            None => Ok(()),
            Some(p) => Err(Veto {
                guard: p.guard.clone(),
                reason: format!("{target} overlaps {}: {}", p.target, p.reason),
            }),
        }
    }
}

/// Whether two prefixes share an address. An IPv6 prefix that covers the mapped range overlaps every IPv4 prefix.
fn overlap(a: &IpNet, b: &IpNet) -> bool {
    match (a, b) {
        (IpNet::V4(_), IpNet::V4(_)) | (IpNet::V6(_), IpNet::V6(_)) => a.contains(b) || b.contains(a),
        (IpNet::V4(_), IpNet::V6(wide)) | (IpNet::V6(wide), IpNet::V4(_)) => {
            wide.prefix_len() < 96 && wide.contains(&Ipv4Addr::UNSPECIFIED.to_ipv6_mapped())
        }
    }
}

fn builtin() -> Vec<Protected> {
    let v4 = |a, b, c, d, len| Ipv4Net::new(Ipv4Addr::new(a, b, c, d), len).map(IpNet::V4);
    let v6 = |first, last, len| Ipv6Net::new(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, last), len).map(IpNet::V6);
    [
        (
            v4(0, 0, 0, 0, 8),
            "unspecified",
            "the unspecified address and this network",
        ),
        (v6(0, 0, 128), "unspecified", "the unspecified address"),
        (v4(127, 0, 0, 0, 8), "loopback", "the host talking to itself"),
        (v6(0, 1, 128), "loopback", "the host talking to itself"),
        (
            v4(169, 254, 0, 0, 16),
            "link_local",
            "addresses of the link, which neighbours need",
        ),
        (
            v6(0xfe80, 0, 10),
            "link_local",
            "addresses of the link, which neighbour discovery needs",
        ),
        (v4(224, 0, 0, 0, 4), "multicast", "groups, never a sender"),
        (v6(0xff00, 0, 8), "multicast", "groups, never a sender"),
        (v4(255, 255, 255, 255, 32), "broadcast", "everybody on the link"),
    ]
    .into_iter()
    .filter_map(|(target, guard, reason)| {
        Some(Protected {
            target: target.ok()?,
            guard: guard.to_owned(),
            reason: reason.to_owned(),
        })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(target: &str) -> Option<String> {
        let allow = |net: &str, guard: &str| Protected {
            target: net.parse().unwrap(),
            guard: guard.into(),
            reason: "test".into(),
        };
        let guards = Guards::new(vec![
            allow("203.0.113.0/24", "allowlist"),
            allow("2001:db8::1/128", "own_address"),
            allow("::ffff:198.51.100.7/128", "gateway"),
        ]);
        guards.check(target.parse().unwrap()).err().map(|v| v.guard)
    }

    #[test]
    fn any_overlap_is_a_veto_that_names_its_guard() {
        for (target, guard) in [
            ("203.0.113.9/32", Some("allowlist")),
            ("203.0.112.0/20", Some("allowlist")),
            ("::ffff:203.0.113.9/128", Some("allowlist")),
            ("198.51.100.0/24", Some("gateway")),
            ("2001:db8::/32", Some("own_address")),
            ("0.0.0.0/0", Some("unspecified")),
            ("::/0", Some("unspecified")),
            ("::fffe:0:0/80", Some("unspecified")),
            ("::ffff:0:0/96", Some("unspecified")),
            ("127.0.0.1/32", Some("loopback")),
            ("::1/128", Some("loopback")),
            ("224.0.0.251/32", Some("multicast")),
            ("240.0.0.0/4", Some("broadcast")),
            ("169.254.1.1/32", Some("link_local")),
            ("fe80::1/128", Some("link_local")),
            ("ff02::1/128", Some("multicast")),
            ("192.0.2.1/32", None),
            ("2001:db8:1::/48", None),
        ] {
            assert_eq!(check(target).as_deref(), guard, "{target}");
        }
    }
}
