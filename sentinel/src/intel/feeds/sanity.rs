//! Whether a list may be believed. Pure: what it says, what was there, what is protected.

use super::parse::{Entry, Parsed};
use super::table::Feed;
use crate::types::Protected;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{Ipv4Addr, Ipv6Addr};

/// The widest entry that is believed: IPv4.
pub const WIDEST4: u8 = 8;
/// The widest entry that is believed: IPv6.
pub const WIDEST6: u8 = 19;
/// All entries of a list together: 2^27 IPv4 addresses, a 32nd of them. Spamhaus DROP has 15 million.
const MOST4: u64 = 1 << 27;
/// All entries of a list together: 2^18 times a /32 of IPv6, a 2048th of what is allotted.
const MOST6: u128 = 1 << (96 + 18);
/// Lists shorter than this may shrink and grow as they like.
const SMALL: usize = 200;
/// From this many entries on they are not all neighbours.
const NEIGHBOURS: usize = 64;
/// Guards of the operator's own: exceptions, and where an operator sits. Honest lists may name both.
const SPARED: [&str; 2] = ["allowlist", "operator_session"];

/// Why a list is refused whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nothing in it.
    #[error("it is empty")]
    Empty,
    /// An entry too wide to be meant.
    #[error("{0} is wider than /{WIDEST4} (IPv6: /{WIDEST6})")]
    Wide(IpNet),
    /// Private or reserved space.
    #[error("{net} is {what}")]
    Reserved {
        /// The entry.
        net: IpNet,
        /// What it touches.
        what: &'static str,
    },
    /// Ourselves, or what we cannot do without.
    #[error("{net} covers {target} ({guard}: {reason})")]
    Protected {
        /// The entry.
        net: IpNet,
        /// What it would hit.
        target: IpNet,
        /// Whose guard that is.
        guard: String,
        /// In a sentence.
        reason: String,
    },
    /// A good part of the internet.
    #[error("its entries cover more of the address space than any list of attackers does")]
    Covers,
    /// Nearly nothing is left.
    #[error("it shrank from {old} entries to {new}; delete the list's files if that is right")]
    Shrank {
        /// Before.
        old: usize,
        /// Now.
        new: usize,
    },
    /// Far more than before.
    #[error("it grew from {old} entries to {new}; delete the list's files if that is right")]
    Grew {
        /// Before.
        old: usize,
        /// Now.
        new: usize,
    },
    /// Somebody's network rather than a list.
    #[error("all {count} entries lie in {net}")]
    Neighbours {
        /// How many.
        count: usize,
        /// Where.
        net: IpNet,
    },
}

/// What is left of a list that may be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sane {
    /// Its entries.
    pub entries: Vec<Entry>,
    /// Those that what the operator allows keeps out, for as long as it does.
    pub spared: Vec<Entry>,
    /// Those that were left out: reserved space in a list known to hold it, and what the operator allows.
    pub left_out: u64,
}

/// Judges a list of `feed` that had `old` entries before, spared ones included (`None`: there is none to compare with).
///
/// What the operator allows, and where an operator sits, is left out and tells nothing against a list: exceptions are made
/// because of lists, and people share addresses. All else
/// that is protected (own addresses, gateways, resolvers) is on no honest one.
///
/// # Errors
/// [`Refusal`]: it is refused whole, and what was there stays.
pub fn judge(list: Parsed, feed: &Feed, old: Option<usize>, protected: &[Protected]) -> Result<Sane, Refusal> {
    if list.entries.is_empty() && !feed.own && !(feed.may_be_empty && list.whole) {
        return Err(Refusal::Empty);
    }
    let all = list.entries.len();
    let guarded: Vec<_> = protected.iter().filter(|p| !is_exception(p)).collect();
    let mut entries = list.entries;
    let mut refusal = None;
    entries.retain(|entry| {
        if refusal.is_some() {
            return false;
        }
        match keep(entry.net, feed, &guarded) {
            Ok(keep) => keep,
            Err(why) => {
                refusal = Some(why);
                false
            }
        }
    });
    if let Some(refusal) = refusal {
        return Err(refusal);
    }
    covered(&entries)?;
    if !feed.own {
        likely(&entries, all, old)?;
    }
    let (spared, entries): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| is_spared(entry.net, protected));
    let left_out = (all - entries.len()) as u64;
    Ok(Sane {
        entries,
        spared,
        left_out,
    })
}

/// Whether a guard is an exception of the operator's own.
fn is_exception(guard: &Protected) -> bool {
    SPARED.contains(&guard.guard.as_str())
}

/// Whether the operator allows all of a prefix: it stays on its list, and counts nowhere.
pub(super) fn is_spared(net: IpNet, protected: &[Protected]) -> bool {
    protected.iter().any(|p| is_exception(p) && p.target.contains(&net))
}

/// Whether the kernel must not drop by a prefix: it lies within what is protected, or it touches what no honest list
/// names.
pub(super) fn is_guarded(net: IpNet, protected: &[Protected]) -> bool {
    protected
        .iter()
        .any(|p| p.target.contains(&net) || (!is_exception(p) && net.contains(&p.target)))
}

/// Whether a provider's list may have these entries, of `all` that it named, where it had `old` before.
fn likely(entries: &[Entry], all: usize, old: Option<usize>) -> Result<(), Refusal> {
    let new = entries.len();
    if entries.is_empty() && all > 0 {
        return Err(Refusal::Empty);
    }
    if let Some(old) = old {
        if old >= SMALL && new * 20 <= old {
            return Err(Refusal::Shrank { old, new });
        }
        if old > 0 && new > old.max(SMALL) * 20 {
            return Err(Refusal::Grew { old, new });
        }
    }
    neighbours(entries)
}

/// Whether an entry stays; an error where it speaks against the whole list.
fn keep(net: IpNet, feed: &Feed, guarded: &[&Protected]) -> Result<bool, Refusal> {
    if feed.bogons && within_reserved(net) {
        return Ok(false);
    }
    let widest = if matches!(net, IpNet::V4(_)) { WIDEST4 } else { WIDEST6 };
    if net.prefix_len() < widest {
        if feed.is_one_by_one() {
            return Ok(false);
        }
        return Err(Refusal::Wide(net));
    }
    if let Some(what) = reserved(net).filter(|_| !feed.own) {
        return if feed.bogons {
            Ok(false)
        } else {
            Err(Refusal::Reserved { net, what })
        };
    }
    if let Some(hit) = guarded.iter().find(|p| overlap(&p.target, &net)) {
        if feed.is_one_by_one() {
            return Ok(false);
        }
        return Err(Refusal::Protected {
            net,
            target: hit.target,
            guard: hit.guard.clone(),
            reason: hit.reason.clone(),
        });
    }
    Ok(true)
}

fn covered(entries: &[Entry]) -> Result<(), Refusal> {
    let (mut four, mut six) = (0u64, 0u128);
    let mut last: Option<IpNet> = None;
    for entry in entries {
        // Covering comes before covered in this order.
        if last.is_some_and(|last| last.contains(&entry.net)) {
            continue;
        }
        last = Some(entry.net);
        match entry.net {
            IpNet::V4(net) => four += 1 << (32 - net.prefix_len()),
            IpNet::V6(net) => six += 1 << (128 - net.prefix_len()),
        }
    }
    if four > MOST4 || six > MOST6 {
        return Err(Refusal::Covers);
    }
    Ok(())
}

fn neighbours(entries: &[Entry]) -> Result<(), Refusal> {
    let (Some(first), true) = (entries.first(), entries.len() >= NEIGHBOURS) else {
        return Ok(());
    };
    let len = if matches!(first.net, IpNet::V4(_)) { 16 } else { 32 };
    let Ok(net) = IpNet::new(first.net.network(), len) else {
        return Ok(());
    };
    let net = net.trunc();
    if entries.iter().all(|entry| net.contains(&entry.net)) {
        return Err(Refusal::Neighbours {
            count: entries.len(),
            net,
        });
    }
    Ok(())
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

const fn v4(a: u8, b: u8, c: u8, len: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, 0), len))
}

const fn v6(a: u16, b: u16, len: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), len))
}

/// What no list of attackers on the internet may name (RFC 6890, RFC 6598, RFC 4291). Addresses for documentation are not
/// among them: they harm nobody, and people try things out with them.
const RESERVED: [(IpNet, &str); 18] = [
    (v4(0, 0, 0, 8), "this network (RFC 1122)"),
    (v4(10, 0, 0, 8), "private (RFC 1918)"),
    (v4(100, 64, 0, 10), "shared by carriers (RFC 6598)"),
    (v4(127, 0, 0, 8), "loopback"),
    (v4(169, 254, 0, 16), "link-local"),
    (v4(172, 16, 0, 12), "private (RFC 1918)"),
    (v4(192, 0, 0, 24), "for protocols (RFC 6890)"),
    (v4(192, 88, 99, 24), "6to4 relays (RFC 7526)"),
    (v4(192, 168, 0, 16), "private (RFC 1918)"),
    (v4(198, 18, 0, 15), "for benchmarks (RFC 2544)"),
    (v4(224, 0, 0, 3), "multicast or reserved (RFC 1112)"),
    // All of IPv6 but 2000::/3.
    (v6(0, 0, 3), "no global unicast (RFC 4291)"),
    (v6(0x4000, 0, 2), "no global unicast (RFC 4291)"),
    (v6(0x8000, 0, 1), "no global unicast (RFC 4291)"),
    (v6(0x2001, 0, 32), "Teredo (RFC 4380)"),
    (v6(0x2002, 0, 16), "6to4 (RFC 3056)"),
    (v6(0x2001, 0x10, 28), "ORCHID (RFC 4843)"),
    (v6(0x2001, 0x20, 28), "ORCHID (RFC 7343)"),
];

/// What reserved space a prefix touches.
pub(super) fn reserved(net: IpNet) -> Option<&'static str> {
    RESERVED
        .iter()
        .find(|(reserved, _)| overlap(reserved, &net))
        .map(|(_, what)| *what)
}

fn within_reserved(net: IpNet) -> bool {
    RESERVED.iter().any(|(reserved, _)| reserved.contains(&net))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intel::feeds::parse::{Format, parse};
    use crate::intel::feeds::testing::{lines, list as many};

    fn said(feed: &str, text: &str, old: Option<usize>) -> Result<(usize, u64), String> {
        let guard = |target: &str, guard: &str| Protected {
            target: target.parse().unwrap(),
            guard: guard.into(),
            reason: "why".into(),
        };
        let protected = [
            guard("45.9.9.9/32", "own_address"),
            guard("2a00:9::/64", "own_address"),
            guard("90.0.0.0/24", "allowlist"),
        ];
        let feed = Feed::built_in(feed).unwrap_or_else(|| Feed::custom(feed, None));
        let list = parse(&mut text.as_bytes(), feed.format).unwrap();
        assert!(matches!(feed.format, Format::Plain | Format::Feodo));
        judge(list, &feed, old, &protected)
            .map(|sane| (sane.entries.len(), sane.left_out))
            .map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn what_no_honest_list_has_refuses_all_of_it() {
        for (bad, want) in [
            ("0.0.0.0/0", "wider than /8"),
            ("12.0.0.0/7", "wider than /8"),
            ("::/0", "wider than /8 (IPv6: /19)"),
            ("2a00::/18", "wider"),
            ("10.1.2.3", "private"),
            ("192.168.0.0/16", "private"),
            ("172.31.255.255", "private"),
            ("100.64.0.1", "carriers"),
            ("127.0.0.1", "loopback"),
            ("169.254.169.254", "link-local"),
            ("224.0.0.1", "multicast"),
            ("255.255.255.255", "reserved"),
            ("198.18.0.0/15", "benchmarks"),
            ("192.0.0.0/16", "for protocols"),
            ("fe80::1", "no global unicast"),
            ("fc00::/20", "no global unicast"),
            ("::1", "no global unicast"),
            ("ff02::1", "no global unicast"),
            ("2002:a00::1", "6to4"),
            ("::ffff:10.0.0.1", "private"),
            ("45.9.9.9", "own_address"),
            ("45.0.0.0/8", "own_address"),
            ("2a00:9::1", "own_address"),
            ("2a00::/19", "own_address"),
        ] {
            let error = said("cins", &(many(100) + bad + "\n"), None).unwrap_err();
            assert!(error.contains(want), "{bad}: {error}");
        }
        // What is written as an example harms nobody.
        assert_eq!(said("cins", "192.0.2.1\n2001:db8::/32\n", None), Ok((2, 0)));
    }

    #[test]
    fn its_size_must_be_likely() {
        assert!(said("cins", "# nothing\n", None).unwrap_err().contains("empty"));
        for (old, new, want) in [
            (None, 8_000, None),
            (Some(0), 8_000, None),
            (Some(199), 1, None),
            (Some(200), 11, None),
            (Some(200), 10, Some("shrank from 200")),
            (Some(10_000), 500, Some("shrank")),
            (Some(10_000), 501, None),
            (Some(1), 4_000, None),
            (Some(1), 4_001, Some("grew from 1 ")),
            (Some(400), 8_001, Some("grew")),
        ] {
            let said = said("cins", &many(new), old);
            match want {
                None => assert_eq!(said, Ok((new as usize, 0)), "{old:?}"),
                Some(want) => assert!(said.clone().unwrap_err().contains(want), "{old:?} {new}: {said:?}"),
            }
        }
        let eighth = lines((20..28).map(|n| format!("{n}.0.0.0/8")));
        assert_eq!(said("cins", &eighth, None), Ok((8, 0)));
        let ninth = eighth + "28.0.0.0/32\n28.0.0.0/8\n";
        assert!(said("cins", &ninth, None).unwrap_err().contains("cover more"));
        let six = |count: u32| lines((0..count).map(|n| format!("2b{n:02x}::/19")));
        assert_eq!(said("cins", &six(32), None), Ok((32, 0)));
        assert!(said("cins", &six(33), None).unwrap_err().contains("cover more"));
    }

    #[test]
    fn one_network_is_no_list() {
        let street = lines((0..64).map(|n| format!("45.8.{n}.1")));
        let error = said("cins", &street, None).unwrap_err();
        assert!(error.contains("all 64 entries lie in 45.8.0.0/16"), "{error}");
        assert!(said("cins", &(street.clone() + "44.1.1.1\n"), None).is_ok());
        let fewer = street.lines().take(63).collect::<Vec<_>>().join("\n");
        assert!(said("cins", &fewer, None).is_ok());
        let six = lines((0..64).map(|n| format!("2a00:8:{n}::1")));
        assert!(said("cins", &six, None).unwrap_err().contains("2a00:8::/32"));
    }

    #[test]
    fn what_is_known_to_be_in_a_list_is_left_out() {
        let firehol = "0.0.0.0/8\n10.0.0.0/8\n224.0.0.0/3\n192.0.0.0/23\n45.1.0.0/16\n";
        assert_eq!(said("firehol_level1", firehol, None), Ok((1, 4)));
        assert!(
            said("firehol_level1", "128.0.0.0/1\n", None)
                .unwrap_err()
                .contains("wider")
        );
        assert!(
            said("firehol_level1", "10.0.0.0/8\n", None)
                .unwrap_err()
                .contains("empty")
        );
        assert_eq!(said("cins", "90.0.0.7\n47.0.0.7\n", None), Ok((1, 1)));
        // Wider than what is allowed: the kernel asks its allowlist first.
        assert_eq!(said("cins", "90.0.0.0/16\n", None), Ok((1, 0)));
    }

    #[test]
    fn an_empty_list_must_say_that_it_is_whole() {
        assert_eq!(said("feodo", "# END 0 entries\n", None), Ok((0, 0)));
        assert!(said("feodo", "# DstIP\n", None).unwrap_err().contains("empty"));
    }

    #[test]
    fn a_file_of_ones_own_may_change_as_it_likes_but_not_hit_us() {
        assert_eq!(said("mine", "", Some(1_000)), Ok((0, 0)));
        assert_eq!(said("mine", "10.0.0.0/8\n192.168.1.7\n", Some(1_000)), Ok((2, 0)));
        assert!(said("mine", "45.9.9.0/24\n", None).unwrap_err().contains("own_address"));
        assert!(said("mine", "0.0.0.0/0\n", None).unwrap_err().contains("wider"));
    }
}
