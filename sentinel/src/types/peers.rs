//! Those who behaved well lately, and so would lose service by a decision about the prefix they are of.

use super::{Ktime, canonical};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Addresses, each once, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<IpAddr>")]
pub struct Peers(Vec<IpAddr>);

impl Peers {
    /// How many of them are of a prefix.
    pub fn within(&self, net: IpNet) -> u32 {
        u32::try_from(self.part(net).len()).unwrap_or(u32::MAX)
    }

    /// Those of a prefix alone.
    #[must_use]
    pub fn only(&self, net: IpNet) -> Self {
        Self(self.part(net).to_vec())
    }

    fn part(&self, net: IpNet) -> &[IpAddr] {
        let net = canonical(net);
        let (first, last) = (net.network(), net.broadcast());
        let begin = self.0.partition_point(|ip| *ip < first);
        let end = self.0.partition_point(|ip| *ip <= last);
        self.0.get(begin..end).unwrap_or_default()
    }

    /// How many they are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Peers that behaved well lately and were heard of lately.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// As of when.
    pub at: Ktime,
    /// Each once, with the latest moment at which a packet of its was seen in a connection that proved its address.
    pub peers: Vec<(IpAddr, Ktime)>,
}

impl Heard {
    /// How many of them were heard of at or after `since`, those of a prefix left out.
    pub fn since(&self, since: Ktime, but: &IpNet) -> u32 {
        let heard = |(ip, at): &&(IpAddr, Ktime)| *at >= since && !but.contains(ip);
        u32::try_from(self.peers.iter().filter(heard).count()).unwrap_or(u32::MAX)
    }
}

impl From<Vec<IpAddr>> for Peers {
    fn from(all: Vec<IpAddr>) -> Self {
        all.into_iter().collect()
    }
}

impl FromIterator<IpAddr> for Peers {
    fn from_iter<I: IntoIterator<Item = IpAddr>>(all: I) -> Self {
        let mut all: Vec<IpAddr> = all.into_iter().map(|ip| ip.to_canonical()).collect();
        all.sort_unstable();
        all.dedup();
        Self(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_counts_its_own_and_nobody_elses() {
        let all = [
            "192.0.2.1",
            "192.0.2.255",
            "192.0.3.0",
            "2001:db8::1",
            "::ffff:192.0.2.7",
            "192.0.2.1",
        ];
        let peers: Peers = all.iter().map(|ip| ip.parse::<IpAddr>().unwrap()).collect();
        assert_eq!(peers.len(), 5);
        for (net, count) in [
            ("192.0.2.0/24", 3),
            ("192.0.2.0/23", 4),
            ("192.0.3.0/24", 1),
            ("198.51.100.0/24", 0),
            ("2001:db8::/64", 1),
            ("::/0", 1),
            ("0.0.0.0/0", 4),
        ] {
            let net = net.parse().unwrap();
            assert_eq!(peers.within(net), count, "{net}");
            assert_eq!(peers.only(net).len() as u32, count);
            assert_eq!(peers.only(net).within(net), count);
        }
    }
}
