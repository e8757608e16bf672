//! How addresses behaved here: who proved that it receives what is sent to it, and who was a good peer.

use super::{Bounded, Fate, Observation};
use crate::types::{Detector, Heard, Ktime, Peers, Standing};
use sentinel_common::addr::Addr;
use std::net::IpAddr;
use std::time::Duration;

/// For how long a completed handshake counts as proof.
const PROOF: Duration = Duration::from_hours(1);
/// For how long a good session counts.
const GOOD: Duration = Duration::from_hours(24);
/// For how long nothing counts as good after an accusation.
const BAD: Duration = Duration::from_hours(1);

/// How long a connection lasts before it is worth protecting.
const SETTLED: Duration = Duration::from_secs(5);
/// For how long after the peer's last packet in it. Its end is not asked for: that can be forged.
const CONNECTED: Duration = Duration::from_mins(5);

/// What is kept of one address.
#[derive(Clone, Copy, Debug, Default)]
struct Peer {
    proven_at: Ktime,
    good: u32,
    good_since: Ktime,
    good_at: Ktime,
    /// Its latest packet in a connection that proved it.
    heard_at: Ktime,
    /// Nothing it does before counts as good again.
    bad_until: Ktime,
    /// Its latest packet in a settled connection.
    connected_at: Option<Ktime>,
}

impl Peer {
    /// Takes in a packet of it in a connection that proved it.
    fn heard(&mut self, o: &Observation) {
        self.heard_at = self.heard_at.max(o.at);
        let both = o.forward.payload > 0 && o.reverse.payload > 0;
        if both && o.last.since(o.started) >= SETTLED {
            self.connected_at = self.connected_at.max(Some(o.at));
        }
    }
}

/// Who proved its address, and its sessions since. Bounded: who was heard of least recently makes room. Only a completed
/// TCP handshake makes an entry, so that a flood of forged sources pushes nobody out.
#[derive(Debug)]
pub struct History {
    peers: Bounded<Addr, Peer>,
}

impl History {
    /// Nobody known yet; `capacity` addresses at most.
    pub fn new(capacity: usize) -> Self {
        Self {
            peers: Bounded::new(capacity),
        }
    }

    /// Takes in what became of a flow, for both its ends.
    pub fn note(&mut self, o: &Observation) {
        if !o.tcp() {
            return;
        }
        let talked = o.fate_now && o.fate == Fate::Talked;
        if o.remote_proven {
            let (far, sent) = if o.from_inside {
                (o.target.ip, o.reverse_delta)
            } else {
                (o.source, o.forward_delta)
            };
            let peer = self.proven(far, o.at, talked);
            if sent.packets > 0 {
                peer.heard(o);
            }
        }
        // Of a connection that an inside host opened, both ends have shown that they receive.
        if o.from_inside && o.completed {
            self.proven(o.source, o.at, talked);
        }
    }

    fn proven(&mut self, ip: IpAddr, at: Ktime, talked: bool) -> &mut Peer {
        let peer = self.peers.touch_or(Addr::from(ip), Peer::default);
        peer.proven_at = peer.proven_at.max(at);
        if talked && at >= peer.bad_until {
            if peer.good == 0 {
                peer.good_since = at;
            }
            peer.good = peer.good.saturating_add(1);
            peer.good_at = peer.good_at.max(at);
        }
        peer
    }

    /// An address was accused of behaviour past a limit. What could have been done in its name takes nothing from it.
    pub fn accused(&mut self, ip: IpAddr, by: Detector, now: Ktime) {
        if by.forgeable() {
            return;
        }
        if let Some(peer) = self.peers.peek_mut(&Addr::from(ip)) {
            *peer = Peer {
                proven_at: peer.proven_at,
                bad_until: now.after(BAD),
                ..Peer::default()
            };
        }
    }

    /// How an address had behaved by `now`.
    pub fn standing(&self, ip: IpAddr, now: Ktime) -> Standing {
        let Some(peer) = self.peers.peek(&Addr::from(ip)) else {
            return Standing::default();
        };
        let good = peer.good > 0 && now.since(peer.good_at) < GOOD;
        Standing {
            proven: now.since(peer.proven_at) < PROOF,
            good_sessions: if good { peer.good } else { 0 },
            good_for_ms: if good {
                now.since(peer.good_since).as_millis() as u64
            } else {
                0
            },
            connected: peer.connected_at.is_some_and(|at| now.since(at) < CONNECTED),
        }
    }

    fn good_ones(&self, now: Ktime) -> impl Iterator<Item = (IpAddr, &Peer)> {
        let good = move |peer: &Peer| peer.good > 0 && now.since(peer.good_at) < GOOD;
        let all = self.peers.iter().filter(move |(_, peer)| good(peer));
        all.map(|(ip, peer)| (IpAddr::from(*ip), peer))
    }

    /// Everybody who behaved well lately.
    pub fn good(&self, now: Ktime) -> Peers {
        self.good_ones(now).map(|(ip, _)| ip).collect()
    }

    /// Of those, who was heard of within `horizon`.
    pub fn heard(&self, now: Ktime, horizon: Duration) -> Heard {
        let of_late = self
            .good_ones(now)
            .filter(|(_, peer)| now.since(peer.heard_at) <= horizon);
        Heard {
            at: now,
            peers: of_late.map(|(ip, peer)| (ip, peer.heard_at)).collect(),
        }
    }

    /// Addresses known, and how many had to make room.
    pub fn load(&self) -> (usize, u64) {
        (self.peers.len(), self.peers.evicted())
    }

    /// Upper bound of the heap, bytes.
    pub const fn memory_bound(capacity: usize) -> usize {
        Bounded::<Addr, Peer>::memory_bound(capacity)
    }
}
