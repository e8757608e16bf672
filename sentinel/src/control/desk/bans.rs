//! Which neighbours are to be kept from the gateway.

use super::Desk;
use crate::respond::Enforcer;
use crate::types::{ActionKind, Ban, Decision, ToBan};
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

/// Wishes told at most, the oldest decisions first; the room carries out far fewer.
const WISHES: usize = 1024;

impl<E: Enforcer> Desk<E> {
    /// Tells the room that bans what is in force and blocks one IPv4 address of a link of ours.
    pub(super) fn tell_bans(&self) {
        let Some(to_ban) = &self.deps.to_ban else { return };
        let now = {
            let facts = self.deps.facts.borrow();
            wishes(self.responder.in_force(), &facts.networks, self.stopped.is_some())
        };
        to_ban.send_if_modified(|told| {
            let changed = **told != now;
            if changed {
                *told = Arc::new(now);
            }
            changed
        });
    }
}

fn wishes<'a>(in_force: impl Iterator<Item = &'a Decision>, networks: &BTreeSet<IpNet>, stopped: bool) -> ToBan {
    let mut wishes = ToBan::new();
    for decision in in_force {
        let Some(ban) = wish(decision, networks, stopped) else {
            continue;
        };
        wishes.insert(decision.id, ban);
        if wishes.len() > WISHES {
            wishes.pop_last();
        }
    }
    wishes
}

/// The ban that goes with a decision: where it blocks one IPv4 address, and that is on a link of ours.
fn wish(decision: &Decision, networks: &BTreeSet<IpNet>, stopped: bool) -> Option<Ban> {
    let address = match decision.target {
        IpNet::V4(net) if net.prefix_len() == 32 => net.addr(),
        _ => return None,
    };
    let blocks = decision.action.in_kernel() == ActionKind::BlockIp;
    let near = networks.iter().any(|net| net.contains(&IpAddr::V4(address)));
    (blocks && near).then_some(Ban {
        address,
        simulated: decision.simulated || stopped,
        expires_at: decision.expires_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Mode};
    use crate::decide::{Guards, Judge};
    use crate::types::{Mint, NewDecision, Timestamp};
    use std::time::Duration;

    fn decision(mode: Mode, target: &str, action: ActionKind) -> Decision {
        let wish = NewDecision {
            collateral: None,
            target: target.parse().unwrap(),
            action,
            rate: None,
            egress: None,
            duration: Duration::from_mins(1),
            reason: "test".into(),
            actor: "test".into(),
        };
        let mut judge = Judge::new(&Config::default().response, mode, Mint::Random);
        judge.operator(&wish, &Guards::new(Vec::new()), Timestamp(1)).unwrap()
    }

    fn links() -> BTreeSet<IpNet> {
        ["192.0.2.0/24", "2001:db8::/64"].map(|net| net.parse().unwrap()).into()
    }

    #[test]
    fn only_a_block_of_one_neighbour_is_a_ban_as_well() {
        for (target, action, whether) in [
            ("192.0.2.7/32", ActionKind::BlockIp, true),
            ("192.0.2.7/32", ActionKind::RateLimit, false),
            ("192.0.2.0/28", ActionKind::BlockIp, false),
            ("198.51.100.7/32", ActionKind::BlockIp, false),
            ("2001:db8::7/128", ActionKind::BlockIp, false),
        ] {
            let mut decision = decision(Mode::Production, "192.0.2.7/32", ActionKind::BlockIp);
            (decision.target, decision.action) = (target.parse().unwrap(), action);
            let ban = wish(&decision, &links(), false);
            assert_eq!(ban.is_some(), whether, "{target} {action:?}");
        }
    }

    #[test]
    fn what_is_simulated_or_stopped_is_only_told() {
        for (mode, stopped, simulated) in [
            (Mode::Production, false, false),
            (Mode::Production, true, true),
            (Mode::Simulation, false, true),
        ] {
            let decision = decision(mode, "192.0.2.7/32", ActionKind::BlockIp);
            let ban = wish(&decision, &links(), stopped).unwrap();
            assert_eq!(ban.simulated, simulated, "{mode:?} {stopped}");
            assert_eq!(ban.expires_at, decision.expires_at);
        }
    }

    #[test]
    fn wishes_are_bounded_and_the_oldest_stay() {
        let like = decision(Mode::Production, "192.0.2.7/32", ActionKind::BlockIp);
        let made = |n: usize| Decision {
            id: Mint::Random.decision(Timestamp(1_700_000_000_000_000_000 + n as i64 * 1_000_000)),
            ..like.clone()
        };
        let mut all: Vec<Decision> = (0..WISHES + 50).map(made).collect();
        all.reverse();
        let told = wishes(all.iter(), &links(), false);
        assert_eq!(told.len(), WISHES);
        assert!(
            told.keys()
                .all(|id| all[50..].iter().any(|decision| decision.id == *id))
        );
    }
}
