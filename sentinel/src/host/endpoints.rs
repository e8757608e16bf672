//! Servers that the agent itself talks to: a block of theirs would drop their answers.
//!
//! Names are asked of the system's resolver, as the agent's own requests are. Who can forge its answers can have an
//! address protected for as long as they are remembered: an hour, and on while look-ups of that name fail.

use futures_util::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::Instant;

/// How often names are looked up again.
pub(super) const LOOK_UP: Duration = Duration::from_mins(1);
/// How long one look-up may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an address counts after it was last an answer: large services answer with others every minute. While nobody
/// answers this time stands still.
const REMEMBERED: Duration = Duration::from_hours(1);
/// Addresses remembered; beyond that new ones are left out.
const ADDRESSES: usize = 1024;
/// Of one answer.
const OF_ONE: usize = 32;

/// A server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// What it is for, such as `intel source abuseipdb`.
    pub what: String,
    /// Name or address.
    pub host: String,
}

/// What looking up one server came to.
#[derive(Clone, Debug)]
pub(super) struct LookedUp {
    endpoint: Endpoint,
    /// `None` where the look-up failed.
    addresses: Option<Vec<IpAddr>>,
}

/// What was found of all of them.
pub(super) type Found = Vec<LookedUp>;

/// The servers' addresses as they are known.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    list: Vec<Endpoint>,
    /// By address and host: what for, and when it was last an answer.
    known: BTreeMap<(IpAddr, String), (String, Instant)>,
}

impl Endpoints {
    pub(super) const fn new(list: Vec<Endpoint>) -> Self {
        Self {
            list,
            known: BTreeMap::new(),
        }
    }

    /// Others from now on; what was found of those before counts as long as it would have.
    pub(super) fn set(&mut self, list: Vec<Endpoint>) {
        self.list = list;
    }

    /// Looks up all of them. One that is not answered keeps the addresses it had.
    pub(super) fn look_up(&self) -> impl Future<Output = Found> + Send + use<> {
        let list = self.list.clone();
        async move {
            let each = list.into_iter().map(|endpoint| async move {
                let host = endpoint.host.trim_matches(['[', ']']);
                let answer = tokio::time::timeout(PATIENCE, tokio::net::lookup_host((host, 0))).await;
                let addresses = answer.ok().and_then(Result::ok).map(|found| {
                    let found = found.take(OF_ONE);
                    found.map(|socket| socket.ip().to_canonical()).collect()
                });
                LookedUp { endpoint, addresses }
            });
            join_all(each).await
        }
    }

    /// Takes an answer in; whether anything changed.
    pub(super) fn take(&mut self, found: Found, now: Instant) -> bool {
        let before: Vec<(IpAddr, String)> = self.known.keys().cloned().collect();
        let failed = found.iter().filter(|one| one.addresses.is_none());
        let failed: BTreeSet<&str> = failed.map(|one| one.endpoint.host.as_str()).collect();
        self.known.retain(|(_, host), (_, last)| {
            if failed.contains(host.as_str()) {
                *last = now;
            }
            now.duration_since(*last) < REMEMBERED
        });
        for LookedUp { endpoint, addresses } in found {
            for ip in addresses.into_iter().flatten() {
                let key = (ip, endpoint.host.clone());
                if self.known.len() < ADDRESSES || self.known.contains_key(&key) {
                    self.known.insert(key, (endpoint.what.clone(), now));
                }
            }
        }
        !self.known.keys().eq(&before)
    }

    /// Addresses, each with what it is for.
    pub(super) fn addresses(&self) -> BTreeMap<IpAddr, String> {
        let each = self.known.iter().map(|((ip, _), (what, _))| (*ip, what.clone()));
        each.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(host: &str) -> Endpoint {
        Endpoint {
            what: format!("the one at {host}"),
            host: host.to_owned(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_are_kept_for_an_hour_after_they_were_last_an_answer() {
        let mut all = Endpoints::new(vec![
            endpoint("192.0.2.9"),
            endpoint("[2001:db8::9]"),
            endpoint("no such name"),
        ]);
        let found = all.look_up().await;
        assert!(all.take(found.clone(), Instant::now()));
        let told: Vec<String> = all.addresses().keys().map(ToString::to_string).collect();
        assert_eq!(told, ["192.0.2.9", "2001:db8::9"]);
        assert!(!all.take(found, Instant::now()), "nothing new");
        tokio::time::advance(REMEMBERED / 2).await;
        assert!(
            !all.take(Vec::new(), Instant::now()),
            "nothing was asked, and it is still remembered"
        );
        tokio::time::advance(REMEMBERED / 2).await;
        assert!(all.take(Vec::new(), Instant::now()));
        assert!(all.addresses().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_cannot_be_looked_up_keeps_its_addresses_and_who_answers_otherwise_does_not() {
        let looked_up = |host: &str, address: Option<&str>| LookedUp {
            endpoint: endpoint(host),
            addresses: address.map(|text| vec![text.parse().unwrap()]),
        };
        let mut all = Endpoints::new(Vec::new());
        // An address that both have is kept for the one that fails.
        let first = vec![
            looked_up("fails", Some("192.0.2.1")),
            looked_up("moves", Some("192.0.2.1")),
            looked_up("moves", Some("192.0.2.2")),
        ];
        assert!(all.take(first, Instant::now()));
        for _ in 0..6 {
            tokio::time::advance(REMEMBERED / 2).await;
            let later = vec![looked_up("fails", None), looked_up("moves", Some("192.0.2.3"))];
            all.take(later, Instant::now());
        }
        let told: Vec<String> = all.addresses().keys().map(ToString::to_string).collect();
        assert_eq!(told, ["192.0.2.1", "192.0.2.3"]);
        // It answers again, and otherwise.
        for _ in 0..2 {
            all.take(vec![looked_up("fails", Some("192.0.2.4"))], Instant::now());
            tokio::time::advance(REMEMBERED / 2).await;
        }
        assert!(all.take(Vec::new(), Instant::now()));
        let told: Vec<String> = all.addresses().keys().map(ToString::to_string).collect();
        assert_eq!(told, ["192.0.2.4"]);
    }

    #[tokio::test]
    async fn however_many_answers_come_there_is_an_end() {
        let mut all = Endpoints::new(Vec::new());
        let many = (0..5_000u32).map(|n| IpAddr::from(n.to_be_bytes()));
        let looked_up = LookedUp {
            endpoint: endpoint("many"),
            addresses: Some(many.collect()),
        };
        all.take(vec![looked_up], Instant::now());
        assert_eq!(all.addresses().len(), ADDRESSES);
    }
}
