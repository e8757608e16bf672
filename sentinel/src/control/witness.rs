//! Established sessions of sources that a simulated decision is about: whom production would have touched.

use crate::flow::{Fate, Observation};
use crate::time;
use crate::types::{Bystander, DecisionId, Ktime, Timestamp};
use ipnet::IpNet;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Sources noted between two words to the desk; a further one is not, and counted.
const SOURCES: usize = 4096;
/// Sessions remembered that were there before the decision; a further one is not, and counted.
const SESSIONS: usize = 65_536;

/// A session not seen for this long is over, where memory is short.
const QUIET: Duration = Duration::from_mins(10);

/// The targets of decisions that only count, ready to be asked.
#[derive(Debug, Default)]
pub struct Shadows {
    by_target: HashMap<IpNet, DecisionId>,
    lengths: BTreeSet<(bool, u8)>,
}

impl Shadows {
    /// Of these.
    pub(super) fn new(targets: impl Iterator<Item = (IpNet, DecisionId)>) -> Self {
        let mut shadows = Self::default();
        for (target, decision) in targets {
            shadows.lengths.insert((target.addr().is_ipv4(), target.prefix_len()));
            shadows.by_target.insert(target, decision);
        }
        shadows
    }

    /// The narrowest that holds an address, which is the one the kernel counts in.
    fn of(&self, ip: IpAddr) -> Option<DecisionId> {
        let mine = self.lengths.iter().rev().filter(|(v4, _)| *v4 == ip.is_ipv4());
        mine.filter_map(|(_, length)| IpNet::new(ip, *length).ok())
            .find_map(|net| self.by_target.get(&net.trunc()).copied())
    }

    /// Whether nothing is simulated.
    fn is_empty(&self) -> bool {
        self.by_target.is_empty()
    }
}

/// One end of a session, and the other.
type Session = (IpAddr, u16, IpAddr, u16, u8, Ktime, DecisionId);

/// Watches observations.
pub struct Witness {
    shadows: watch::Receiver<Arc<Shadows>>,
    /// What came since the last word.
    fresh: HashMap<(DecisionId, IpAddr), Bystander>,
    /// Sessions counted that may be seen again, and when they last were.
    counted: HashMap<Session, Ktime>,
    told: mpsc::Sender<Vec<Bystander>>,
    missed: u64,
}

impl Witness {
    /// Watches for `shadows`, and tells through `told`.
    pub fn new(shadows: watch::Receiver<Arc<Shadows>>, told: mpsc::Sender<Vec<Bystander>>) -> Self {
        Self {
            shadows,
            fresh: HashMap::new(),
            counted: HashMap::new(),
            told,
            missed: 0,
        }
    }

    /// Notes an established session under a simulated decision, once.
    pub(super) fn see(&mut self, seen: &Observation) {
        let established = if seen.tcp() {
            seen.completed
        } else {
            seen.fate == Fate::Talked
        };
        if !established || self.shadows.borrow().is_empty() {
            return;
        }
        let far = if seen.from_inside { seen.target.ip } else { seen.source };
        let Some(decision) = self.shadows.borrow().of(far) else {
            return;
        };
        let service = &seen.target;
        let session = (
            seen.source,
            seen.source_port,
            service.ip,
            service.port,
            service.proto,
            seen.started,
            decision,
        );
        if seen.closed {
            // It is not seen again, or only with less than is known.
            if self.counted.remove(&session).is_some() {
                return;
            }
        } else if let Some(last) = self.counted.get_mut(&session) {
            *last = seen.at;
            return;
        } else if self.counted.len() >= SESSIONS {
            self.missed += 1;
            return;
        } else {
            self.counted.insert(session, seen.at);
        }
        let at = time::clock().wall(seen.at);
        self.note(decision, far, at);
    }

    fn note(&mut self, decision: DecisionId, ip: IpAddr, at: Timestamp) {
        let room = self.fresh.len() < SOURCES;
        let one = match self.fresh.entry((decision, ip)) {
            std::collections::hash_map::Entry::Vacant(_) if !room => {
                self.missed += 1;
                return;
            }
            entry => entry.or_insert(Bystander {
                decision,
                ip,
                sessions: 0,
                first: at,
                last: at,
            }),
        };
        one.sessions += 1;
        one.first = one.first.min(at);
        one.last = one.last.max(at);
    }

    /// Hands over what came; what finds the channel full is handed over later. Returns what was not noted since the last
    /// time.
    pub(super) fn tell(&mut self, now: Ktime) -> u64 {
        if self.shadows.borrow().is_empty() {
            self.counted.clear();
        } else if self.counted.len() > SESSIONS / 2 {
            self.counted.retain(|_, last| now.since(*last) < QUIET);
        }
        if !self.fresh.is_empty()
            && let Ok(place) = self.told.try_reserve()
        {
            let mut all: Vec<_> = std::mem::take(&mut self.fresh).into_values().collect();
            all.sort_by_key(|one| (one.decision, one.ip));
            place.send(all);
        }
        std::mem::take(&mut self.missed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrowest_of_an_address_is_found() {
        let id = |n: u128| DecisionId(uuid::Uuid::from_u128(n));
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let all = [
            (net("203.0.113.0/24"), id(1)),
            (net("203.0.113.7/32"), id(2)),
            (net("2001:db8::/48"), id(3)),
        ];
        let shadows = Shadows::new(all.into_iter());
        for (ip, want) in [
            ("203.0.113.7", Some(id(2))),
            ("203.0.113.8", Some(id(1))),
            ("203.0.114.8", None),
            ("2001:db8::1", Some(id(3))),
            ("2001:db8:1::1", None),
        ] {
            assert_eq!(shadows.of(ip.parse().unwrap()), want, "{ip}");
        }
    }

    #[test]
    fn a_bound_is_kept_and_what_is_beyond_is_told() {
        let (told, mut heard) = mpsc::channel(1);
        let mut witness = Witness::new(watch::channel(Arc::new(Shadows::default())).1, told);
        let id = DecisionId(uuid::Uuid::from_u128(1));
        for n in 0..SOURCES as u32 + 3 {
            witness.note(id, IpAddr::from(n.to_be_bytes()), Timestamp(5));
        }
        witness.note(id, IpAddr::from([0, 0, 0, 0]), Timestamp(2));
        assert_eq!(witness.tell(Ktime(0)), 3);
        let all = heard.try_recv().unwrap();
        assert_eq!(all.len(), SOURCES);
        assert_eq!(
            (all[0].sessions, all[0].first, all[0].last),
            (2, Timestamp(2), Timestamp(5))
        );
    }
}
