//! Who may be banned, as things are. Pure.

use crate::bettercap::State;
use crate::types::{DecisionId, Protected, ToBan};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// Bans that stand at a time: each is told to its target once a second.
pub(super) const BANS: usize = 64;

/// Why somebody is not banned: the metric's word, and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Why {
    pub(super) reason: &'static str,
    pub(super) words: String,
}

/// Whom to ban, and whom not.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sorted {
    pub(super) keep: BTreeMap<DecisionId, Ipv4Addr>,
    pub(super) refused: Vec<(DecisionId, Why)>,
}

/// The world as the last look found it.
pub(super) struct Seen<'a> {
    pub(super) state: &'a State,
    /// `arp.spoof` runs, and not for us.
    pub(super) taken: bool,
    /// The switch of this machine that makes it a router, where one is on.
    pub(super) forwards: Option<&'static str>,
    pub(super) protected: &'a [Protected],
}

/// The guard that protects an address.
pub(super) fn guarded(protected: &[Protected], address: Ipv4Addr) -> Option<&Protected> {
    let address = IpAddr::V4(address);
    protected.iter().find(|one| one.target.contains(&address))
}

impl Seen<'_> {
    /// The oldest decisions first, as far as there is room.
    pub(super) fn sort(&self, real: &ToBan) -> Sorted {
        let mut sorted = Sorted::default();
        let nobody = self.nobody();
        for (id, wish) in real {
            let why = nobody.clone().or_else(|| self.not(wish.address));
            let full = || {
                let words = format!("{BANS} neighbours are banned already, and no more are");
                Why { reason: "limit", words }
            };
            match why.or_else(|| (sorted.keep.len() >= BANS).then(full)) {
                Some(why) => sorted.refused.push((*id, why)),
                None => {
                    sorted.keep.insert(*id, wish.address);
                }
            }
        }
        sorted
    }

    /// Why nobody at all is banned.
    fn nobody(&self) -> Option<Why> {
        let state = self.state;
        let why = |reason, words: String| Some(Why { reason, words });
        let ours = guarded(self.protected, state.own).is_some_and(|one| one.guard == "own_address");
        if !ours {
            return why(
                "elsewhere",
                format!(
                    "Bettercap's interface has {}, which is no address of this host, and what it would do to that machine's \
                     forwarding cannot be seen; run it beside Sentinel",
                    state.own
                ),
            );
        }
        if let Some(switch) = self.forwards {
            return why(
                "forwarding",
                format!("this host is a router (`{switch}` is 1), and arp.ban would switch that off"),
            );
        }
        if state.gateway == state.own {
            return why(
                "settings",
                "Bettercap knows no gateway; start it with `-gateway-override`".to_owned(),
            );
        }
        if let Some(name) = state.odd {
            return why(
                "settings",
                format!("`{name}` of Bettercap is not as it comes, and a ban would be something else; set it back"),
            );
        }
        if self.taken {
            return why(
                "settings",
                "`arp.spoof` of Bettercap runs for somebody else; it is ours once that is stopped".to_owned(),
            );
        }
        None
    }

    /// Why this one is not.
    fn not(&self, address: Ipv4Addr) -> Option<Why> {
        let state = self.state;
        let why = |reason, words: String| Some(Why { reason, words });
        if address == state.own || address == state.gateway {
            return why("guard", format!("{address} is Bettercap's own address or its gateway"));
        }
        if let Some(one) = guarded(self.protected, address) {
            return why("guard", format!("refused by guard `{}`: {}", one.guard, one.reason));
        }
        let host =
            |net: &ipnet::Ipv4Net| net.contains(&address) && address != net.network() && address != net.broadcast();
        if !state.network.as_ref().is_some_and(host) {
            return why(
                "elsewhere",
                format!(
                    "{address} is no host on the link of Bettercap's interface ({})",
                    state.own
                ),
            );
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Ban, Mint, Timestamp};

    fn state() -> State {
        State {
            own: "192.0.2.2".parse().unwrap(),
            network: "192.0.2.0/24".parse().ok(),
            gateway: "192.0.2.1".parse().unwrap(),
            running: false,
            targets: "<entire subnet>".to_owned(),
            odd: None,
            hosts: [].into(),
        }
    }

    fn protected() -> Vec<Protected> {
        let one = |target: &str, guard: &str| Protected {
            target: target.parse().unwrap(),
            guard: guard.to_owned(),
            reason: "because".to_owned(),
        };
        vec![one("192.0.2.2/32", "own_address"), one("192.0.2.64/26", "allowlist")]
    }

    fn wishes(addresses: &[&str]) -> ToBan {
        let each = addresses.iter().zip(0_i64..);
        each.map(|(text, n)| {
            let wish = Ban {
                address: text.parse().unwrap(),
                simulated: false,
                expires_at: None,
            };
            // A millisecond apart: names go by time.
            let made = Timestamp(1_700_000_000_000_000_000 + n * 1_000_000);
            (Mint::Random.decision(made), wish)
        })
        .collect()
    }

    fn check(change: impl Fn(&mut State), taken: bool, forwards: Option<&'static str>, address: &str, words: &str) {
        let (mut state, protected) = (state(), protected());
        change(&mut state);
        let seen = Seen {
            state: &state,
            taken,
            forwards,
            protected: &protected,
        };
        let sorted = seen.sort(&wishes(&[address]));
        if words.is_empty() {
            assert_eq!((sorted.keep.len(), sorted.refused.len()), (1, 0), "{address}");
        } else {
            assert!(sorted.keep.is_empty(), "{address}");
            assert!(sorted.refused[0].1.words.contains(words), "{:?}", sorted.refused);
        }
    }

    #[test]
    fn only_a_neighbour_that_nobody_protects_is_banned() {
        let as_it_is = |_: &mut State| {};
        check(as_it_is, false, None, "192.0.2.7", "");
        check(as_it_is, false, None, "192.0.2.1", "its gateway");
        check(as_it_is, false, None, "192.0.2.2", "own address");
        check(as_it_is, false, None, "192.0.2.70", "guard `allowlist`");
        for far in ["198.51.100.7", "192.0.2.0", "192.0.2.255"] {
            check(as_it_is, false, None, far, "no host on the link");
        }
    }

    #[test]
    fn nobody_is_banned_where_it_would_do_something_else() {
        let it = "192.0.2.7";
        check(|_| {}, false, Some("net.ipv4.ip_forward"), it, "is a router");
        check(|_| {}, true, None, it, "for somebody else");
        check(|s| s.gateway = s.own, false, None, it, "-gateway-override");
        check(
            |s| s.odd = Some("arp.spoof.fullduplex"),
            false,
            None,
            it,
            "`arp.spoof.fullduplex`",
        );
        check(
            |s| s.own = "192.0.2.9".parse().unwrap(),
            false,
            None,
            it,
            "no address of this host",
        );
        check(|s| s.network = None, false, None, it, "no host on the link");
    }

    #[test]
    fn there_is_room_for_so_many_and_the_oldest_decisions_have_it() {
        let (state, protected) = (state(), Vec::from([protected().remove(0)]));
        let seen = Seen {
            state: &state,
            taken: false,
            forwards: None,
            protected: &protected,
        };
        let all: Vec<String> = (3..3 + BANS + 5).map(|n| format!("192.0.2.{n}")).collect();
        let wishes = wishes(&all.iter().map(String::as_str).collect::<Vec<_>>());
        let sorted = seen.sort(&wishes);
        assert_eq!((sorted.keep.len(), sorted.refused.len()), (BANS, 5));
        assert!(sorted.refused.iter().all(|(_, why)| why.reason == "limit"));
        assert!(sorted.keep.keys().max() < sorted.refused.iter().map(|(id, _)| id).min());
    }
}
