//! Wires that take their time: a host's own interface carried over sockets, for kernels without netem.

use super::rng::Rng;
use crate::child::Child;
use crate::net::{Host, Network};
use crate::{scratch, wait};
use anyhow::Result;
use std::collections::VecDeque;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The longest frame that a socket may hand over; without offloads none is longer than an MTU.
const FRAME: usize = 9216;
/// Frames under way; what comes beyond is lost, as in a router's queue.
const ROOM: usize = 20_000;
const START: Duration = Duration::from_secs(20);
/// How long an end may keep a frame waiting. Both ends and both directions wait for each other: one must give way.
const QUEUE: Duration = Duration::from_millis(2);
/// How often an idle wire looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(200);

/// How long what a host sends is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Distance {
    pub(super) delay: Duration,
    /// At most so much longer; frames stay in order.
    pub(super) jitter: Duration,
    /// Frames of a hundred thousand that are lost.
    pub(super) lost: u64,
}

/// A wire in use; gone when dropped.
pub(super) struct Wire {
    stop: Arc<AtomicBool>,
    carriers: Vec<JoinHandle<()>>,
    _ends: [Child; 2],
    _dir: TempDir,
}

impl Wire {
    /// Takes the host's interface away and gives it one that takes `distance` for what it sends.
    ///
    /// # Errors
    /// When an end does not come up; socat's words are in the error.
    pub(super) fn lay(network: &Network, host: &Host, distance: Distance, seed: u64) -> Result<Self> {
        let dir = scratch::folder()?;
        let at = |name: &str| dir.path().join(name);
        let port = host.unplug()?;
        let (near, far) = (
            UnixDatagram::bind(at("relay-near"))?,
            UnixDatagram::bind(at("relay-far"))?,
        );
        let end = |name: &str, relay: &str| format!("UNIX-SENDTO:{},bind={}", at(relay).display(), at(name).display());
        let tap = |name: &str| format!("TUN,tun-type=tap,tun-name={name},iff-no-pi");
        let mut ends = [
            host.spawn(&format!(
                "socat -b {FRAME} {} {}",
                tap("eth0"),
                end("near", "relay-near")
            ))?,
            network.spawn(&format!("socat -b {FRAME} {} {}", tap(&port), end("far", "relay-far")))?,
        ];
        let stop = Arc::new(AtomicBool::new(false));
        let mut wire = Vec::new();
        let still = Distance {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            lost: 0,
        };
        for (from, to, end, distance) in [
            (near.try_clone()?, far.try_clone()?, at("far"), distance),
            (far, near, at("near"), still),
        ] {
            from.set_read_timeout(Some(LOOK))?;
            to.set_write_timeout(Some(QUEUE))?;
            let carrier = Carrier {
                from,
                to,
                end,
                distance,
                rng: Rng::new(seed),
                stop: Arc::clone(&stop),
            };
            wire.push(
                std::thread::Builder::new()
                    .name("wire".into())
                    .spawn(move || carrier.run())?,
            );
        }
        let up = wait::until("the ends of a wire", START, || {
            for end in &mut ends {
                if let Some(status) = end.ended()? {
                    anyhow::bail!("socat ended with {status}: {}", end.output());
                }
            }
            Ok(network.plug(host, &port).ok())
        });
        let wire = Self {
            stop,
            carriers: wire,
            _ends: ends,
            _dir: dir,
        };
        up.map(|()| wire)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for carrier in self.carriers.drain(..) {
            let _ = carrier.join();
        }
    }
}

/// One direction of a wire.
struct Carrier {
    from: UnixDatagram,
    to: UnixDatagram,
    end: PathBuf,
    distance: Distance,
    rng: Rng,
    stop: Arc<AtomicBool>,
}

impl Carrier {
    fn run(mut self) {
        let mut way: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
        let mut frame = [0; FRAME];
        while !self.stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            while way.front().is_some_and(|(due, _)| *due <= now) {
                if let Some((_, frame)) = way.pop_front() {
                    // An end that is gone, or whose queue is full, loses it.
                    let _ = self.to.send_to(&frame, &self.end);
                }
            }
            let patience = way.front().map_or(LOOK, |(due, _)| due.saturating_duration_since(now));
            // A timeout of nothing would mean none.
            let _ = self
                .from
                .set_read_timeout(Some(patience.max(Duration::from_micros(50))));
            let Ok(length) = self.from.recv(&mut frame) else {
                continue;
            };
            if way.len() < ROOM && self.rng.within(1..=100_000) > self.distance.lost {
                let due = Instant::now() + self.distance.delay + self.late();
                let due = way.back().map_or(due, |(last, _)| due.max(*last));
                way.push_back((due, frame[..length].to_vec()));
            }
        }
    }

    fn late(&mut self) -> Duration {
        let most = u64::try_from(self.distance.jitter.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.rng.within(0..=most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_take_their_time_and_stay_in_order() {
        let dir = tempfile::tempdir().expect("folder");
        let at = |name: &str| dir.path().join(name);
        let bind = |name: &str| UnixDatagram::bind(at(name)).expect("bound");
        let (sender, from, to, end) = (bind("sender"), bind("from"), bind("to"), bind("end"));
        let delay = Duration::from_millis(60);
        let stop = Arc::new(AtomicBool::new(false));
        let carrier = Carrier {
            from,
            to,
            end: at("end"),
            distance: Distance {
                delay,
                jitter: Duration::from_millis(20),
                lost: 0,
            },
            rng: Rng::new(3),
            stop: Arc::clone(&stop),
        };
        let carrier = std::thread::spawn(move || carrier.run());
        let start = Instant::now();
        for number in 0..20u8 {
            sender.send_to(&[number; 40], at("from")).expect("sent");
        }
        let mut frame = [0; 100];
        for number in 0..20u8 {
            assert_eq!(end.recv(&mut frame).expect("came"), 40);
            assert_eq!(frame[0], number);
            assert!(start.elapsed() >= delay);
        }
        stop.store(true, Ordering::Relaxed);
        carrier.join().expect("ends");
    }
}
