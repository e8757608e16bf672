//! An inside host that sends one outside peer far more than it gets back, and far more than it used to.
//!
//! Looks for: exfiltration over web services, alternative protocols and in bulk (MITRE ATT&CK T1567, T1048, T1020).
//! Statistical: it never blocks. Blind spots: less than the limit in a window; uploads spread over many peers; a host
//! that always uploads as much; what leaves as the answer to a connection from outside. Known false positives: the first
//! backup, photo or mail upload to a new peer; live streaming.

use super::{Detector, Finding, Voice, local, place, row, share, span};
use crate::config::UploadConfig;
use crate::flow::{Bounded, Observation};
use crate::types::{Detector as Name, EvidenceClass, Family, Ktime};
use sentinel_common::addr::Addr;
use std::time::Duration;

/// Times the habit of host and peer.
const HABIT: f64 = 3.0;
/// Times the limit while habit is learned.
const UNKNOWN: f64 = 4.0;
/// What is left of a habit after a window.
const FADE: f64 = 0.998;

/// Habit of one inside host.
#[derive(Clone, Copy, Debug)]
struct Host {
    since: Ktime,
    window: u64,
    /// Most it sent a single peer in this window, and in a usual one; bytes.
    most: f64,
    usual: f64,
}

/// What one inside host exchanged with one outside peer.
#[derive(Clone, Copy, Debug, Default)]
struct Peer {
    window: u64,
    sent: u64,
    got: u64,
    /// Most it was sent in a window before, fading; bytes.
    usual: f64,
    said: bool,
}

/// Adds up bytes per inside host and outside peer, window by window, and compares with what both are used to.
#[derive(Debug)]
pub struct Upload {
    hosts: Bounded<Addr, Host>,
    peers: Bounded<(Addr, Addr), Peer>,
    window: Duration,
    bytes: f64,
    ratio: f64,
    warm_up: Duration,
}

/// What is left of a habit after some windows.
fn fade(habit: f64, windows: u64) -> f64 {
    habit * FADE.powi(windows.min(100_000) as i32)
}

impl Upload {
    /// No habits known yet.
    pub fn new(config: &UploadConfig, sources: usize) -> Self {
        Self {
            hosts: Bounded::new(Self::capacity(sources)),
            peers: Bounded::new(2 * Self::capacity(sources)),
            window: config.window,
            bytes: config.bytes.max(1) as f64,
            ratio: config.ratio.max(1.0),
            warm_up: config.warm_up,
        }
    }

    /// Inside hosts: a sixteenth of `flow.max_sources`; twice as many pairs.
    const fn capacity(sources: usize) -> usize {
        share(sources, 16)
    }

    pub(super) const fn memory_bound(sources: usize) -> usize {
        Bounded::<Addr, Host>::memory_bound(Self::capacity(sources))
            + Bounded::<(Addr, Addr), Peer>::memory_bound(2 * Self::capacity(sources))
    }

    fn finding(&self, o: &Observation, peer: &Peer, host: &Host, limit: f64) -> Finding {
        let window = span(self.window);
        let (sent, got) = (peer.sent as f64, peer.got as f64);
        let mib = |bytes: f64| bytes / f64::from(1 << 20);
        Finding {
            at: o.at,
            source: Some(o.source),
            targets: vec![o.target],
            family: Family::Exfiltration,
            technique: "large upload".into(),
            ratio: sent / limit,
            class: EvidenceClass::Statistical,
            evidence: vec![
                row("sent", sent, limit, format!("bytes/{window}")),
                row("sent_per_received", sent / got.max(1.0), self.ratio, "bytes/byte"),
                row("usual_of_host", host.usual, sent / HABIT, format!("bytes/{window}")),
                row("usual_of_peer", peer.usual, sent / HABIT, format!("bytes/{window}")),
            ],
            summary: format!(
                "{} sent {} {:.0} MiB within {window} and got {:.1} MiB back (the limit is {:.0} MiB); the most it used to send \
                 anyone is {:.0} MiB",
                o.source,
                place(&o.target),
                mib(sent),
                mib(got),
                mib(limit),
                mib(host.usual)
            ),
        }
    }
}

impl Detector for Upload {
    fn name(&self) -> Name {
        Name::Upload
    }

    fn observe(&mut self, o: &Observation, voice: &Voice) -> Option<Finding> {
        if !o.from_inside || local(o.target.ip) || o.target.ip.is_multicast() {
            return None;
        }
        let window = o.at.0 / (self.window.as_nanos() as u64).max(1);
        let (source, target) = (Addr::from(o.source), Addr::from(o.target.ip));
        let host = self.hosts.touch_or(source, || Host {
            since: o.at,
            window,
            most: 0.0,
            usual: 0.0,
        });
        if window > host.window {
            host.usual = fade(host.usual.max(host.most), window - host.window);
            (host.most, host.window) = (0.0, window);
        }
        let peer = self.peers.touch_or((source, target), Peer::default);
        if window > peer.window {
            let sent = peer.sent as f64;
            *peer = Peer {
                window,
                usual: fade(peer.usual.max(sent), window - peer.window),
                ..Peer::default()
            };
        }
        peer.sent = peer.sent.saturating_add(o.forward_delta.bytes);
        peer.got = peer.got.saturating_add(o.reverse_delta.bytes);
        let sent = peer.sent as f64;
        host.most = host.most.max(sent);
        let known = o.at.since(host.since) >= self.warm_up;
        let floor = if known { self.bytes } else { UNKNOWN * self.bytes };
        let limit = floor.max(HABIT * host.usual).max(HABIT * peer.usual);
        if peer.said || sent < limit || sent < self.ratio * peer.got as f64 {
            return None;
        }
        let pair = [o.source, o.target.ip];
        if !voice.may_wonder_about(pair, Name::Upload, Family::Exfiltration, sent / limit, o.at) {
            return None;
        }
        peer.said = true;
        let (peer, host) = (*peer, *host);
        Some(self.finding(o, &peer, &host, limit))
    }

    fn load(&self) -> (usize, u64) {
        (
            self.hosts.len() + self.peers.len(),
            self.hosts.evicted() + self.peers.evicted(),
        )
    }
}
